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

/// How work ended.
pub(super) enum End<T> {
    Done(T),
    Failed(anyhow::Error),
    /// By a signal: its number.
    Told(u8),
}

/// Expectations that did not come true.
type Unmet = Vec<String>;

/// `fulcrum lab up`: builds a lab, checks it, and leaves it there.
pub(super) async fn run(args: &args::Up) -> anyhow::Result<ExitCode> {
    let source = catalogue::find(&args.lab)?;
    build_and(&source, args.only_real, true, async |lab, file| {
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
        return build_and(&source, args.only_real, args.keep, show).await;
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

/// Builds a lab, shows it, and takes it down unless it shall stay and all went well.
async fn build_and(
    source: &Source,
    only_real: bool,
    keep: bool,
    show: impl AsyncFnOnce(&Lab, &File) -> anyhow::Result<Unmet>,
) -> anyhow::Result<ExitCode> {
    let work = async |lab: &Lab, own: &Path| {
        let mut facts = build(lab, &source.file, own).await?;
        let unmet = show(lab, &source.file).await?;
        if keep && unmet.is_empty() {
            facts.kept = true;
            lab.write_facts(&facts)?;
        }
        Ok(unmet)
    };
    let (end, removed) = with(source, only_real, work, |unmet| keep && unmet.is_empty()).await?;
    let clean = removed.is_none_or(|removed| {
        println!("\nClean up\n   Removed: {}.", removed.what);
        removed.clean
    });
    conclude(end, clean)
}

/// Takes a lab's name, does `work` with it, and takes it down however that ends, unless it `stays`. `work` is told where this
/// program is.
///
/// # Errors
/// As of [`claim`]; those of `work` are in what is returned.
pub(super) async fn with<T>(
    source: &Source,
    only_real: bool,
    work: impl AsyncFnOnce(&Lab, &Path) -> anyhow::Result<T>,
    stays: impl FnOnce(&T) -> bool,
) -> anyhow::Result<(End<T>, Option<Removed>)> {
    // From here on a signal ends this process in order, or not at all.
    let mut signals = Signals::new()?;
    let own = std::env::current_exe().context("finding the program itself")?;
    let (lab, guardian) = claim(source, &own, only_real).await?;
    let end = tokio::select! {
        ended = work(&lab, &own) => ended.map_or_else(End::Failed, End::Done),
        number = signals.next() => End::Told(number),
    };
    let stays = match &end {
        End::Done(done) => stays(done),
        End::Failed(_) | End::Told(_) => false,
    };
    let removed = if stays { None } else { Some(take_down(&lab).await) };
    guardian.dismiss().await;
    Ok((end, removed))
}

/// Takes the name of a lab, once nothing stands in its way; from here on somebody takes it down, however this process ends.
///
/// # Errors
/// Without root, without the programs that it needs, or when it is up.
async fn claim(source: &Source, own: &Path, only_real: bool) -> anyhow::Result<(Lab, Guardian)> {
    let name = source.file.name.get_ref();
    if !nix::unistd::geteuid().is_root() {
        bail!("labs need root: they make network namespaces, and load programs into the kernel");
    }
    let missing = start::missing(&source.file, own, only_real);
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
    if !left.folder().exists() {
        strangers(&source.file)?;
    }
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

fn conclude(end: End<Unmet>, clean: bool) -> anyhow::Result<ExitCode> {
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
    if !there.is_empty() {
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
async fn build(lab: &Lab, file: &File, own: &Path) -> anyhow::Result<Facts> {
    println!("Lab {}: {}", lab.name(), file.summary);
    if !file.diagram.is_empty() {
        println!("\n{}", file.diagram.trim_end());
    }
    make(lab, file, own).await?;
    let mut facts = lab.facts()?;
    println!();
    for host in &file.host {
        let address = host.addresses().next().map(|ip| ip.to_string()).unwrap_or_default();
        let mut runs = Vec::new();
        for run in &host.run {
            start::start(lab, host, run, own).await?;
            if start::stands_in(host, run, own) {
                let absent = run.kind.get_ref().name();
                runs.push(format!("the embedded server, since {absent} is not installed"));
            } else if !run.once {
                runs.push(run.name().to_owned());
            }
        }
        println!("   {:<9} {address:<14} {}", &**host.name.get_ref(), runs.join(", "));
    }
    facts.outside = forward(lab, file, own).await?;
    lab.write_facts(&facts)?;
    for what in &file.missing {
        println!("\n{}", report::wrapped("   ", 3, &format!("Not there yet: {what}")));
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
        let there = url.to_string().replacen(&url.authority, &address, 1);
        outside.push((way.what.clone(), there));
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

/// What became of a lab that was taken down.
pub(super) struct Removed {
    /// For people.
    what: String,
    /// Nothing is left.
    pub(super) clean: bool,
}

async fn take_down(lab: &Lab) -> Removed {
    let outcome = down::down(lab).await;
    for failure in &outcome.failed {
        eprintln!("   {failure}");
    }
    let left = leftovers(lab);
    if !left.is_empty() {
        eprintln!("   Left behind: {}", down::list(&left));
    }
    Removed {
        what: down::list(&outcome.removed),
        clean: outcome.failed.is_empty() && left.is_empty(),
    }
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
