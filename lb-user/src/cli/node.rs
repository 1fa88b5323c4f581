//! `fulcrum node drain` and `enable`.

use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Serialize;
use tokio::time::{Instant, sleep, timeout_at};

use super::args::{Node as Args, NodeDrain};
use super::interrupt::Interrupt;
use super::line::{Line, PERIOD, conclude};
use super::status::client;
use crate::api::Client;
use crate::api::types::{Node, NodePatch, Status};
use crate::config::duration;

/// So many looks in a row, each [`PERIOD`] after the one before, have to see that nothing has come.
const QUIET: u32 = 3;

pub(super) async fn run(args: &Args) -> Result<ExitCode> {
    let (args, draining) = match args {
        Args::Drain(args) if args.wait => return wait(args).await,
        Args::Drain(args) => (&args.asked, true),
        Args::Enable(args) => (args, false),
    };
    let node = client(&args.daemon)?.patch_node(NodePatch { draining }).await?;
    warn(&node);
    super::show(args.json, &node, |Node { node, .. }| match draining {
        true => format!("{node}: clients go to other nodes, until `fulcrum node enable`\n"),
        false => format!("{node}: it takes part again\n"),
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Says why a restart may forget it.
fn warn(node: &Node) {
    if let Some(fault) = &node.overrides_fault {
        eprintln!("warning: {fault}");
    }
}

/// How waiting has ended, as JSON: stable, and documented in docs/api.md.
#[derive(Debug, Serialize)]
struct Waited {
    /// Name of the node.
    node: String,
    outcome: Outcome,
    /// By which clients reach it still.
    addresses: Vec<IpAddr>,
    /// Nothing has come for its services for some seconds.
    quiet: bool,
    /// Of its virtual routers, those that no other node says to be master of.
    unclaimed: Vec<IpAddr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    /// No address is left, and nothing comes.
    Drained,
    /// The time is over before.
    TimedOut,
    /// By Ctrl-C or SIGTERM.
    Interrupted,
    /// Somebody has enabled the node.
    Ended,
}

async fn wait(args: &NodeDrain) -> Result<ExitCode> {
    // Before anything is changed, so that no signal goes by.
    let mut interrupt = Interrupt::new()?;
    let deadline = args.timeout.map(|limit| Instant::now() + limit);
    let client = client(&args.asked.daemon)?;
    let node = client.patch_node(NodePatch { draining: true }).await?;
    warn(&node);
    let mut wait = Wait {
        client,
        waited: Waited {
            node: node.node,
            outcome: Outcome::Drained,
            addresses: node.addresses,
            quiet: false,
            unclaimed: Vec::new(),
        },
        line: Line::new(args.asked.json),
    };
    let all = async {
        match deadline {
            Some(deadline) => timeout_at(deadline, wait.until())
                .await
                .unwrap_or(Ok(Outcome::TimedOut)),
            None => wait.until().await,
        }
    };
    let outcome = tokio::select! {
        outcome = all => outcome,
        () = interrupt.comes() => Ok(Outcome::Interrupted),
    };
    wait.line.end()?;
    let outcome = outcome.context("the node drains, but how far it has come is not known")?;
    wait.waited.outcome = outcome;
    let text = conclusion(&wait.waited, args.timeout);
    conclude(args.asked.json, &wait.waited, outcome == Outcome::Drained, &text)?;
    if !wait.waited.unclaimed.is_empty() {
        eprintln!(
            "warning: no other node is heard that has taken over {}",
            list(&wait.waited.unclaimed)
        );
    }
    Ok(ExitCode::SUCCESS)
}

struct Wait {
    client: Client,
    waited: Waited,
    line: Line,
}

impl Wait {
    async fn until(&mut self) -> Result<Outcome> {
        let (mut before, mut looks) = (None, 0);
        loop {
            let (node, status) = (self.client.node().await?, self.client.status().await?);
            if !node.draining {
                return Ok(Outcome::Ended);
            }
            let now = come(&status);
            looks = if before == Some(now) { looks + 1 } else { 0 };
            before = Some(now);
            let unclaimed = node
                .virtual_routers
                .into_iter()
                .filter(|router| router.master.is_none());
            self.waited.unclaimed = unclaimed.flat_map(|router| router.addresses).collect();
            self.waited.addresses = node.addresses;
            self.waited.quiet = looks >= QUIET;
            if self.waited.addresses.is_empty() && self.waited.quiet {
                return Ok(Outcome::Drained);
            }
            self.line
                .print(&format!("{}: {}", self.waited.node, left(&self.waited)))?;
            sleep(PERIOD).await;
        }
    }
}

/// All that has come for services.
fn come(status: &Status) -> u64 {
    let of = |service: &crate::api::types::ServiceStatus| {
        let packets: u64 = service.backends.iter().map(|backend| backend.packets).sum();
        packets + service.http.as_ref().map_or(0, |http| http.received)
    };
    status.services.iter().map(of).sum()
}

/// What is left, for people.
fn left(waited: &Waited) -> String {
    if waited.addresses.is_empty() {
        return "no address is left, but packets for its services still come".to_owned();
    }
    format!("it holds {}", list(&waited.addresses))
}

fn list(addresses: &[IpAddr]) -> String {
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    addresses.join(", ")
}

fn conclusion(waited: &Waited, limit: Option<Duration>) -> String {
    let node = &waited.node;
    let stays = "it goes on to drain, `fulcrum node enable` ends that";
    match waited.outcome {
        Outcome::Drained => format!("{node}: no address is left, and nothing comes for its services any more"),
        Outcome::TimedOut => {
            let limit = limit.map_or_else(String::new, |limit| format!(" after {}", duration::format(limit)));
            format!("{node}:{limit} {}; {stays}", left(waited))
        }
        Outcome::Interrupted => format!("{node}: interrupted while {}; {stays}", left(waited)),
        Outcome::Ended => format!("{node}: the drain has been ended by another command"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waited(outcome: Outcome, addresses: &[&str]) -> Waited {
        Waited {
            node: "lb1".to_owned(),
            outcome,
            addresses: addresses.iter().map(|ip| ip.parse().unwrap()).collect(),
            quiet: false,
            unclaimed: Vec::new(),
        }
    }

    #[test]
    fn what_is_left_is_said() {
        let limit = Some(Duration::from_secs(30));
        let end = |outcome, addresses: &[&str]| conclusion(&waited(outcome, addresses), limit);
        assert_eq!(
            end(Outcome::Drained, &[]),
            "lb1: no address is left, and nothing comes for its services any more"
        );
        assert_eq!(
            end(Outcome::TimedOut, &["192.0.2.10", "2001:db8::10"]),
            "lb1: after 30s it holds 192.0.2.10, 2001:db8::10; it goes on to drain, `fulcrum node enable` ends that"
        );
        assert_eq!(
            end(Outcome::Interrupted, &[]),
            "lb1: interrupted while no address is left, but packets for its services still come; it goes on to drain, \
             `fulcrum node enable` ends that"
        );
        let json = serde_json::to_value(waited(Outcome::TimedOut, &["192.0.2.10"])).unwrap();
        let expected = serde_json::json!({
            "node": "lb1", "outcome": "timed_out", "addresses": ["192.0.2.10"], "quiet": false,
            "unclaimed": [],
        });
        assert_eq!(json, expected);
    }
}
