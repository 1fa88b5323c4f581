//! What a lab that is up leaves on the disk, so that any later run of `fulcrum` can see it and take it down.
//!
//! Everything is below one folder per lab: the facts (written before anything is made), a record of each process, logs,
//! configuration, sockets, and a bpffs of its own for pins.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde::{Deserialize, Serialize};

use super::process::Record;

const FOLDER: &str = "/run/fulcrum/lab";

/// A lab's folder.
#[derive(Clone, Debug)]
pub(super) struct Lab {
    name: String,
    folder: PathBuf,
}

/// What a lab consists of.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Facts {
    /// By host or switch.
    pub(super) namespaces: BTreeMap<String, String>,
    /// The `lab up` that made it.
    pub(super) owner: Record,
    /// Meant to outlive its owner.
    pub(super) kept: bool,
    /// What works from outside: what it is, and its address.
    pub(super) outside: Vec<(String, String)>,
}

impl Lab {
    /// Takes the name: from here on the lab counts as up, for everyone, and says of itself what it is made of (`text`) and
    /// by whom.
    pub(super) fn claim(name: &str, facts: &Facts, text: &str) -> anyhow::Result<Self> {
        let lab = Self::at(name)?;
        // Made aside, so that whoever finds a lab finds these in it, too.
        let aside = Self {
            name: lab.name.clone(),
            folder: Path::new(FOLDER).join(format!(".{name}.{}", std::process::id())),
        };
        for folder in [aside.processes(), aside.logs(), aside.pins(), aside.host("")] {
            fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        }
        let claimed = replace(&aside.file(), text.as_bytes())
            .and_then(|()| aside.write_facts(facts))
            .and_then(|()| match fs::rename(&aside.folder, &lab.folder) {
                Ok(()) => Ok(()),
                Err(_) if lab.folder.exists() => bail!("{}", lab.why_not()),
                Err(refused) => Err(refused).with_context(|| format!("making {}", lab.folder.display())),
            });
        if claimed.is_err() {
            // Best effort: the error that matters is the one above.
            let _ = fs::remove_dir_all(&aside.folder);
        }
        claimed.map(|()| lab)
    }

    fn why_not(&self) -> String {
        let Self { name, .. } = self;
        let state = match self.facts() {
            Ok(facts) if facts.kept => format!("lab {name} is up already"),
            Ok(facts) if facts.owner.living().is_some() => {
                format!(
                    "lab {name} is up already: process {} builds or shows it",
                    facts.owner.pid
                )
            }
            Ok(_) | Err(_) => format!("lab {name} was left behind by an earlier run"),
        };
        format!("{state}; `fulcrum lab down {name}` removes it")
    }

    /// Is it there, though nobody is at work with it who could take it down, and it was not meant to stay?
    pub(super) fn is_left_behind(&self) -> bool {
        self.folder.is_dir()
            && !self
                .facts()
                .is_ok_and(|facts| facts.kept || facts.owner.living().is_some())
    }

    /// A lab that is up, or left behind.
    pub(super) fn find(name: &str) -> anyhow::Result<Option<Self>> {
        let lab = Self::at(name)?;
        Ok(lab.folder.is_dir().then_some(lab))
    }

    /// Every lab that is up or left behind, by name.
    pub(super) fn all() -> anyhow::Result<Vec<Self>> {
        let entries = match fs::read_dir(FOLDER) {
            Err(absent) if absent.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.with_context(|| format!("reading {FOLDER}"))?,
        };
        let mut labs = Vec::new();
        for entry in entries {
            // What is no name of a lab is one that is being made.
            if let Ok(name) = entry?.file_name().into_string()
                && let Ok(lab) = Self::at(&name)
            {
                labs.push(lab);
            }
        }
        labs.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(labs)
    }

    /// The place of a lab, whether it is up or not.
    pub(super) fn at(name: &str) -> anyhow::Result<Self> {
        let fine = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if name.is_empty() || !name.chars().all(fine) {
            bail!("{name:?} is not the name of a lab");
        }
        Ok(Self {
            name: name.to_owned(),
            folder: Path::new(FOLDER).join(name),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file that it was made of.
    pub(super) fn file(&self) -> PathBuf {
        self.folder.join("lab.toml")
    }

    /// What hosts have for /etc/hosts.
    pub(super) fn hosts_file(&self) -> PathBuf {
        self.folder.join("etc-hosts")
    }

    /// The folder of a host.
    pub(super) fn host(&self, name: &str) -> PathBuf {
        self.folder.join("hosts").join(name)
    }

    /// A bpffs, once [`Self::mount_pins`] has been called.
    pub(super) fn pins(&self) -> PathBuf {
        self.folder.join("bpf")
    }

    pub(super) fn log(&self, process: &str) -> PathBuf {
        self.logs().join(format!("{process}.log"))
    }

    fn logs(&self) -> PathBuf {
        self.folder.join("log")
    }

    fn processes(&self) -> PathBuf {
        self.folder.join("processes")
    }

    fn facts_file(&self) -> PathBuf {
        self.folder.join("lab.json")
    }

    pub(super) fn facts(&self) -> anyhow::Result<Facts> {
        let file = self.facts_file();
        let text = fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("reading {}", file.display()))
    }

    pub(super) fn write_facts(&self, facts: &Facts) -> anyhow::Result<()> {
        replace(&self.facts_file(), &serde_json::to_vec_pretty(facts)?)
    }

    /// Records a process, instead of an earlier one of the same name.
    pub(super) fn record(&self, process: &Record) -> anyhow::Result<()> {
        replace(
            &self.processes().join(format!("{}.json", process.name)),
            &serde_json::to_vec(process)?,
        )
    }

    /// Processes that were recorded; those that cannot be read are left out, since `down` must go on.
    pub(super) fn recorded(&self) -> Vec<Record> {
        let mut records: Vec<Record> = fs::read_dir(self.processes())
            .into_iter()
            .flatten()
            .filter_map(|entry| serde_json::from_slice(&fs::read(entry.ok()?.path()).ok()?).ok())
            .collect();
        records.sort_by(|a, b| a.name.cmp(&b.name));
        records
    }

    /// The process of this name.
    ///
    /// # Errors
    /// When there never was one.
    pub(super) fn process(&self, name: &str) -> anyhow::Result<Record> {
        let mut records = self.recorded().into_iter();
        records
            .find(|record| record.name == name)
            .with_context(|| format!("{name} was never started"))
    }

    pub(super) fn mount_pins(&self) -> anyhow::Result<()> {
        let pins = self.pins();
        mount(Some("bpf"), &pins, Some("bpf"), MsFlags::empty(), Some("mode=0700"))
            .with_context(|| format!("mounting a bpffs on {}", pins.display()))
    }

    /// Says whether there was something to unmount.
    pub(super) fn unmount_pins(&self) -> anyhow::Result<bool> {
        let pins = self.pins();
        match umount2(&pins, MntFlags::MNT_DETACH) {
            Ok(()) => Ok(true),
            Err(Errno::EINVAL | Errno::ENOENT) => Ok(false),
            Err(refused) => Err(refused).with_context(|| format!("unmounting {}", pins.display())),
        }
    }

    /// Says whether there was something to remove.
    pub(super) fn remove(&self) -> anyhow::Result<bool> {
        match fs::remove_dir_all(&self.folder) {
            Ok(()) => Ok(true),
            Err(absent) if absent.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(refused) => Err(refused).with_context(|| format!("removing {}", self.folder.display())),
        }
    }
}

/// Writes a file so that readers see the old text or the new one, and nothing in between.
pub(super) fn replace(file: &Path, text: &[u8]) -> anyhow::Result<()> {
    let fresh = file.with_extension("new");
    fs::write(&fresh, text)
        .and_then(|()| fs::rename(&fresh, file))
        .with_context(|| format!("writing {}", file.display()))
}
