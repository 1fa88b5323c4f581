//! `fulcrum decap`.

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use super::args::Decap as Args;
use super::interrupt::Interrupt;
use crate::daemon;
use crate::dataplane::kernel::Decap;
use crate::model::count;
use crate::net::Net;

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
    let mut interrupt = Interrupt::new()?;
    let mut decap = Decap::load(&args.from)?;
    for interface in &args.interfaces {
        let attached = decap.attach(interface, args.mode.into())?;
        if let Some(reason) = attached.fallback {
            eprintln!("warning: {interface} has no native XDP ({reason}); generic mode is slower");
        }
        super::print(&format!("{interface}: opening tunnels ({})\n", attached.mode.label()))?;
    }
    interrupt.comes().await;
    let packets = count(decap.count()?, "packet");
    drop(decap);
    super::print(&format!(
        "{}: taken off, {packets} decapsulated\n",
        args.interfaces.join(", ")
    ))?;
    Ok(ExitCode::SUCCESS)
}
