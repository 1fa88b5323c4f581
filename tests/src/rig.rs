//! The loaded program with services of its own, fed frame by frame.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use lb_common::addr::Mac;
use lb_common::hash::Seed;
use lb_user::control::merge::Facts;
use lb_user::control::{Addresses, Reconciler};
use lb_user::dataplane::kernel::Kernel;
use lb_user::model::{Backend, Config, Health, MemberKey, NextHop, NextHopState, Probes, Service, Verdict};
use lb_user::net::address::host_prefix;
use lb_user::net::{Address, LOOPBACK};
use nix::sched::{CpuSet, sched_getcpu, sched_setaffinity};
use nix::unistd::Pid;

/// The node's MAC: where clients send frames to.
pub const NODE: Mac = Mac([2, 0, 0, 0, 0, 0xfe]);

/// The MAC that clients' frames come from.
pub const CLIENT: Mac = Mac([2, 0, 0, 0, 0, 0xc1]);

/// Program, maps and reconciler; next to the packets, nothing is real.
pub type Rig = Reconciler<Kernel, Had>;

/// A node that has these addresses whatever one does.
pub struct Had(pub BTreeSet<IpAddr>);

impl Addresses for Had {
    async fn present(&self) -> io::Result<Vec<Address>> {
        let address = |&ip| Address {
            interface: LOOPBACK,
            ip,
            prefix: host_prefix(ip),
        };
        Ok(self.0.iter().map(address).collect())
    }
    async fn add(&self, _: IpAddr, _: u32) -> io::Result<()> {
        Ok(())
    }
    async fn remove(&self, _: IpAddr, _: u32) -> io::Result<()> {
        Ok(())
    }
}

/// MAC of a backend, by the last byte of its address.
#[must_use]
pub fn mac_of(backend: IpAddr) -> Mac {
    let last = match backend {
        IpAddr::V4(v4) => v4.octets()[3],
        IpAddr::V6(v6) => v6.octets()[15],
    };
    Mac([2, 0, 0, 0, 0, last])
}

/// The node's own address towards a backend.
#[must_use]
pub const fn own_address(backend: IpAddr) -> IpAddr {
    match backend {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::new(10, 0, 0, 254)),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0xfe)),
    }
}

/// Keeps this thread on the CPU that it is on: there are things that each CPU knows for itself.
///
/// # Panics
/// When the kernel refuses.
pub fn stay_on_one_cpu() {
    let mut one = CpuSet::new();
    let here = sched_getcpu().expect("a CPU");
    one.set(here).expect("one of so many");
    sched_setaffinity(Pid::from_raw(0), &one).expect("staying there");
}

/// The seed of rigs.
pub const SEED: Seed = Seed([0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908]);

/// What a file with this content says.
#[must_use]
pub fn config(toml: &str) -> Config {
    lb_user::config::parse("test.toml", toml)
        .unwrap_or_else(|e| panic!("{e}"))
        .config
}

/// Loads the program for a configuration in TOML. Every backend is up, and reached over interface 1, which is where
/// frames of a test run come from.
pub async fn rig(toml: &str, had: &[&str]) -> Rig {
    let kernel = Kernel::private(SEED).unwrap_or_else(|e| panic!("{e:?}"));
    rig_of(kernel, config(toml), had).await
}

/// As [`rig`], over a program that is loaded already.
pub async fn rig_of(kernel: Kernel, config: Config, had: &[&str]) -> Rig {
    rig_on(LOOPBACK, kernel, config, had).await
}

/// As [`rig_of`], with every backend behind this interface, where frames come from.
pub async fn rig_on(interface: u32, mut kernel: Kernel, config: Config, had: &[&str]) -> Rig {
    kernel.set_nic(interface, NODE).expect("a NIC");
    let had = had.iter().map(|ip| ip.parse().expect("an address")).collect();
    let mut facts = Facts::new(Arc::new(config.clone()));
    facts.interfaces.insert(interface, "eth0".into());
    let mut rig = Reconciler::new(kernel, Had(had), facts, SEED);
    reconfigure_on(interface, &mut rig, config).await;
    rig
}

/// Puts another configuration in force, whose backends are all up and reached as [`rig`] says.
pub async fn reconfigure(rig: &mut Rig, config: Config) {
    reconfigure_on(LOOPBACK, rig, config).await;
}

async fn reconfigure_on(interface: u32, rig: &mut Rig, config: Config) {
    rig.facts_mut().reconfigure(Arc::new(config.clone()));
    for service in &config.services {
        for backend in &service.backends {
            let hop = NextHop {
                mac: mac_of(backend.address.ip()),
                local: NODE,
                interface,
                router: None,
                source: Some(own_address(backend.address.ip())),
                mtu: 1500,
            };
            rig.facts_mut().route(backend.address.ip(), NextHopState::Resolved(hop));
            judge(rig, service, backend, Health::Up);
        }
    }
    converge(rig).await;
}

/// The prober says something of a backend.
pub fn judge(rig: &mut Rig, service: &Service, backend: &Backend, health: Health) {
    rig.facts_mut().judge(Verdict {
        member: MemberKey {
            service: service.name.clone(),
            backend: backend.address,
        },
        health,
        weight: None,
        reason: Arc::default(),
        probes: Probes::default(),
    });
}

/// Makes the maps what they shall be.
pub async fn converge(rig: &mut Rig) {
    assert!(rig.converge().await, "{:?}", rig.status().fault);
}
