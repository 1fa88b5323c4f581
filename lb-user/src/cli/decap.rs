//! `fulcrum decap`.

use std::net::IpAddr;
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::{Context as _, Result, bail};
use tokio::signal::unix::{SignalKind, signal};

use super::args::Decap as Args;
use crate::daemon;
use crate::dataplane::kernel::Decap;
use crate::net::Net;

/// Addresses that begin alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prefix {
    ip: IpAddr,
    length: u8,
}

impl FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let form = || "write a prefix, as in 172.16.0.0/16, 10.0.0.7/32 or 100::/96".to_owned();
        let (ip, length) = text.split_once('/').ok_or_else(form)?;
        let ip: IpAddr = ip.parse().map_err(|_| form())?;
        let length = length.parse().map_err(|_| form())?;
        let most = if ip.is_ipv4() { 32 } else { 128 };
        if length > most {
            return Err(format!("the length of such a prefix is {most} at most"));
        }
        Ok(Self { ip, length })
    }
}

/// Opens tunnels until it is told to end.
pub(super) async fn run(args: &Args) -> Result<ExitCode> {
    if let Some(missing) = daemon::missing_privileges() {
        bail!("{missing}");
    }
    let net = Net::here().context("cannot open a netlink socket")?;
    for (at, interface) in args.interfaces.iter().enumerate() {
        if net.link(interface).await?.is_none() {
            bail!("there is no interface `{interface}`; `ip link` shows those that there are");
        }
        if args.interfaces[..at].contains(interface) {
            bail!("`{interface}` is given twice");
        }
    }
    // Before anything is attached: a signal from now on takes it off in good order.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let from: Vec<_> = args.from.iter().map(|prefix| (prefix.ip, prefix.length)).collect();
    let mut decap = Decap::load(&from)?;
    for interface in &args.interfaces {
        let attached = decap.attach(interface, args.mode.into())?;
        if let Some(reason) = attached.fallback {
            eprintln!("warning: {interface} has no native XDP ({reason}); generic mode is slower");
        }
        super::print(&format!("{interface}: opening tunnels ({})\n", attached.mode.label()))?;
    }
    tokio::select! {
        _ = terminate.recv() => (),
        _ = interrupt.recv() => (),
    }
    let count = decap.count()?;
    drop(decap);
    let packets = if count == 1 { "packet" } else { "packets" };
    super::print(&format!(
        "{}: taken off, {count} {packets} decapsulated\n",
        args.interfaces.join(", ")
    ))?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_read_and_refused() {
        let prefix = "100::/96".parse();
        let expected = Prefix {
            ip: "100::".parse().unwrap(),
            length: 96,
        };
        assert_eq!(prefix, Ok(expected));
        for (text, reason) in [
            ("10.0.0.7", "write a prefix"),
            ("ten/8", "write a prefix"),
            ("10.0.0.0/x", "write a prefix"),
            ("10.0.0.0/33", "32 at most"),
            ("100::/129", "128 at most"),
        ] {
            let refused = Prefix::from_str(text).unwrap_err();
            assert!(refused.contains(reason), "{text}: {refused}");
        }
    }
}
