//! `fulcrum lab down`: removes a lab, whatever state it is in. Works from records and names alone, so it doesn't matter
//! who died when; what is gone already is fine. It removes as much as it can, and then says what it could not.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::catalogue;
use super::host::namespace;
use super::process::{self, Process};
use super::report::listed;
use super::state::Lab;
use crate::model::count;
use crate::net::Namespace;

/// 10 s from SIGTERM to SIGKILL: a balancer finishes its requests.
const PATIENCE: Duration = Duration::from_secs(10);

/// 5 s for the kernel to end a killed process.
const LAST_PATIENCE: Duration = Duration::from_secs(5);

/// 20 s for `lab up` to take its own lab down, when told to.
const OWNER_PATIENCE: Duration = Duration::from_secs(20);

/// What became of a lab.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// For people.
    pub(super) removed: Vec<String>,
    /// For people.
    pub(super) failed: Vec<String>,
}

/// Takes one lab down, or all.
pub(super) async fn run(name: Option<&str>) -> anyhow::Result<ExitCode> {
    let labs = match name {
        Some(what) => {
            let name = catalogue::name(what)?;
            if Lab::find(&name)?.is_none() {
                catalogue::find(what)?; // a typing error, rather than a lab that is down
            }
            vec![Lab::at(&name)?]
        }
        None => Lab::all()?,
    };
    let mut code = ExitCode::SUCCESS;
    if labs.is_empty() {
        println!("no lab is up");
    }
    for lab in labs {
        let outcome = down(&lab).await;
        if outcome.removed.is_empty() && outcome.failed.is_empty() {
            println!("lab {} is not up", lab.name());
        } else {
            println!("lab {} is down: {}", lab.name(), list(&outcome.removed));
        }
        for failure in &outcome.failed {
            eprintln!("lab {}: {failure}", lab.name());
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}

/// Removes everything of `lab`.
pub(super) async fn down(lab: &Lab) -> Outcome {
    let mut outcome = Outcome::default();
    dismiss_owner(lab, &mut outcome).await;
    let namespaces = namespaces(lab);
    end_processes(lab, &namespaces, &mut outcome).await;
    match lab.unmount_pins() {
        Ok(true) => outcome.removed.push("its pins".into()),
        Ok(false) => {}
        Err(error) => outcome.failed.push(format!("{error:#}")),
    }
    let mut deleted = 0;
    for name in &namespaces {
        match Namespace::delete(name) {
            Ok(true) => deleted += 1,
            Ok(false) => {}
            Err(error) => outcome.failed.push(format!("{:#}", anyhow::Error::from(error))),
        }
    }
    if deleted > 0 {
        outcome.removed.push(count(deleted, "namespace"));
    }
    match lab.remove() {
        Ok(true) => outcome.removed.push(format!("{}", lab.folder().display())),
        Ok(false) => {}
        Err(error) => outcome.failed.push(format!("{error:#}")),
    }
    outcome
}

/// What is left of `lab`, for people; nothing after a good [`down`].
pub(super) fn leftovers(lab: &Lab) -> Vec<String> {
    let mut left: Vec<String> = namespaces(lab)
        .into_iter()
        .filter(|name| Namespace::exists(name))
        .collect();
    if lab.folder().exists() {
        left.push(lab.folder().display().to_string());
    }
    left
}

/// Names by the records, and by what the lab is made of: the records may be gone or not written yet.
fn namespaces(lab: &Lab) -> Vec<String> {
    let mut names: Vec<String> = lab
        .facts()
        .map(|facts| facts.namespaces.into_values().collect())
        .unwrap_or_default();
    if let Ok(file) = catalogue::of(lab).or_else(|_| catalogue::find(lab.name()).map(|source| source.file)) {
        names.extend(file.machines().map(|host| namespace(lab.name(), host)));
    }
    names.sort();
    names.dedup();
    names
}

/// A `lab up` at work would go on building: it is told to clean up, and does what follows here itself.
async fn dismiss_owner(lab: &Lab, outcome: &mut Outcome) {
    let Ok(facts) = lab.facts() else { return };
    let Some(owner) = facts
        .owner
        .living()
        .filter(|owner| owner.pid != std::process::id().cast_signed())
    else {
        return;
    };
    owner.signal(Signal::SIGTERM);
    if !owner.wait(OWNER_PATIENCE).await {
        owner.signal(Signal::SIGKILL);
        owner.wait(LAST_PATIENCE).await;
    }
    outcome.removed.push(format!("its `lab up` (process {})", owner.pid));
}

/// Ends what was recorded, and whatever else runs in the lab's namespaces.
async fn end_processes(lab: &Lab, namespaces: &[String], outcome: &mut Outcome) {
    let mut processes: BTreeMap<i32, Process> = BTreeMap::new();
    for process in lab.recorded().iter().filter_map(super::process::Record::living) {
        processes.insert(process.pid, process);
    }
    for name in namespaces {
        let Ok(namespace) = Namespace::open(name) else { continue };
        match process::inside(&namespace) {
            Ok(found) => processes.extend(found.into_iter().map(|process| (process.pid, process))),
            Err(error) => outcome.failed.push(format!("looking for processes in {name}: {error}")),
        }
    }
    let all: Vec<Process> = processes.into_values().collect();
    let number = all.len();
    for process in end(&all).await {
        outcome.failed.push(format!("process {process} does not end"));
    }
    if number > 0 {
        outcome.removed.push(count(number, "process"));
    }
}

/// Makes processes end, without asking; ids of those that live nevertheless.
pub(super) async fn kill(processes: &[Process]) -> Vec<i32> {
    for process in processes.iter().filter(|process| !process.ended()) {
        process.signal(Signal::SIGKILL);
    }
    wait(processes.iter(), LAST_PATIENCE).await;
    let living = processes.iter().filter(|process| !process.ended());
    living.map(|process| process.pid).collect()
}

/// Asks processes to end, then makes them; ids of those that live nevertheless.
pub(super) async fn end(processes: &[Process]) -> Vec<i32> {
    for process in processes {
        process.signal(Signal::SIGTERM);
    }
    wait(processes.iter(), PATIENCE).await;
    kill(processes).await
}

async fn wait<'p>(processes: impl Iterator<Item = &'p Process>, patience: Duration) {
    let deadline = Instant::now() + patience;
    for process in processes {
        process.wait(deadline.saturating_duration_since(Instant::now())).await;
    }
}

/// What was removed, for people.
pub(super) fn list(things: &[String]) -> String {
    match things {
        [] => "nothing was left of it".into(),
        some => listed(some),
    }
}
