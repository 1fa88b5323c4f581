//! Starts what a host runs, and waits until it serves.

use std::fs;
use std::io::Read as _;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::process::Child;
use tokio::time::sleep;

use super::file::File;
use super::file::raw::{Machine, Run};
use super::host::Host;
use super::process;
use super::program::{self, Recipe};
use super::state::Lab;

/// 30 s for a program to serve, on a busy machine, when the lab file says nothing else.
const PATIENCE: Duration = Duration::from_secs(30);

/// 20 ms between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Names of packages that the lab needs and this machine lacks; with `only_real` also of those that the embedded server
/// could do without.
pub(super) fn missing(file: &File, own: &Path, only_real: bool) -> Vec<String> {
    let needs = file.needs.iter();
    let absent = needs.filter(|(program, _)| program::installed(program).is_none());
    let mut missing: Vec<String> = absent.map(|(_, package)| package.clone()).collect();
    for host in &file.host {
        for run in &host.run {
            match recipe(host, run, own) {
                Err(package) => missing.push(package),
                Ok(recipe) if recipe.stands_in && only_real => missing.push(run.kind.get_ref().package(run)),
                Ok(_) => {}
            }
        }
        if host.interface.iter().any(|interface| interface.loss.is_some()) && program::installed("nft").is_none() {
            missing.push("nftables".to_owned());
        }
    }
    missing.sort();
    missing.dedup();
    missing
}

fn recipe(host: &Machine, run: &Run, own: &Path) -> Result<Recipe, String> {
    run.kind.get_ref().recipe(run, host.name.get_ref(), own)
}

/// Does the embedded server run in the place of a program that is not installed?
pub(super) fn stands_in(host: &Machine, run: &Run, own: &Path) -> bool {
    recipe(host, run, own).is_ok_and(|recipe| recipe.stands_in)
}

/// Writes a host's files, and the configuration of what it runs.
pub(super) fn write_files(lab: &Lab, host: &Machine, own: &Path) -> anyhow::Result<()> {
    let folder = lab.host(host.name.get_ref());
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    for file in &host.file {
        let place = folder.join(file.path.get_ref());
        let text = match &file.asset {
            Some(asset) => asset.text().to_owned(),
            None => fill(lab, host, None, file.text.as_deref().unwrap_or_default()),
        };
        let write = || {
            fs::create_dir_all(place.parent().unwrap_or(&folder))?;
            fs::write(&place, text)?;
            let mode = if file.executable { 0o755 } else { 0o644 };
            fs::set_permissions(&place, fs::Permissions::from_mode(mode))
        };
        write().with_context(|| format!("writing {}", place.display()))?;
    }
    for run in &host.run {
        let Ok(Recipe {
            config: Some((name, text)),
            ..
        }) = recipe(host, run, own)
        else {
            continue;
        };
        let text = match run.kind.get_ref().is_fulcrum() {
            true => configuration(lab, host, &text),
            false => fill(lab, host, Some(run), &text),
        };
        let place = folder.join(name);
        fs::write(&place, text).with_context(|| format!("writing {}", place.display()))?;
    }
    Ok(())
}

/// The configuration of a node: where a lab file has no `[node]`, the lab's own stands before it.
pub(super) fn configuration(lab: &Lab, host: &Machine, text: &str) -> String {
    let text = fill(lab, host, None, text);
    match text.lines().any(|line| line.trim() == "[node]") {
        true => text,
        false => node(lab, host) + &text,
    }
}

/// What a node of a lab has to say of itself.
fn node(lab: &Lab, host: &Machine) -> String {
    let interfaces = host.interface.iter().filter(|interface| interface.xdp);
    let interfaces: Vec<String> = interfaces
        .map(|interface| format!("\"{}\"", &**interface.name.get_ref()))
        .collect();
    let text = format!(
        "[node]\nname = \"{}\"\ninterfaces = [{}]\nxdp-mode = \"native\"\nstate-dir = \"{{folder}}/state\"\n\
         pin-dir = \"{{pins}}\"\n\n[admin]\nsocket = \"{{folder}}/fulcrum.sock\"\nlisten = \"0.0.0.0:9465\"\n\n",
        &**host.name.get_ref(),
        interfaces.join(", ")
    );
    fill(lab, host, None, &text)
}

/// Puts what is meant in the place of `{host}`, the host's name; `{address}` and `{address6}`, its first ones; `{folder}`, its
/// folder; `{run}`, the process's; `{lab}`, the lab's; `{pins}`, a folder of the host on a bpffs; and what the host sets.
fn fill(lab: &Lab, host: &Machine, run: Option<&Run>, text: &str) -> String {
    let name = &**host.name.get_ref();
    let folder = lab.host(name);
    let mut text = addressed(host, text)
        .replace("{folder}", &folder.display().to_string())
        .replace("{lab}", &lab.folder().display().to_string())
        .replace("{pins}", &lab.pins().join(name).display().to_string());
    if let Some(run) = run {
        text = text.replace("{run}", &folder.join(run.name()).display().to_string());
    }
    text
}

/// Names that stand for something in the texts of any host.
pub(super) const MEANT: [&str; 7] = ["host", "address", "address6", "folder", "run", "lab", "pins"];

/// Puts a host's name and addresses in their place, and what is its own.
pub(super) fn addressed(host: &Machine, text: &str) -> String {
    let mut text = text.to_owned();
    for (name, value) in &host.set {
        text = text.replace(&format!("{{{name}}}"), value);
    }
    text = text.replace("{host}", host.name.get_ref());
    for (name, address) in [("{address}", host.address()), ("{address6}", host.address6())] {
        if let Some(address) = address {
            text = text.replace(name, &address.to_string());
        }
    }
    text
}

/// What a process of a lab is called in records and logs.
pub(super) fn full_name(host: &Machine, run: &Run) -> String {
    format!("{}.{}", &**host.name.get_ref(), run.name())
}

/// Starts a process of a host, and waits until it serves; one that is run once, until it has ended.
///
/// # Errors
/// With the end of its log.
pub(super) async fn start(lab: &Lab, host: &Machine, run: &Run, own: &Path) -> anyhow::Result<()> {
    let name = full_name(host, run);
    let recipe = match recipe(host, run, own) {
        Ok(recipe) => recipe,
        Err(package) => bail!("{name} is not installed: apt-get install {package}"),
    };
    launch(lab, host, run, recipe, &name).await.map_err(|error| {
        let log = tail(&lab.log(&name));
        if log.is_empty() {
            error
        } else {
            error.context(format!("{name}: its log ends with:\n{log}"))
        }
    })
}

async fn launch(lab: &Lab, host: &Machine, run: &Run, recipe: Recipe, name: &str) -> anyhow::Result<()> {
    let inside = Host::open(lab, host.name.get_ref())?;
    let folder = inside.folder.join(run.name());
    for folder in std::iter::once(folder.clone()).chain(recipe.folders.iter().map(|sub| folder.join(sub))) {
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    }
    // Those of a process that was killed: a machine that was switched off would have forgotten them.
    for entry in fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
        let file = entry?.path();
        if file.to_string_lossy().ends_with("pid") {
            fs::remove_file(&file).with_context(|| format!("removing {}", file.display()))?;
        }
    }
    for blank in recipe.blank {
        let place = inside.folder.join(blank);
        if !place.exists() {
            fs::write(&place, "").with_context(|| format!("writing {}", place.display()))?;
        }
    }
    let fill = |text: &String| fill(lab, host, Some(run), text);
    if let Some((made, command)) = &recipe.prepare
        && !folder.join(made).exists()
    {
        let command: Vec<String> = command.iter().map(fill).collect();
        let executable = command
            .first()
            .and_then(|program| program::installed(program))
            .context("nothing to prepare with")?;
        let child = process::start(lab, name, Some(&inside), &executable, &command[1..])?;
        ended_well(child, &command[0]).await?;
    }
    let args: Vec<String> = recipe.args.iter().map(fill).collect();
    let mut child = process::start(lab, name, Some(&inside), &recipe.executable, &args)?;
    if run.once {
        return ended_well(child, name).await;
    }
    let patience = run.within.map_or(PATIENCE, |within| within.0);
    let ready = recipe.ready.as_ref().map(fill);
    let deadline = Instant::now() + patience;
    while let Some(place) = &ready {
        if serves(&inside, place)? {
            return Ok(());
        }
        if let Some(status) = child.try_wait()? {
            bail!("{name} has ended: {status}");
        }
        if Instant::now() >= deadline {
            bail!("{name} does not serve {place} within {patience:?}");
        }
        sleep(PAUSE).await;
    }
    Ok(())
}

async fn ended_well(mut child: Child, name: &str) -> anyhow::Result<()> {
    let status = child.wait().await?;
    if !status.success() {
        bail!("{name} has failed: {status}");
    }
    Ok(())
}

/// Is a connection accepted there?
fn serves(host: &Host, place: &str) -> anyhow::Result<bool> {
    Ok(match place.parse::<SocketAddr>() {
        Ok(address) => host
            .namespace
            .run_inside(|| TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok())?,
        Err(_) => UnixStream::connect(place).is_ok(),
    })
}

/// The last lines of a log, indented.
pub(super) fn tail(log: &Path) -> String {
    let mut text = Vec::new();
    // What cannot be read has nothing to say.
    let _ = fs::File::open(log).and_then(|mut file| file.read_to_end(&mut text));
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(10);
    lines[from..].iter().map(|line| format!("   | {line}\n")).collect()
}

/// A command line on a host, for `sh -c`.
pub(super) fn shell(host: &Host, line: &str) -> anyhow::Result<Command> {
    let mut command = Command::new("sh");
    command
        .args(["-c", line])
        .current_dir(&host.folder)
        .stdin(Stdio::null());
    host.confine(&mut command)?;
    Ok(command)
}
