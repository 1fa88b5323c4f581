//! Programs that make requests, and what they say of them.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::world::World;
use crate::bench::proxy;
use crate::bench::proxy::find;

/// A program with its arguments.
#[derive(Clone, Copy, Debug)]
pub(super) struct Client {
    program: Program,
    arguments: &'static [&'static str],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    Fulcrum,
    Wrk,
    H2load,
}

pub(super) const fn fulcrum(arguments: &'static [&'static str]) -> Client {
    let program = Program::Fulcrum;
    Client { program, arguments }
}

pub(super) const fn wrk(arguments: &'static [&'static str]) -> Client {
    let program = Program::Wrk;
    Client { program, arguments }
}

pub(super) const fn h2load(arguments: &'static [&'static str]) -> Client {
    let program = Program::H2load;
    Client { program, arguments }
}

/// How long an answer may take: what is late is answered all the same, and it is the figures that show it.
const TIMEOUT: &str = "60s";

/// Runs it to its end; requests that were answered, a second.
pub(super) fn run(world: &World, client: &Client, scheme: &str, seconds: u32) -> Result<f64> {
    let (mut command, duration) = match client.program {
        Program::Fulcrum => {
            let mut command = crate::lab::fulcrum();
            command.args(["lab", "load", "--json", "--timeout", TIMEOUT, "--duration"]);
            (command, format!("{seconds}s"))
        }
        Program::Wrk => {
            let mut command = Command::new(find("wrk").context("no wrk")?);
            command.args(["--timeout", TIMEOUT, "-d"]);
            (command, format!("{seconds}s"))
        }
        Program::H2load => {
            let mut command = Command::new(find("h2load").context("no h2load")?);
            command.arg("-D");
            (command, seconds.to_string())
        }
    };
    command.arg(duration).args(client.arguments).arg(world.url(scheme));
    let output = world.confine_client(&mut command).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "it failed:\n{text}{complaint}");
    let rate = match client.program {
        Program::Fulcrum => own(&text),
        Program::Wrk => proxy::wrk(&text).and_then(|_| after(&text, "Requests/sec:")),
        Program::H2load => proxy::h2load(&text).map(|done| done as f64 / f64::from(seconds)),
    };
    let rate = rate.with_context(|| format!("it said:\n{text}{complaint}"))?;
    ensure!(rate > 0.0, "it has done nothing:\n{text}{complaint}");
    Ok(rate)
}

fn own(text: &str) -> Result<f64> {
    let said: serde_json::Value = serde_json::from_str(text)?;
    let failed = said["failed"].as_object().context("no failures")?;
    ensure!(failed.is_empty(), "not every request was answered");
    said["requests_per_second"].as_f64().context("no rate")
}

/// The number that follows a label.
fn after(text: &str, label: &str) -> Result<f64> {
    let rest = text.lines().find_map(|line| line.trim().strip_prefix(label));
    Ok(rest.context("no rate")?.trim().parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read() {
        let text = "  21345 requests in 1.00s, 6.17MB read\nRequests/sec:  21300.50\n";
        assert_eq!(after(text, "Requests/sec:").unwrap(), 21300.5);
        assert!(after("", "Requests/sec:").is_err());
        assert_eq!(own(r#"{"failed": {}, "requests_per_second": 12.5}"#).unwrap(), 12.5);
        assert!(own(r#"{"failed": {"reset": 1}, "requests_per_second": 12.5}"#).is_err());
    }
}
