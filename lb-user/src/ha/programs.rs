//! Programs that are run: scripts that are tracked, and those that are told of a change.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{self, MissedTickBehavior, sleep, timeout};

use crate::model::Health;
use crate::model::fsm::{Machine, Outcome, Transition};
use crate::model::vrrp::{Occasion, Program, Script, VirtualRouter};
use crate::process::Programs;

/// Longest time for a program that is told of a change.
const PATIENCE: Duration = Duration::from_secs(60);

/// First and longest wait before one that failed is run again.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Runs a script again and again; says whose is up or down when that is known, and when it changes. Ends when nobody listens.
pub(super) async fn watch<T: Clone>(programs: Programs, script: Script, whose: T, said: mpsc::Sender<(T, bool)>) {
    let mut interval = time::interval(script.interval);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut machine = Machine::new(script.rise, script.fall);
    loop {
        tokio::select! {
            () = said.closed() => return,
            _ = interval.tick() => {}
        }
        let outcome = run(&programs, &script.program, Vec::new(), Vec::new(), script.timeout).await;
        let seen = if outcome.is_ok() {
            Outcome::Success
        } else {
            Outcome::Failure
        };
        let Some(Transition { to, .. }) = machine.observe(seen) else {
            continue;
        };
        if let Err(reason) = outcome {
            tracing::warn!(script = %script.program, reason, "a tracked script has failed");
        }
        if said.send((whose.clone(), to == Health::Up)).await.is_err() {
            return;
        }
    }
}

/// A change that programs are told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) occasion: Occasion,
    pub(super) priority: u8,
    /// The virtual router as it was then.
    pub(super) router: Arc<VirtualRouter>,
}

/// Runs the program of the newest change; one that belongs to an older one is ended. One that fails is run again while its
/// change is the newest. Says what went wrong, and `None` when all is well. Ends when nobody tells any more, after the last
/// program.
pub(super) async fn tell(
    programs: Programs,
    mut changes: watch::Receiver<Option<Change>>,
    fault: watch::Sender<Option<String>>,
) {
    loop {
        let change = changes.borrow_and_update().clone();
        let told = async {
            if let Some(change) = &change {
                tell_one(&programs, change, &fault).await;
            }
        };
        tokio::select! {
            biased;
            () = told => if changes.changed().await.is_err() { return },
            // Nobody waits for a program of the past.
            Ok(()) = changes.changed() => {}
        }
    }
}

async fn tell_one(programs: &Programs, change: &Change, fault: &watch::Sender<Option<String>>) {
    let Some(program) = change.router.notify.get(&change.occasion) else {
        fault.send_if_modified(|fault| fault.take().is_some());
        return;
    };
    let mut again = AGAIN.0;
    loop {
        let router = &change.router;
        let state = change.occasion.label().to_uppercase();
        let arguments = [
            "INSTANCE".to_owned(),
            router.name.to_string(),
            state.clone(),
            change.priority.to_string(),
        ];
        let addresses: Vec<String> = router.addresses.iter().map(ToString::to_string).collect();
        let environment = vec![
            ("FULCRUM_VRRP_NAME", router.name.to_string()),
            ("FULCRUM_VRRP_STATE", state),
            ("FULCRUM_VRRP_PRIORITY", change.priority.to_string()),
            ("FULCRUM_VRRP_INTERFACE", router.interface.to_string()),
            ("FULCRUM_VRRP_ADDRESSES", addresses.join(" ")),
        ];
        match run(programs, program, arguments.to_vec(), environment, PATIENCE).await {
            Ok(()) => {
                fault.send_replace(None);
                return;
            }
            Err(reason) => {
                tracing::warn!(virtual_router = %router.name, %program, reason, "a program that was told of the role has failed");
                fault.send_replace(Some(format!("{program}: {reason}")));
                // At the end there is no time for another one.
                if change.occasion == Occasion::Stop {
                    return;
                }
            }
        }
        sleep(again).await;
        again = (again * 2).min(AGAIN.1);
    }
}

/// Runs a program to its end, if that comes in time.
async fn run(
    programs: &Programs,
    program: &Program,
    more: Vec<String>,
    environment: Vec<(&'static str, String)>,
    patience: Duration,
) -> Result<(), String> {
    let arguments = program.arguments.iter().cloned().chain(more);
    let mut process = programs
        .start(&program.path, arguments, environment)
        .map_err(|error| error.to_string())?;
    let ended = timeout(patience, process.exit()).await;
    let status = ended.map_err(|_| format!("it had not ended after {patience:?}"))?;
    let status = status.map_err(|error| error.to_string())?;
    if status.success() {
        return Ok(());
    }
    // Somebody whom it has left behind may hold its standard error open.
    let _ = timeout(Duration::from_millis(100), process.last_words()).await;
    Err(process.failure(status).to_string())
}

#[cfg(test)]
mod tests;
