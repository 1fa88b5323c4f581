//! The overrides on the disk: `overrides.json` in `state-dir`.
//!
//! The file is replaced as a whole, so it always holds one revision. One that cannot be understood is set aside as
//! `overrides.json.broken` and said to be: a daemon that starts is worth more than what commands once said.

use std::fs::File;
use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::whole;
use crate::control::{Override, Overrides, Revision, Saved};
use crate::model::{AdminState, MemberKey};

/// After a failure to write, unless something newer comes first.
const RETRY: Duration = Duration::from_secs(10);

/// Largest file that is read, in bytes: room for 65,536 backends with the longest names.
const MAX_BYTES: u64 = 32 << 20;

/// What the file's `version` says.
const VERSION: u32 = 1;

/// Where overrides are kept.
#[derive(Clone, Debug)]
pub(super) struct Store {
    path: PathBuf,
}

impl Store {
    /// In `state_dir`.
    pub(super) fn new(state_dir: &Path) -> Self {
        Self {
            path: state_dir.join("overrides.json"),
        }
    }

    /// What is kept; and what is wrong with it, for people. Then it has been set aside, and nothing is overridden.
    pub(super) fn load(&self) -> (Overrides, Option<String>) {
        let error = match self.read() {
            Ok(overrides) => return (overrides, None),
            Err(error) => error,
        };
        let aside = self.path.with_extension("json.broken");
        let (path, aside_path) = (self.path.display(), aside.display());
        let aside = match std::fs::rename(&self.path, &aside) {
            Ok(()) => format!("it is now {aside_path}"),
            Err(error) => format!("and it cannot be renamed to {aside_path}: {error}"),
        };
        let fault = format!("what commands have set is forgotten: {path} cannot be used ({error:#}); {aside}");
        tracing::error!(reason = fault, "what commands have set is forgotten");
        (Overrides::default(), Some(fault))
    }

    /// Writes whatever comes, the newest first, and says what has become of it. After a failure it tries again.
    pub(super) async fn run(self, mut revisions: watch::Receiver<Revision>, saved: watch::Sender<Saved>) {
        let mut failed = false;
        loop {
            let changed = tokio::time::timeout(RETRY, revisions.changed());
            match changed.await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return,
                Err(_) if failed => {}
                Err(_) => continue,
            }
            let Revision { number, overrides } = revisions.borrow_and_update().clone();
            let store = self.clone();
            let written = tokio::task::spawn_blocking(move || store.write(&overrides)).await;
            let fault = match written {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(format!("{error:#}")),
                Err(error) => Some(error.to_string()),
            };
            let fault = fault.map(|error| format!("what commands have set would be forgotten by a restart: {error}"));
            if let Some(fault) = fault.as_ref().filter(|_| !failed) {
                tracing::error!(reason = fault, "what commands have set cannot be kept; trying again");
            }
            failed = fault.is_some();
            saved.send_replace(Saved { number, fault });
        }
    }

    fn read(&self) -> Result<Overrides> {
        let mut text = Vec::new();
        match File::open(&self.path) {
            Ok(file) => file.take(MAX_BYTES + 1).read_to_end(&mut text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Overrides::default()),
            Err(error) => return Err(error.into()),
        };
        if text.len() as u64 > MAX_BYTES {
            bail!("it is larger than {} MiB", MAX_BYTES >> 20);
        }
        parse(&text)
    }

    fn write(&self, overrides: &Overrides) -> Result<()> {
        let text = format(overrides)?;
        whole::write(&self.path, &text).with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// The file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    version: u32,
    /// The node drains.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    draining: bool,
    overrides: Vec<Entry>,
}

/// One backend.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    service: String,
    backend: SocketAddr,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    weight: Option<u16>,
}

fn parse(text: &[u8]) -> Result<Overrides> {
    let kept: Kept = serde_json::from_slice(text)?;
    if kept.version != VERSION {
        bail!("its version is {}, not {VERSION}", kept.version);
    }
    let entry = |entry: Entry| {
        let member = MemberKey {
            service: entry.service.into(),
            backend: entry.backend,
        };
        let named = |name: String| {
            let state = AdminState::ALL.into_iter().find(|state| state.label() == name);
            state.with_context(|| format!("{name:?} is not a state"))
        };
        let state = entry.state.map(named).transpose()?;
        let weight = entry.weight;
        Ok((member, Override { state, weight }))
    };
    let mut overrides = kept.overrides.into_iter().map(entry).collect::<Result<Overrides>>()?;
    overrides.draining = kept.draining;
    Ok(overrides)
}

fn format(overrides: &Overrides) -> Result<Vec<u8>> {
    let entry = |(member, said): (&MemberKey, &Override)| Entry {
        service: member.service.as_ref().to_owned(),
        backend: member.backend,
        state: said.state.map(|state| state.label().to_owned()),
        weight: said.weight,
    };
    let mut text = serde_json::to_vec_pretty(&Kept {
        version: VERSION,
        draining: overrides.draining,
        overrides: overrides.iter().map(entry).collect(),
    })?;
    text.push(b'\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn some() -> Overrides {
        let member = |service: &str, backend: &str| MemberKey {
            service: service.into(),
            backend: backend.parse().unwrap(),
        };
        let said = |state, weight| Override { state, weight };
        [
            (member("web", "10.0.0.6:80"), said(Some(AdminState::Drain), None)),
            (
                member("web", "[2001:db8::6]:80"),
                said(Some(AdminState::Active), Some(65535)),
            ),
        ]
        .into_iter()
        .collect()
    }

    const SOME: &str = r#"{
  "version": 1,
  "overrides": [
    {
      "service": "web",
      "backend": "10.0.0.6:80",
      "state": "drain"
    },
    {
      "service": "web",
      "backend": "[2001:db8::6]:80",
      "state": "active",
      "weight": 65535
    }
  ]
}
"#;

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(&folder.path().join("state"));
        assert_eq!(store.load(), (Overrides::default(), None), "no file is no fault");
        store.write(&some()).unwrap();
        assert_eq!(fs::read_to_string(&store.path).unwrap(), SOME);
        assert_eq!(store.load(), (some(), None));
        let mut drains = some();
        drains.draining = true;
        store.write(&drains).unwrap();
        assert_eq!(store.load(), (drains, None));
        store.write(&Overrides::default()).unwrap();
        assert_eq!(store.load(), (Overrides::default(), None));
    }

    #[test]
    fn a_broken_file_is_set_aside() {
        let cases = [
            ("", "EOF"),
            ("{\"version\": 1", "EOF"),
            ("[]", "invalid length"),
            (&SOME.replace("drain", "drian"), "\"drian\" is not a state"),
            (&SOME.replace("65535", "65536"), "65536"),
            (&SOME.replace("10.0.0.6:80", "web1"), "invalid socket address"),
            (&SOME.replace("weight", "wieght"), "unknown field `wieght`"),
            (
                &SOME.replace("\"version\": 1", "\"version\": 2"),
                "its version is 2, not 1",
            ),
        ];
        for (text, why) in cases {
            let folder = tempfile::tempdir().unwrap();
            let store = Store::new(folder.path());
            fs::write(&store.path, text).unwrap();
            let (overrides, fault) = store.load();
            assert_eq!(overrides, Overrides::default());
            let fault = fault.unwrap();
            assert!(fault.contains(why) && fault.contains("it is now"), "{fault}");
            let aside = folder.path().join("overrides.json.broken");
            assert_eq!(fs::read_to_string(aside).unwrap(), text);
            assert_eq!(store.load(), (Overrides::default(), None), "said once");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_written_is_said_and_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        // A folder in its place: not even root can write over that.
        fs::create_dir(&store.path).unwrap();
        let (revision, revisions) = watch::channel(Revision::default());
        let (saved, mut savings) = watch::channel(Saved::default());
        let running = tokio::spawn(store.clone().run(revisions, saved));
        revision.send_replace(Revision {
            number: 1,
            overrides: some(),
        });
        savings.changed().await.unwrap();
        let Saved { number, fault } = savings.borrow_and_update().clone();
        assert!(
            number == 1 && fault.clone().unwrap().contains("forgotten by a restart: cannot write"),
            "{fault:?}"
        );
        fs::remove_dir(&store.path).unwrap();
        let well = Saved { number: 1, fault: None };
        savings.wait_for(|saved| *saved == well).await.unwrap();
        assert_eq!(store.load(), (some(), None));
        drop(revision);
        running.await.unwrap();
    }
}
