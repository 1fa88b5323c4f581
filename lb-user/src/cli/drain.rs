//! `fulcrum drain`, and waiting for the flows that are left.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Serialize;
use tokio::time::{Instant, sleep, timeout_at};

use super::args::Drain as Args;
use super::command::{self, Target};
use super::interrupt::Interrupt;
use super::line::{Line, PERIOD, conclude};
use super::status::client;
use crate::api::types::{AdminState, BackendPatch};
use crate::api::{Client, ClientError};
use crate::config::duration;

/// How waiting has ended, as JSON: stable, and documented in docs/api.md.
#[derive(Debug, Serialize)]
struct Waited {
    /// Name of the service.
    service: String,
    /// Name or address of the backend, as it was asked for.
    backend: String,
    outcome: Outcome,
    /// Flows that are known, and are left.
    flows_left: u64,
    /// Slots whose silent flows may be left.
    moving_slots: u32,
    /// Flows that were cut while it was waited for, since the drain was over.
    cut_flows: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    /// None is left.
    Drained,
    /// The time is over before.
    TimedOut,
    /// By Ctrl-C or SIGTERM.
    Interrupted,
    /// Somebody has said otherwise of the backend.
    Ended,
}

pub(super) async fn run(args: &Args) -> Result<ExitCode> {
    if !args.wait {
        return command::state(&args.backend, AdminState::Drain).await;
    }
    // Before anything is changed, so that no signal goes by.
    let mut interrupt = Interrupt::new()?;
    let deadline = args.timeout.map(|limit| Instant::now() + limit);
    let client = client(&args.backend.asked.daemon)?;
    let Target { service, backend } = &args.backend.target;
    let patch = BackendPatch {
        state: Some(AdminState::Drain),
        ..BackendPatch::default()
    };
    let done = client.patch(service, backend, patch).await?;
    command::warn(&done);
    let mut wait = Wait {
        client,
        waited: Waited {
            service: done.service.clone(),
            backend: done.backend.name.clone(),
            outcome: Outcome::Drained,
            flows_left: done.backend.flows(),
            moving_slots: done.backend.moving_slots,
            cut_flows: 0,
        },
        cut_before: done.backend.cut_flows,
        address: done.backend.address.to_string(),
        line: Line::new(args.backend.asked.json),
    };
    if let Some(fault) = &done.fault {
        wait.line.print(&format!("the kernel is not as wanted yet: {fault}"))?;
    }
    let outcome = tokio::select! {
        outcome = wait.until(deadline) => outcome,
        () = interrupt.comes() => Ok(Outcome::Interrupted),
    };
    wait.line.end()?;
    let outcome = outcome.context("the drain stays in force, but whether flows are left is not known")?;
    wait.waited.outcome = outcome;
    let text = conclusion(&wait.waited, args.timeout);
    conclude(
        args.backend.asked.json,
        &wait.waited,
        outcome == Outcome::Drained,
        &text,
    )?;
    Ok(ExitCode::SUCCESS)
}

struct Wait {
    client: Client,
    waited: Waited,
    cut_before: u64,
    /// By which the backend is asked after: a reload may give its name to another one.
    address: String,
    line: Line,
}

impl Wait {
    async fn until(&mut self, deadline: Option<Instant>) -> Result<Outcome> {
        loop {
            let look = self.client.backend(&self.waited.service, &self.address);
            let look = match deadline {
                Some(deadline) => timeout_at(deadline, look).await,
                None => Ok(look.await),
            };
            let Ok(look) = look else {
                return Ok(Outcome::TimedOut);
            };
            let backend = match look {
                Ok(one) => one.backend,
                // It has left the file and is gone: what it had is over.
                Err(ClientError::Refused(problem)) if problem.status == 404 => {
                    (self.waited.flows_left, self.waited.moving_slots) = (0, 0);
                    return Ok(Outcome::Drained);
                }
                Err(error) => return Err(error.into()),
            };
            self.waited.flows_left = backend.flows();
            self.waited.moving_slots = backend.moving_slots;
            self.waited.cut_flows = backend.cut_flows.saturating_sub(self.cut_before);
            if backend.drained {
                return Ok(Outcome::Drained);
            }
            if backend.state == AdminState::Active {
                return Ok(Outcome::Ended);
            }
            self.line.print(&progress(&self.waited))?;
            let next = Instant::now() + PERIOD;
            if deadline.is_some_and(|deadline| deadline <= next) {
                sleep(deadline.map_or(PERIOD, |deadline| deadline - Instant::now())).await;
                return Ok(Outcome::TimedOut);
            }
            sleep(PERIOD).await;
        }
    }
}

fn progress(waited: &Waited) -> String {
    let Waited { service, backend, .. } = waited;
    format!("{service}/{backend}: {}", left(waited))
}

/// What is left, for people.
fn left(waited: &Waited) -> String {
    let known = match waited.flows_left {
        1 => "1 flow is known".to_owned(),
        flows => format!("{flows} flows are known"),
    };
    match waited.moving_slots {
        0 => known,
        slots => format!("{known}, and {slots} slots may have silent ones"),
    }
}

fn conclusion(waited: &Waited, limit: Option<Duration>) -> String {
    let Waited { service, backend, .. } = waited;
    let target = format!("{service}/{backend}");
    let stays = format!("the drain stays in force, `fulcrum enable {target}` ends it");
    match waited.outcome {
        Outcome::Drained if waited.cut_flows > 0 => format!(
            "{target}: no flow is left; {} were cut when drain-timeout had passed",
            waited.cut_flows
        ),
        Outcome::Drained => format!("{target}: no flow is left"),
        Outcome::TimedOut => {
            let limit = limit.map_or_else(String::new, |limit| format!(" after {}", duration::format(limit)));
            format!("{target}:{limit} {}; {stays}", left(waited))
        }
        Outcome::Interrupted => format!("{target}: interrupted while {}; {stays}", left(waited)),
        Outcome::Ended => format!("{target}: the drain has been ended by another command or by the file"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waited(outcome: Outcome, flows_left: u64, moving_slots: u32, cut_flows: u64) -> Waited {
        Waited {
            service: "web".to_owned(),
            backend: "web1".to_owned(),
            outcome,
            flows_left,
            moving_slots,
            cut_flows,
        }
    }

    #[test]
    fn what_is_left_is_said_as_far_as_it_is_known() {
        let line = |flows, slots| progress(&waited(Outcome::TimedOut, flows, slots, 0));
        assert_eq!(line(12, 0), "web/web1: 12 flows are known");
        assert_eq!(
            line(1, 85),
            "web/web1: 1 flow is known, and 85 slots may have silent ones"
        );
        let end = |outcome, flows, slots, cut| {
            let limit = Some(Duration::from_secs(300));
            conclusion(&waited(outcome, flows, slots, cut), limit)
        };
        assert_eq!(end(Outcome::Drained, 0, 0, 0), "web/web1: no flow is left");
        assert_eq!(
            end(Outcome::Drained, 0, 0, 3),
            "web/web1: no flow is left; 3 were cut when drain-timeout had passed"
        );
        assert_eq!(
            end(Outcome::TimedOut, 2, 0, 0),
            "web/web1: after 5m 2 flows are known; the drain stays in force, `fulcrum enable web/web1` ends it"
        );
        assert_eq!(
            end(Outcome::Interrupted, 0, 85, 0),
            "web/web1: interrupted while 0 flows are known, and 85 slots may have silent ones; the drain stays in \
             force, `fulcrum enable web/web1` ends it"
        );
    }

    #[test]
    fn the_end_is_one_object() {
        let json = serde_json::to_value(waited(Outcome::TimedOut, 2, 85, 0)).unwrap();
        let expected = serde_json::json!({
            "service": "web", "backend": "web1", "outcome": "timed_out",
            "flows_left": 2, "moving_slots": 85, "cut_flows": 0,
        });
        assert_eq!(json, expected);
    }
}
