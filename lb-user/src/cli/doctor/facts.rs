//! What is seen of the node and its backends. Nothing is changed.

use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use nix::libc;
use nix::sys::utsname::uname;

use super::listener::{self, Listener};
use super::paths::{self, Asked};
use crate::api::Client;
use crate::api::types::Status;
use crate::daemon;
use crate::model::{Config, chain};
use crate::net::{Link, Net, wire};

/// See the module.
pub(super) struct Facts {
    /// As `uname -r` says.
    pub(super) release: String,
    /// Why this process may not do what the daemon has to; `None` when it may.
    pub(super) privileges: Option<String>,
    /// Does somebody keep the clock? `None` where the kernel does not say.
    pub(super) synchronized: Option<bool>,
    /// Those of the file, in its order; `None` for one that is not there.
    pub(super) interfaces: Vec<(String, Option<Seen>)>,
    /// Of these interfaces.
    pub(super) addresses: Vec<IpAddr>,
    pub(super) listeners: Vec<Listener>,
    /// Seconds since 1970.
    pub(super) now: u64,
    /// What the daemon says, or why it says nothing.
    pub(super) daemon: Result<Status, String>,
    /// What backends answer.
    pub(super) asked: Vec<Asked>,
    /// How many of them there was no time for.
    pub(super) late: usize,
}

/// An interface.
pub(super) struct Seen {
    pub(super) link: Link,
    /// It merges packets before XDP could see them.
    pub(super) lro: bool,
    /// `rp_filter`, the stricter one of its own and that of all.
    pub(super) rp_filter: Option<u8>,
}

impl Facts {
    #[expect(clippy::disallowed_methods, reason = "certificates end by it")]
    pub(super) async fn gather(config: &Config) -> Result<Self> {
        let net = Net::here().context("cannot open a netlink socket")?;
        let links = net.links().await?;
        let seen = |name: &String| {
            let link = links.iter().find(|link| link.name == *name)?.clone();
            let lro = wire::merges(net.namespace(), name).unwrap_or(false);
            let rp_filter = rp_filter(name).max(rp_filter("all"));
            Some(Seen { link, lro, rp_filter })
        };
        let interfaces = config.node.interfaces.iter();
        let interfaces = interfaces.map(|name| (name.clone(), seen(name))).collect();
        let has = |index: u32| {
            links
                .iter()
                .any(|link| link.index == index && config.node.interfaces.contains(&link.name))
        };
        let addresses = net.addresses().await?.into_iter();
        let addresses = addresses
            .filter(|address| has(address.interface))
            .map(|address| address.ip);
        let (asked, late) = paths::ask(config, &net).await;
        let release = uname().context("cannot tell the kernel's version")?;
        Ok(Self {
            release: release.release().to_string_lossy().into_owned(),
            privileges: daemon::missing_privileges(),
            synchronized: synchronized(),
            interfaces,
            addresses: addresses.collect(),
            listeners: listener::all(),
            now: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |past| past.as_secs()),
            daemon: Client::new(&config.admin.socket)
                .status()
                .await
                .map_err(|error| chain(&error)),
            asked,
            late,
        })
    }
}

fn rp_filter(interface: &str) -> Option<u8> {
    let path = format!("/proc/sys/net/ipv4/conf/{interface}/rp_filter");
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// adjtimex(2), which changes nothing where no mode is set.
fn synchronized() -> Option<bool> {
    // SAFETY: it is of numbers alone, so all zeros are one.
    let mut request: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes into it and keeps nothing of it; without a mode it changes nothing.
    let state = unsafe { libc::adjtimex(&raw mut request) };
    (state >= 0).then_some(state != libc::TIME_ERROR)
}
