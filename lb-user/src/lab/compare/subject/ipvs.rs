//! IPVS: the kernel's own balancer, with direct routing, which is what `dsr` is.

use std::path::Path;

use super::{SERVERS, Setup};
use crate::lab::compare::bed::{Bed, VIP};

pub(super) fn missing() -> Option<String> {
    (!Path::new("/proc/net/ip_vs").exists()).then(|| {
        "this kernel has no IPVS, or not yet: modprobe ip_vs; where there is no such module, `cargo xtask vm` has kernels \
         with it"
            .to_owned()
    })
}

/// Commands for both ports.
fn commands(setup: Setup, add: bool) -> Vec<String> {
    let mut commands = Vec::new();
    let (service, server) = if add { ("-A", "-a") } else { ("-E", "-e") };
    for port in [80, 443] {
        commands.push(format!("{service} -t {VIP}:{port} -s wrr"));
        for ((name, ip), weight) in SERVERS.iter().zip(setup.weights) {
            let weight = if setup.drained && *name == "web2" { 0 } else { weight };
            commands.push(format!("{server} -t {VIP}:{port} -r {ip}:{port} -g -w {weight}"));
        }
    }
    commands
}

async fn all(bed: &Bed, commands: Vec<String>) -> anyhow::Result<()> {
    for command in commands {
        let words: Vec<&str> = std::iter::once("ipvsadm").chain(command.split(' ')).collect();
        bed.command(&words).await?;
    }
    Ok(())
}

pub(super) async fn start(bed: &Bed, setup: Setup) -> anyhow::Result<()> {
    all(bed, commands(setup, true)).await
}

pub(super) async fn edit(bed: &Bed, setup: Setup) -> anyhow::Result<()> {
    all(bed, commands(setup, false)).await
}

pub(super) async fn stop(bed: &Bed) -> anyhow::Result<()> {
    bed.command(&["ipvsadm", "-C"]).await
}

#[cfg(test)]
mod tests {
    use super::super::DRAINED;
    use super::*;

    #[test]
    fn a_drained_server_has_no_weight() {
        let commands = commands(DRAINED, false);
        assert_eq!(commands.len(), 6);
        assert_eq!(commands[2], "-e -t 10.77.7.100:80 -r 10.77.7.22:80 -g -w 0");
    }
}
