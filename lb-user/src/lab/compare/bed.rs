//! The lab that ways to balance are measured in: who is where, and how processes on its hosts are started and ended.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::Signal;
use toml::Spanned;

use crate::lab::file::File;
use crate::lab::file::raw::{Machine, Run, Text};
use crate::lab::file::value::Word;
use crate::lab::host::Host;
use crate::lab::process::{self, Process};
use crate::lab::program::Kind;
use crate::lab::state::Lab;
use crate::lab::{down, start};

pub(super) const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 7, 100));
pub(super) const WEB1: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 7, 21));
pub(super) const WEB2: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 7, 22));

/// The client's addresses are this network's from 11 to 18.
pub(super) const CLIENTS: u8 = 8;

/// Of the balancer's host, where the VIP is.
pub(super) const INTERFACE: &str = "eth0";

/// 10 s for a program to do what it was told to.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// What a process is called that balances.
const BALANCER: &str = "balancer";

/// What a process is called that opens tunnels on a server.
const DECAP: &str = "decap";

/// The lab, built.
#[derive(Debug)]
pub(super) struct Bed {
    pub(super) lab: Lab,
    file: File,
    own: PathBuf,
    pub(super) client: Host,
    pub(super) lb: Host,
}

/// A process that balances, to be started.
#[derive(Clone, Debug, Default)]
pub(super) struct Started {
    /// A kind of program that labs know.
    pub(super) kind: &'static str,
    pub(super) config: Option<String>,
    pub(super) args: Vec<String>,
    /// A file in the host's folder.
    pub(super) file: Option<(&'static str, String)>,
    pub(super) ready: Option<String>,
}

/// In the order of turns.
pub(super) fn clients() -> Vec<IpAddr> {
    (0..CLIENTS)
        .map(|number| Ipv4Addr::new(10, 77, 7, 11 + number).into())
        .collect()
}

impl Bed {
    /// Of a lab that has been made.
    pub(super) fn open(lab: Lab, file: File, own: PathBuf) -> anyhow::Result<Self> {
        Ok(Self {
            client: Host::open(&lab, "client")?,
            lb: Host::open(&lab, "lb")?,
            lab,
            file,
            own,
        })
    }

    /// Starts what a server runs.
    pub(super) async fn start_server(&self, name: &str) -> anyhow::Result<()> {
        let machine = self.file.machine(name)?;
        for run in &machine.run {
            start::start(&self.lab, machine, run, &self.own).await?;
        }
        Ok(())
    }

    /// Kills what a server runs.
    pub(super) async fn kill_server(&self, name: &str) -> anyhow::Result<()> {
        let record = self.lab.process(&format!("{name}.nginx"))?;
        let host = Host::open(&self.lab, name)?;
        let processes = process::of(&record, process::inside(&host.namespace)?);
        left(&down::kill(&processes).await)
    }

    /// Where the balancer's files are.
    pub(super) fn folder(&self) -> PathBuf {
        self.lb.folder.clone()
    }

    /// Where Fulcrum's daemon answers.
    pub(super) fn socket(&self) -> PathBuf {
        self.folder().join("fulcrum.sock")
    }

    /// The end of what the balancer has said.
    pub(super) fn log(&self) -> String {
        start::tail(&self.lab.log(&format!("lb.{BALANCER}")))
    }

    /// Writes its configuration.
    pub(super) fn write_balancer(&self, started: &Started) -> anyhow::Result<()> {
        start::write_files(&self.lab, &self.machine(started)?, &self.own)
    }

    /// Writes its configuration, starts it, and waits until it serves.
    pub(super) async fn start_balancer(&self, started: &Started) -> anyhow::Result<()> {
        let machine = self.machine(started)?;
        start::write_files(&self.lab, &machine, &self.own)?;
        for run in &machine.run {
            start::start(&self.lab, &machine, run, &self.own).await?;
        }
        Ok(())
    }

    /// The balancer's first process.
    pub(super) fn balancer(&self) -> anyhow::Result<Process> {
        let record = self.lab.process(&format!("lb.{BALANCER}"))?;
        record.living().context("the balancer has ended by itself")
    }

    /// Everything that runs on the balancer's host.
    pub(super) fn processes(&self) -> anyhow::Result<Vec<Process>> {
        Ok(process::inside(&self.lb.namespace)?)
    }

    /// Tells the first process to end, as a service manager does, and then what is left of it.
    pub(super) async fn end_balancer(&self) -> anyhow::Result<()> {
        let process = self.balancer()?;
        process.signal(Signal::SIGTERM);
        process.wait(PATIENCE).await;
        self.end_all().await
    }

    pub(super) async fn end_all(&self) -> anyhow::Result<()> {
        left(&down::end(&self.processes()?).await)
    }

    /// Has servers take packets out of tunnels.
    pub(super) async fn open_tunnels(&self) -> anyhow::Result<()> {
        for name in ["web1", "web2"] {
            let host = Host::open(&self.lab, name)?;
            let args = ["decap", "-i", INTERFACE];
            let name = format!("{name}.{DECAP}");
            process::start(&self.lab, &name, Some(&host), &self.own, &args)?;
        }
        Ok(())
    }

    pub(super) async fn close_tunnels(&self) -> anyhow::Result<()> {
        let mut opened = Vec::new();
        for name in ["web1", "web2"] {
            opened.extend(self.lab.process(&format!("{name}.{DECAP}"))?.living());
        }
        left(&down::end(&opened).await)
    }

    /// Runs a command on the balancer's host to its end; `fulcrum` is this very program, whatever its file is called.
    pub(super) async fn command(&self, words: &[&str]) -> anyhow::Result<()> {
        let [program, args @ ..] = words else { return Ok(()) };
        let mut command = match *program {
            "fulcrum" => Command::new(&self.own),
            other => Command::new(other),
        };
        command.args(args).stdin(Stdio::null()).current_dir("/");
        self.lb.confine(&mut command)?;
        let output = tokio::process::Command::from(command)
            .kill_on_drop(true)
            .output()
            .await
            .with_context(|| format!("running {program}"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("{}: {} ({})", words.join(" "), said.trim(), output.status);
        }
        Ok(())
    }

    /// The balancer's host, as it would stand in a lab file.
    fn machine(&self, started: &Started) -> anyhow::Result<Machine> {
        let name = Word::try_from(BALANCER.to_owned()).map_err(anyhow::Error::msg)?;
        let run = Run {
            kind: nowhere(Kind::try_from(started.kind.to_owned()).map_err(anyhow::Error::msg)?),
            name: Some(nowhere(name)),
            config: started.config.clone().map(nowhere),
            listen: Vec::new(),
            args: started.args.clone(),
            package: None,
            ready: started.ready.clone().map(nowhere),
            within: None,
            once: false,
            or_serve: false,
        };
        let files = started.file.iter().map(|(path, text)| Text {
            path: nowhere((*path).to_owned()),
            text: Some(text.clone()),
            asset: None,
            executable: false,
        });
        Ok(Machine {
            file: files.collect(),
            run: vec![run],
            ..self.file.machine("lb")?.clone()
        })
    }
}

/// It stands in no file.
fn nowhere<T>(value: T) -> Spanned<T> {
    Spanned::new(0..0, value)
}

fn left(processes: &[i32]) -> anyhow::Result<()> {
    match processes.first() {
        None => Ok(()),
        Some(pid) => bail!("process {pid} does not end"),
    }
}
