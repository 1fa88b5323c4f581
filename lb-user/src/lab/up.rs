//! Brings a lab up: `fulcrum lab up` leaves it there, `fulcrum lab tour` shows it and takes it down. Either way it is
//! whole in the end, or gone.

use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::args;
use super::catalogue::{self, Source};
use super::certificate;
use super::down::{self, leftovers};
use super::file::File;
use super::guard::Guardian;
use super::host::{hosts_file, namespace, resolve};
use super::process::{self, Record};
use super::report;
use super::start;
use super::state::{self, Facts, Lab};
use super::tour::Tour;
use crate::net::Namespace;

/// 10 s for a forwarder to say where it listens.
const PATIENCE: Duration = Duration::from_secs(10);

/// How the work ended.
enum End {
    /// With the expectations that did not come true.
    Done(Vec<String>),
    Failed(anyhow::Error),
    /// By a signal: its number.
    Told(u8),
}

/// `fulcrum lab up`: builds a lab, checks it, and leaves it there.
pub(super) async fn run(args: &args::Up) -> anyhow::Result<ExitCode> {
    let source = catalogue::find(&args.lab)?;
    with(&source, args.only_real, true, async |lab, file| {
        let mut tour = Tour::new(lab, file)?;
        let unmet = tour.checks().await?;
        look_around(lab)?;
        Ok(unmet)
    })
    .await
}

/// `fulcrum lab tour`: shows a lab, which is built for it, and taken down afterwards, when it is not up.
pub(super) async fn tour(args: &args::Tour) -> anyhow::Result<ExitCode> {
    let name = catalogue::name(&args.lab)?;
    let show = async |lab: &Lab, file: &File| {
        let mut tour = Tour::new(lab, file)?;
        let unmet = tour.run(args.yes).await?;
        if args.keep {
            look_around(lab)?;
        }
        Ok(unmet)
    };
    let Some(lab) = Lab::find(&name)? else {
        let source = catalogue::find(&args.lab)?;
        return with(&source, args.only_real, args.keep, show).await;
    };
    let facts = lab
        .facts()
        .with_context(|| format!("lab {name} was left behind; `fulcrum lab down {name}` removes it"))?;
    if !facts.kept {
        bail!("lab {name} is being built or shown by process {}", facts.owner.pid);
    }
    let file = catalogue::of(&lab)?;
    let mut signals = Signals::new()?;
    let end = tokio::select! {
        ended = show(&lab, &file) => ended.map_or_else(End::Failed, End::Done),
        number = signals.next() => End::Told(number),
    };
    conclude(end, true)
}

/// Builds a lab, does `work` with it, and takes it down unless it shall stay and all went well.
async fn with(
    source: &Source,
    only_real: bool,
    keep: bool,
    work: impl AsyncFnOnce(&Lab, &File) -> anyhow::Result<Vec<String>>,
) -> anyhow::Result<ExitCode> {
    // From here on a signal ends this process in order, or not at all.
    let mut signals = Signals::new()?;
    let own = std::env::current_exe().context("finding the program itself")?;
    let (lab, guardian) = claim(source, &own).await?;
    let all = async {
        let mut facts = build(&lab, &source.file, &own, only_real).await?;
        let unmet = work(&lab, &source.file).await?;
        if keep {
            facts.kept = true;
            lab.write_facts(&facts)?;
        }
        anyhow::Ok(unmet)
    };
    let end = tokio::select! {
        ended = all => ended.map_or_else(End::Failed, End::Done),
        number = signals.next() => End::Told(number),
    };
    let stays = keep && matches!(&end, End::Done(unmet) if unmet.is_empty());
    let clean = stays || {
        println!("\nClean up");
        let (removed, clean) = take_down(&lab).await;
        println!("   Removed: {removed}.");
        clean
    };
    guardian.dismiss().await;
    conclude(end, clean)
}

/// Takes the name of a lab, once nothing stands in its way; from here on somebody takes it down, however this process ends.
///
/// # Errors
/// Without root, without the programs that it needs, or when it is up.
pub(super) async fn claim(source: &Source, own: &Path) -> anyhow::Result<(Lab, Guardian)> {
    let name = source.file.name.get_ref();
    if !nix::unistd::geteuid().is_root() {
        bail!("labs need root: they make network namespaces, and load programs into the kernel");
    }
    let missing = start::missing(&source.file, own);
    if !missing.is_empty() {
        bail!(
            "lab {} needs programs that are not installed: apt-get install {}",
            &**name,
            missing.join(" ")
        );
    }
    let left = Lab::at(name)?;
    if left.is_left_behind() {
        let outcome = down::down(&left).await;
        eprintln!(
            "Lab {} was left behind by an earlier run; removed {}.",
            &**name,
            down::list(&outcome.removed)
        );
    }
    strangers(&source.file)?;
    // Before anything is made, so that everything can be found.
    let lab = Lab::claim(name, &facts(&source.file)?, &source.text)?;
    match Guardian::start(&lab) {
        Ok(guardian) => Ok((lab, guardian)),
        Err(error) => {
            lab.remove()?;
            Err(error)
        }
    }
}

fn conclude(end: End, clean: bool) -> anyhow::Result<ExitCode> {
    Ok(match end {
        End::Done(unmet) => {
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
fn strangers(file: &File) -> anyhow::Result<()> {
    let lab = &**file.name.get_ref();
    let names = file.machines().map(|host| namespace(lab, host));
    let there: Vec<String> = names.filter(|name| Namespace::exists(name)).collect();
    if !there.is_empty() && !Lab::at(lab)?.folder().exists() {
        let (noun, verb) = match there.len() {
            1 => ("namespace", "exists"),
            _ => ("namespaces", "exist"),
        };
        bail!(
            "network {noun} {} {verb}; `fulcrum lab down {lab}` removes what has the names of this lab",
            down::list(&there)
        );
    }
    Ok(())
}

/// What is known of a lab before it is there.
fn facts(file: &File) -> anyhow::Result<Facts> {
    let lab = &**file.name.get_ref();
    Ok(Facts {
        namespaces: file
            .machines()
            .map(|host| (host.to_owned(), namespace(lab, host)))
            .collect(),
        owner: Record::of("up", std::process::id().cast_signed())?,
        kept: false,
        outside: Vec::new(),
    })
}

/// Makes all of a lab, and starts what runs in it.
async fn build(lab: &Lab, file: &File, own: &Path, only_real: bool) -> anyhow::Result<Facts> {
    println!("Lab {}: {}", lab.name(), file.summary);
    if !file.diagram.is_empty() {
        println!("\n{}", file.diagram.trim_end());
    }
    make(lab, file, own).await?;
    let mut facts = lab.facts()?;
    println!();
    for host in &file.host {
        let addresses = host.interface.iter().flat_map(|interface| &interface.addresses);
        let address = addresses
            .map(|address| address.get_ref().ip.to_string())
            .next()
            .unwrap_or_default();
        let mut runs = Vec::new();
        for run in &host.run {
            let started = start::start(lab, host, run, own).await?;
            if started.stands_in && only_real {
                bail!(
                    "{} is not installed, and the embedded server is not wanted in its place",
                    run.kind.get_ref()
                );
            }
            match started.stands_in {
                true => runs.push(format!(
                    "the embedded server, since {} is not installed",
                    run.kind.get_ref()
                )),
                false if run.once => {}
                false => runs.push(run.name().to_owned()),
            }
        }
        println!("   {:<9} {address:<14} {}", &**host.name.get_ref(), runs.join(", "));
    }
    facts.outside = forward(lab, file, own).await?;
    lab.write_facts(&facts)?;
    for what in &file.missing {
        let words: Vec<&str> = ["Not there yet:"].into_iter().chain(what.split_whitespace()).collect();
        println!("\n   {}", report::wrapped(&words));
    }
    Ok(facts)
}

/// Makes hosts, wires, certificates and files of a lab, and starts nothing.
pub(super) async fn make(lab: &Lab, file: &File, own: &Path) -> anyhow::Result<()> {
    lab.mount_pins()?;
    super::build::build(lab.name(), file, &lab.pins())
        .await
        .context("building the network")?;
    state::replace(&lab.hosts_file(), hosts_file(file).as_bytes())?;
    certificate::make(lab, &file.certificate)?;
    for host in &file.host {
        start::write_files(lab, host, own)?;
    }
    Ok(())
}

/// Starts a way in from loopback for everything that the lab has for outside; what it is, and where.
async fn forward(lab: &Lab, file: &File, own: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let mut outside = Vec::new();
    for (number, way) in file.forward.iter().enumerate() {
        let url = way.to.get_ref();
        let (from, to) = (
            namespace(lab.name(), way.from.get_ref()),
            resolve(file, url)?.to_string(),
        );
        let args = ["lab", "forward", "--namespace", &from, "--to", &to];
        let name = format!("forward.{}", number + 1);
        let mut child = process::start_with(lab, &name, None, own, &args, Stdio::piped())?;
        let address = process::ready(&mut child, PATIENCE).await;
        let address = address.with_context(|| format!("starting the forwarder to {url}"))?;
        let scheme = url.to_string();
        let scheme = scheme.split("://").next().unwrap_or("http");
        outside.push((way.what.clone(), format!("{scheme}://{address}{}", url.path)));
    }
    Ok(outside)
}

/// What one can do with a lab that stays.
fn look_around(lab: &Lab) -> anyhow::Result<()> {
    let (name, facts) = (lab.name(), lab.facts()?);
    println!("\nThe lab stays up.");
    for (what, address) in facts.outside {
        println!("   {address:<34} {what}");
    }
    println!(
        "   fulcrum lab exec {name}/HOST COMMAND   runs a command on a host\n   \
         fulcrum lab status {name}              shows hosts, processes and logs\n   \
         fulcrum lab logs {name} [HOST]         shows what they say\n   \
         fulcrum lab tour {name}                shows what the lab is about\n   \
         fulcrum lab down {name}                removes everything\n   \
         Its files are below {}; `fulcrum` is {}.",
        lab.folder().join("hosts").display(),
        std::env::current_exe()?.display()
    );
    Ok(())
}

/// Removes a lab: what was removed, for people, and whether nothing is left.
pub(super) async fn take_down(lab: &Lab) -> (String, bool) {
    let outcome = down::down(lab).await;
    for failure in &outcome.failed {
        eprintln!("   {failure}");
    }
    let left = leftovers(lab);
    if !left.is_empty() {
        eprintln!("   Left behind: {}", down::list(&left));
    }
    (
        down::list(&outcome.removed),
        outcome.failed.is_empty() && left.is_empty(),
    )
}

/// What asks a process to end.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Number of the next one.
    pub(super) async fn next(&mut self) -> u8 {
        tokio::select! {
            _ = self.interrupt.recv() => 2,
            _ = self.terminate.recv() => 15,
            _ = self.hangup.recv() => 1,
        }
    }
}
