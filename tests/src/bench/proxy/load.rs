//! Loads that come from programs of others, and what those say of them.

use std::net::IpAddr;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::world::World;

/// Who asks for what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    program: &'static str,
    /// What it is started with before how long it runs and whom it asks.
    arguments: &'static [&'static str],
    target: Target,
    count: fn(&str) -> Result<u64>,
}

#[derive(Clone, Copy, Debug)]
enum Target {
    Url { scheme: &'static str, path: &'static str },
    Connect,
}

impl Load {
    /// Is it one of requests, which proxies log?
    pub(super) const fn is_logged(self) -> bool {
        matches!(self.target, Target::Url { .. })
    }
}

/// 50 connections, one request after the other on each; 100 bytes. What is late is answered all the same: it is the figures
/// that show it.
pub(super) const TLS_HTTP1: Load = Load {
    program: "wrk",
    arguments: &["-t1", "-c50", "--timeout", "60s", "-d"],
    target: Target::Url {
        scheme: "https",
        path: "/small",
    },
    count: wrk,
};

/// The same without TLS.
pub(super) const PLAIN_HTTP1: Load = Load {
    target: Target::Url {
        scheme: "http",
        path: "/small",
    },
    ..TLS_HTTP1
};

/// 10 connections.
pub(super) const BODIES: Load = Load {
    arguments: &["-t1", "-c10", "--timeout", "60s", "-d"],
    target: Target::Url {
        scheme: "https",
        path: "/large",
    },
    ..TLS_HTTP1
};

/// 10 connections with 10 requests at a time on each; 100 bytes.
pub(super) const TLS_HTTP2: Load = Load {
    program: "h2load",
    arguments: &["-c10", "-m10", "-D"],
    target: Target::Url {
        scheme: "https",
        path: "/small",
    },
    count: h2load,
};

/// One connection after the other, with TLS 1.3 and no session resumed, and nothing asked for.
pub(super) const HANDSHAKES: Load = Load {
    program: "openssl",
    arguments: &["s_time", "-new", "-tls1_3", "-time"],
    target: Target::Connect,
    count: s_time,
};

/// Runs it to its end; how many requests, or handshakes, were done.
pub(super) fn run(world: &World, load: Load, address: IpAddr, seconds: u32) -> Result<u64> {
    let mut command = Command::new(load.program);
    command.args(load.arguments).arg(seconds.to_string());
    match load.target {
        Target::Url { scheme, path } => command.arg(format!("{scheme}://{address}{path}")),
        Target::Connect => command.args(["-connect", &format!("{address}:443")]),
    };
    let output = world
        .confine_client(&mut command)
        .output()
        .with_context(|| load.program)?;
    let said = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{} failed:\n{said}{complaint}", load.program);
    let done = (load.count)(&said).with_context(|| format!("{} said:\n{said}{complaint}", load.program))?;
    ensure!(done > 0, "{} has done nothing:\n{said}{complaint}", load.program);
    Ok(done)
}

/// The number before `label` on the first line that has both.
fn number(text: &str, label: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.split_once(label)?.0.split_whitespace().last()?.parse().ok())
}

pub(in crate::bench) fn wrk(said: &str) -> Result<u64> {
    let bad = said
        .lines()
        .find(|line| line.contains("Non-2xx") || line.contains("Socket errors"));
    ensure!(bad.is_none(), "not every request was answered");
    number(said, " requests in ").context("no count of requests")
}

pub(in crate::bench) fn h2load(said: &str) -> Result<u64> {
    let done = number(said, " succeeded").context("no count of requests")?;
    let good = number(said, " 2xx").context("no count of good answers")?;
    let failed = number(said, " failed").context("no count of failures")?;
    let wrong = number(said, " errored").context("no count of errors")?;
    // What is under way when the time is over may be counted as answered and not yet as done.
    ensure!(
        failed == 0 && wrong == 0 && good >= done,
        "not every request was answered"
    );
    ensure!(said.contains("Application protocol: h2"), "it has not spoken HTTP/2");
    Ok(done)
}

fn s_time(said: &str) -> Result<u64> {
    number(said, " connections in ").context("no count of connections")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrk_counts_only_when_all_is_well() {
        let good = "Running 1s test @ https://10.9.0.1/small\n  1 threads and 50 connections\n  \
                    21345 requests in 1.00s, 6.17MB read\nRequests/sec:  21300.00\n";
        assert_eq!(wrk(good).unwrap(), 21_345);
        for bad in [
            "  Non-2xx or 3xx responses: 7\n",
            "  Socket errors: connect 0, read 1, write 0, timeout 0\n",
        ] {
            assert!(wrk(&(good.to_owned() + bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn h2load_counts_only_when_all_is_well() {
        let text = "Application protocol: h2\nfinished in 1.00s, 19995.00 req/s, 1.08MB/s\n\
                    requests: 19995 total, 20095 started, 19995 done, 19995 succeeded, 0 failed, 0 errored, 0 timeout\n\
                    status codes: 19995 2xx, 0 3xx, 0 4xx, 0 5xx\n";
        assert_eq!(h2load(text).unwrap(), 19_995);
        for (before, after) in [
            ("0 failed", "3 failed"),
            ("19995 2xx", "19990 2xx"),
            (": h2", ": http/1.1"),
        ] {
            assert!(h2load(&text.replace(before, after)).is_err(), "{after}");
        }
    }

    #[test]
    fn handshakes_are_counted() {
        let text = "Collecting connection statistics for 1 seconds\n****\n\n\
                    1409 connections in 0.61s; 2309.84 connections/user sec, bytes read 0\n\
                    1409 connections in 2 real seconds, 0 bytes read per connection\n";
        assert_eq!(s_time(text).unwrap(), 1409);
        assert!(s_time("").is_err());
    }
}
