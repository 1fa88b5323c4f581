//! The addresses of backends that the file names by host: asked for at the start, with a file that names new ones, and
//! every [`PERIOD`]. What was known once is kept, also over a restart, for as long as nobody says otherwise: a name server
//! that does not answer takes no backend away.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use crate::config::hosts::Hosts;
use crate::disk;
use crate::net::hosts::look_up;

/// From one question about a host to the next.
pub(super) const PERIOD: Duration = Duration::from_secs(30);

/// What the file's `version` says.
const VERSION: u32 = 1;

/// What is known of hosts.
#[derive(Clone, Debug)]
pub(super) struct Known {
    hosts: Hosts,
    path: PathBuf,
}

impl Known {
    /// What an earlier run knew, from `hosts.json` in `state_dir`. Without it everything is asked for, so one that cannot
    /// be used is no more than a warning.
    pub(super) fn load(state_dir: &Path) -> Self {
        let path = state_dir.join("hosts.json");
        let hosts = read(&path).unwrap_or_else(|error| {
            tracing::warn!(path = %path.display(), error = format!("{error:#}"), "addresses of hosts are not remembered");
            Hosts::new()
        });
        Self { hosts, path }
    }

    /// All of it.
    pub(super) fn hosts(&self) -> &Hosts {
        &self.hosts
    }

    /// Asks for those of `names` of which nothing is known in this run; returns within 3 s for each 64 of them.
    pub(super) async fn learn(&mut self, names: &BTreeSet<Arc<str>>) {
        let unknown = names
            .iter()
            .filter(|name| !self.hosts.get(*name).is_some_and(Result::is_ok));
        let found = look_up(unknown.cloned().collect()).await;
        self.take(found);
    }

    /// Asks for all of `names`, whatever is known.
    pub(super) async fn refresh(&mut self, names: &BTreeSet<Arc<str>>) {
        let found = look_up(names.clone()).await;
        self.take(found);
    }

    /// These answers have come. True when that is news.
    pub(super) fn take(&mut self, found: Hosts) -> bool {
        let mut news = false;
        for (name, answer) in found {
            let known = self.hosts.get(&name);
            match (&answer, known) {
                (Err(error), Some(Ok(_))) => {
                    tracing::warn!(host = %name, error, "the host cannot be looked up; its backends stay where they are");
                }
                (answer, known) if known == Some(answer) => {}
                _ => {
                    news = true;
                    self.hosts.insert(name, answer);
                }
            }
        }
        news
    }

    /// Keeps what is known of `names` for the next run, and forgets the others.
    pub(super) fn keep(&mut self, names: &BTreeSet<Arc<str>>) {
        self.hosts.retain(|name, _| names.contains(name));
        let known = self.hosts.iter().filter_map(|(name, known)| {
            let known = known.as_ref().ok()?;
            Some((name.to_string(), known.clone()))
        });
        let kept = Kept {
            version: VERSION,
            hosts: known.collect(),
        };
        if kept.hosts.is_empty() && !self.path.exists() {
            return;
        }
        let written = serde_json::to_vec_pretty(&kept)
            .map_err(io::Error::from)
            .and_then(|text| disk::write(&self.path, &text));
        if let Err(error) = written {
            let path = self.path.display();
            tracing::warn!(%path, %error, "addresses of hosts are not kept for a restart");
        }
    }
}

/// Asks for the addresses of `names` every [`PERIOD`], until nobody wants to know them.
pub(super) async fn run(names: watch::Receiver<BTreeSet<Arc<str>>>, found: mpsc::Sender<Hosts>) {
    run_by(names, found, look_up).await;
}

async fn run_by<F>(
    names: watch::Receiver<BTreeSet<Arc<str>>>,
    found: mpsc::Sender<Hosts>,
    look_up: impl Fn(BTreeSet<Arc<str>>) -> F,
) where
    F: Future<Output = Hosts>,
{
    while !found.is_closed() {
        sleep(PERIOD).await;
        let wanted = names.borrow().clone();
        if !wanted.is_empty() && found.send(look_up(wanted).await).await.is_err() {
            return;
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    version: u32,
    hosts: BTreeMap<String, BTreeSet<IpAddr>>,
}

fn read(path: &Path) -> Result<Hosts> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Hosts::new()),
        Err(error) => return Err(error).context("cannot be read"),
    };
    let kept: Kept = serde_json::from_slice(&text)?;
    if kept.version != VERSION {
        bail!("its version is {}, not {VERSION}", kept.version);
    }
    let hosts = kept
        .hosts
        .into_iter()
        .map(|(name, addresses)| (name.into(), Ok(addresses)));
    Ok(hosts.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> BTreeSet<Arc<str>> {
        names.iter().map(|name| Arc::from(*name)).collect()
    }

    fn ips(ips: &[&str]) -> BTreeSet<IpAddr> {
        ips.iter().map(|ip| ip.parse().unwrap()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn all_are_asked_for_again_and_again() {
        let (wanted, wanted_changes) = watch::channel(names(&[]));
        let (found, mut answers) = mpsc::channel(1);
        let began = tokio::time::Instant::now();
        let look_up = |names: BTreeSet<Arc<str>>| async {
            names.into_iter().map(|name| (name, Ok(ips(&["10.0.0.6"])))).collect()
        };
        tokio::spawn(run_by(wanted_changes, found, look_up));
        sleep(PERIOD * 3 / 2).await;
        wanted.send_replace(names(&["web1", "web2"]));
        for round in 2..5 {
            let answer = answers.recv().await.unwrap();
            assert_eq!(began.elapsed(), PERIOD * round);
            assert_eq!(answer.into_keys().collect::<BTreeSet<_>>(), names(&["web1", "web2"]));
        }
    }

    #[test]
    fn what_was_known_stays_known() {
        let folder = tempfile::tempdir().unwrap();
        let mut known = Known::load(folder.path());
        let web1 =
            |answer: Result<&[&str], &str>| Hosts::from([("web1".into(), answer.map(ips).map_err(str::to_owned))]);
        assert!(known.take(web1(Err("no answer"))));
        assert!(known.take(web1(Ok(&["10.0.0.6"]))));
        assert!(!known.take(web1(Ok(&["10.0.0.6"]))));
        assert!(!known.take(web1(Err("no answer"))));
        assert_eq!(*known.hosts(), web1(Ok(&["10.0.0.6"])));

        known.take(Hosts::from([
            ("web2".into(), Err("no answer".to_owned())),
            ("old".into(), Ok(ips(&["10.0.0.9"]))),
        ]));
        known.keep(&names(&["web1", "web2"]));
        assert_eq!(*Known::load(folder.path()).hosts(), web1(Ok(&["10.0.0.6"])));
        assert_eq!(known.hosts().len(), 2);
        known.keep(&names(&[]));
        assert!(Known::load(folder.path()).hosts().is_empty());
    }

    #[test]
    fn a_file_that_cannot_be_used_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        for text in [
            "",
            "[]",
            "{\"version\": 2, \"hosts\": {}}",
            "{\"version\": 1, \"hosts\": {\"a\": [\"b\"]}}",
        ] {
            std::fs::write(folder.path().join("hosts.json"), text).unwrap();
            assert!(Known::load(folder.path()).hosts().is_empty(), "{text}");
        }
    }
}
