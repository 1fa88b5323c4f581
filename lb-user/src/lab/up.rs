//! `fulcrum lab up`: builds a lab, shows it, and takes it down, however that ends.

use std::process::ExitCode;

use anyhow::bail;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::down::{self, leftovers};
use super::guard::Guardian;
use super::process::Record;
use super::quickstart::tour::Tour;
use super::report::heading;
use super::state::{Facts, Lab};
use super::topology::{Topology, namespace};
use crate::net::Namespace;

/// How the tour ended.
enum End {
    /// With the expectations that did not come true.
    Seen(Vec<String>),
    Failed(anyhow::Error),
    /// By a signal: its number.
    Told(u8),
}

pub(super) async fn run(name: &str, keep: bool) -> anyhow::Result<ExitCode> {
    let topology = super::topology(name)?;
    if !nix::unistd::geteuid().is_root() {
        bail!("labs need root: they make network namespaces, and load programs into the kernel");
    }
    // From here on a signal ends this process in order, or not at all.
    let mut signals = Signals::new()?;
    let lab = Lab::claim(name)?;
    let ready = strangers(&lab, &topology).and_then(|()| Guardian::start(&lab));
    let guardian = match ready {
        Ok(guardian) => guardian,
        Err(error) => {
            lab.remove()?;
            return Err(error);
        }
    };
    println!("Lab {name}: {}", super::quickstart::SUMMARY);
    let end = tokio::select! {
        ended = show(&lab, &topology, keep) => ended.map_or_else(End::Failed, End::Seen),
        number = signals.next() => End::Told(number),
    };
    let stays = keep && matches!(end, End::Seen(_));
    let clean = stays || take_down(&lab, matches!(end, End::Seen(_))).await;
    guardian.dismiss().await;
    Ok(match end {
        End::Seen(unmet) => {
            for what in &unmet {
                eprintln!("   not as it should be: {what}");
            }
            if unmet.is_empty() && clean {
                println!("\nEverything went as it should.");
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        End::Failed(error) => return Err(error),
        End::Told(number) => ExitCode::from(128 + number),
    })
}

/// Refuses to build where somebody else's namespaces stand in the way: whatever carries the lab's names from here on was
/// made by this run, and may be taken down by it.
fn strangers(lab: &Lab, topology: &Topology) -> anyhow::Result<()> {
    let names = topology.names().map(|host| namespace(lab.name(), host));
    let there: Vec<String> = names.filter(|name| Namespace::exists(name)).collect();
    if !there.is_empty() {
        let (noun, verb) = match there.len() {
            1 => ("namespace", "exists"),
            _ => ("namespaces", "exist"),
        };
        let name = lab.name();
        bail!(
            "network {noun} {} {verb}; `fulcrum lab down {name}` removes what has the names of this lab",
            down::list(&there)
        );
    }
    Ok(())
}

async fn show(lab: &Lab, topology: &Topology, keep: bool) -> anyhow::Result<Vec<String>> {
    let mut facts = Facts {
        namespaces: topology
            .names()
            .map(|host| (host.to_owned(), namespace(lab.name(), host)))
            .collect(),
        owner: Record::of("up", std::process::id().cast_signed())?,
        kept: false,
        url: None,
    };
    // Before anything is made, so that everything can be found.
    lab.write_facts(&facts)?;
    lab.mount_pins()?;
    let mut tour = Tour::new(lab)?;
    let unmet = tour.run(topology).await?;
    if keep {
        facts.url = Some(tour.stay().await?);
        facts.kept = true;
        lab.write_facts(&facts)?;
    }
    Ok(unmet)
}

/// Says whether nothing is left.
async fn take_down(lab: &Lab, shown: bool) -> bool {
    if shown {
        heading(8, "Clean up");
    } else {
        println!();
    }
    let outcome = down::down(lab).await;
    println!("   Removed: {}.", down::list(&outcome.removed));
    for failure in &outcome.failed {
        eprintln!("   {failure}");
    }
    let left = leftovers(lab);
    if !left.is_empty() {
        eprintln!("   Left behind: {}", down::list(&left));
    }
    outcome.failed.is_empty() && left.is_empty()
}

/// What asks a process to end.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Number of the next one.
    async fn next(&mut self) -> u8 {
        tokio::select! {
            _ = self.interrupt.recv() => 2,
            _ = self.terminate.recv() => 15,
            _ = self.hangup.recv() => 1,
        }
    }
}
