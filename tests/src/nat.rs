//! Flows of `nat` services, as their clients, their backends and the tables see them.

use std::net::{IpAddr, SocketAddr};

use lb_common::addr::{Ipv6Be, Mac, PortBe};
use lb_common::flow::Ports;
use lb_common::nat::{self, NatKey, Phase, Stamp, Ticks, Translation};
use lb_common::stats::{Counters, DropReason};
use lb_user::dataplane::Dataplane as _;
use lb_user::dataplane::kernel::Kernel;
use lb_user::model::{Config, PortRange, Protocol};
use nix::time::{ClockId, clock_gettime};

use crate::packet::{self, ACK, FIN, SYN};
use crate::rig::{CLIENT, NODE, Rig, SEED, config, mac_of, rig_of};
use crate::toml::{self, service};

/// Reasons to drop that only `nat` has; tests/nat_ports.rs brings each of them about.
pub const REASONS: [DropReason; 3] = [DropReason::NatPorts, DropReason::NatTable, DropReason::NatHeld];

/// Actions of the program.
pub const DROP: u32 = 1;
/// Actions of the program.
pub const PASS: u32 = 2;
/// Actions of the program.
pub const TX: u32 = 3;

/// Who sends what to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Flow {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Who sends.
    pub source: SocketAddr,
    /// To whom.
    pub destination: SocketAddr,
}

impl Flow {
    /// A flow of TCP.
    ///
    /// # Panics
    /// When these are no addresses with ports.
    #[must_use]
    pub fn tcp(source: &str, destination: &str) -> Self {
        Self {
            protocol: Protocol::Tcp,
            source: source.parse().expect("an address"),
            destination: destination.parse().expect("an address"),
        }
    }

    /// A flow of UDP.
    ///
    /// # Panics
    /// When these are no addresses with ports.
    #[must_use]
    pub fn udp(source: &str, destination: &str) -> Self {
        Self {
            protocol: Protocol::Udp,
            ..Self::tcp(source, destination)
        }
    }

    /// The same from another port.
    #[must_use]
    pub fn from_port(mut self, port: u16) -> Self {
        self.source.set_port(port);
        self
    }

    /// What the other side sends.
    #[must_use]
    pub const fn reversed(self) -> Self {
        Self {
            protocol: self.protocol,
            source: self.destination,
            destination: self.source,
        }
    }

    /// Key of its entry.
    #[must_use]
    pub fn key(self) -> NatKey {
        NatKey {
            source: Ipv6Be::mapped(self.source.ip()),
            destination: Ipv6Be::mapped(self.destination.ip()),
            ports: Ports {
                source: PortBe::new(self.source.port()),
                destination: PortBe::new(self.destination.port()),
            },
            protocol: u32::from(self.protocol.number()),
        }
    }

    /// The reverse of [`Self::key`].
    #[must_use]
    pub fn of(key: &NatKey) -> Self {
        let protocol = if key.protocol == 6 {
            Protocol::Tcp
        } else {
            Protocol::Udp
        };
        Self {
            protocol,
            source: SocketAddr::new(key.source.to_ip(), key.ports.source.host()),
            destination: SocketAddr::new(key.destination.to_ip(), key.ports.destination.host()),
        }
    }

    /// A packet of it; `flags` are those of TCP.
    #[must_use]
    pub fn packet(self, flags: u8, data: &[u8]) -> Vec<u8> {
        match self.protocol {
            Protocol::Tcp => packet::tcp(self.source, self.destination, flags, data),
            Protocol::Udp => packet::udp(self.source, self.destination, data),
        }
    }

    /// That packet, as it comes to the node from `mac`.
    #[must_use]
    pub fn frame(self, mac: Mac, flags: u8, data: &[u8]) -> Vec<u8> {
        packet::frame(NODE, mac, &self.packet(flags, data))
    }

    /// The flow that a frame belongs to.
    ///
    /// # Panics
    /// When it is not one of TCP or UDP.
    #[must_use]
    pub fn read(frame: &[u8]) -> Self {
        let packet = &frame[14..];
        let octets = |at: usize| <[u8; 16]>::try_from(&packet[at..at + 16]).expect("16 octets");
        let quad = |at: usize| <[u8; 4]>::try_from(&packet[at..at + 4]).expect("4 octets");
        let (protocol, source, destination, l4) = if packet[0] >> 4 == 4 {
            let header = usize::from(packet[0] & 0xf) * 4;
            (packet[9], IpAddr::from(quad(12)), IpAddr::from(quad(16)), header)
        } else {
            (packet[6], IpAddr::from(octets(8)), IpAddr::from(octets(24)), 40)
        };
        let port = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
        Self {
            protocol: match protocol {
                6 => Protocol::Tcp,
                17 => Protocol::Udp,
                other => panic!("protocol {other}"),
            },
            source: SocketAddr::new(source, port(l4)),
            destination: SocketAddr::new(destination, port(l4 + 2)),
        }
    }
}

/// The program's clock, which lags behind the finer one by some milliseconds.
///
/// # Panics
/// When the kernel does not tell the time.
#[must_use]
pub fn now() -> Ticks {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).expect("a clock");
    nat::ticks(now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64)
}

/// A node that translates; steps check what they do, byte by byte.
pub struct Node {
    /// Program, maps and reconciler.
    pub rig: Rig,
}

impl Node {
    /// With services from TOML.
    pub async fn new(toml: &str) -> Self {
        Self::with(config(toml)).await
    }

    /// With this configuration.
    ///
    /// # Panics
    /// When the program cannot be loaded.
    pub async fn with(config: Config) -> Self {
        let kernel = Kernel::private(SEED).unwrap_or_else(|e| panic!("{e:?}"));
        let rig = rig_of(kernel, config, &[]).await;
        Self { rig }
    }

    /// With tables of so many flows.
    ///
    /// # Panics
    /// When the program cannot be loaded.
    pub async fn with_table(config: Config, flows: u32) -> Self {
        let kernel = Kernel::private_with(SEED, flows).unwrap_or_else(|e| panic!("{e:?}"));
        let rig = rig_of(kernel, config, &[]).await;
        Self { rig }
    }

    /// The program and its maps.
    pub fn kernel(&mut self) -> &mut Kernel {
        self.rig.dataplane_mut()
    }

    /// What the program does with a frame.
    ///
    /// # Panics
    /// When the kernel does not run it.
    pub fn send(&mut self, frame: &[u8]) -> (u32, Vec<u8>) {
        self.kernel().test_run(frame).unwrap_or_else(|e| panic!("{e:?}"))
    }

    /// A client's packet goes to a backend: the flow as the backend sees it.
    ///
    /// # Panics
    /// When anything else comes out.
    #[track_caller]
    pub fn forwards(&mut self, flow: Flow, flags: u8, data: &[u8]) -> Flow {
        let (action, output) = self.send(&flow.frame(CLIENT, flags, data));
        assert_eq!(action, TX, "{flow:?} {flags:#04x}");
        let there = Flow::read(&output);
        let expected = packet::frame(mac_of(there.destination.ip()), NODE, &there.packet(flags, data));
        assert_eq!(output, expected, "{flow:?} as {there:?}");
        there
    }

    /// The backend's packet goes to the client of `flow`, which it sees as `there`.
    ///
    /// # Panics
    /// When anything else comes out.
    #[track_caller]
    pub fn answers(&mut self, there: Flow, flow: Flow, flags: u8, data: &[u8]) {
        let frame = there.reversed().frame(mac_of(there.destination.ip()), flags, data);
        let (action, output) = self.send(&frame);
        let expected = packet::frame(CLIENT, NODE, &flow.reversed().packet(flags, data));
        assert_eq!((action, output), (TX, expected), "{there:?} for {flow:?}");
    }

    /// The kernel gets the frame, as it is.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn passes(&mut self, frame: &[u8]) {
        assert_eq!(self.send(frame), (PASS, frame.to_vec()));
    }

    /// The frame is dropped for this reason, which counts one more, and no other does.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn drops(&mut self, frame: &[u8], reason: DropReason) {
        let mut drops = self.kernel().drops().expect("drops");
        let (action, _) = self.send(frame);
        for (r, count) in &mut drops {
            *count += u64::from(*r == reason);
        }
        assert_eq!(
            (action, self.kernel().drops().expect("drops")),
            (DROP, drops),
            "{reason:?}"
        );
    }

    /// The reasons for which anything has been dropped.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn dropped(&mut self) -> Vec<DropReason> {
        let drops = self.kernel().drops().expect("drops").into_iter();
        drops
            .filter(|(_, count)| *count > 0)
            .map(|(reason, _)| reason)
            .collect()
    }

    /// What is counted of a backend of a service.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn counters(&self, service: &str, backend: SocketAddr) -> Counters {
        let status = self.rig.status();
        let service = status.services.iter().find(|s| *s.name == *service);
        let mut backends = service.expect("a service").backends.iter();
        backends.find(|b| b.address == backend).expect("a backend").counters
    }

    /// The entry of a flow.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn flow(&mut self, flow: Flow) -> Option<Translation> {
        self.kernel().entry(&flow.key()).expect("NAT")
    }

    /// The lease of a flow that its backend sees as `there`.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn lease(&mut self, there: Flow) -> Option<Translation> {
        self.kernel().lease(&there.reversed().key()).expect("NAT_REPLY")
    }

    /// How far the flow has come that its backend sees as `there`.
    ///
    /// # Panics
    /// When it has no lease.
    #[track_caller]
    pub fn phase(&mut self, there: Flow) -> Phase {
        self.lease(there).expect("a lease").stamp.phase()
    }

    /// Brings a flow, which its backend sees as `there`, to a phase.
    ///
    /// # Panics
    /// When it does not get there.
    #[track_caller]
    pub fn bring(&mut self, flow: Flow, there: Flow, phase: Phase) {
        if phase != Phase::Opening {
            self.answers(there, flow, SYN | ACK, b"");
            self.forwards(flow, ACK, b"");
        }
        if matches!(phase, Phase::HalfClosed | Phase::Closed) {
            self.forwards(flow, FIN | ACK, b"");
        }
        if phase == Phase::Closed {
            self.answers(there, flow, FIN | ACK, b"");
        }
        assert_eq!(self.phase(there), phase);
    }

    /// Makes a flow, which its backend sees as `there`, as if it had been silent for so long.
    ///
    /// # Panics
    /// When it is not there.
    #[track_caller]
    pub fn ages(&mut self, there: Flow, ticks: Ticks) {
        let old = |stamp: Stamp| Stamp(stamp.0 & 0xffff_ffff | u64::from(now().wrapping_sub(ticks)) << 32);
        let key = there.reversed().key();
        let mut lease = self.lease(there).expect("a lease");
        lease.stamp = old(lease.stamp);
        let flow = lease.other(key.protocol);
        let mut entry = self.kernel().entry(&flow).expect("NAT").expect("a flow");
        entry.stamp = old(entry.stamp);
        self.kernel().put_lease(&key, Some(&lease)).expect("NAT_REPLY");
        self.kernel().put_flow(&flow, Some(&entry)).expect("NAT");
    }

    /// How many flows there are, each of which has both entries, one the other's reverse.
    ///
    /// # Panics
    /// When one has not.
    #[track_caller]
    pub fn flows(&mut self) -> usize {
        let flows = self.kernel().all_flows().expect("NAT");
        let leases = self.kernel().all_leases().expect("NAT_REPLY");
        for (key, entry) in &flows {
            let lease = leases.iter().find(|(k, _)| *k == entry.other(key.protocol));
            let (_, lease) = lease.unwrap_or_else(|| panic!("{:?} has no lease", Flow::of(key)));
            assert_eq!(lease.other(key.protocol), *key, "the lease of {:?}", Flow::of(key));
            assert!(!entry.stamp.is_claimed() && !lease.stamp.is_claimed());
        }
        assert_eq!(flows.len(), leases.len(), "leases without a flow");
        flows.len()
    }
}

/// Services with one backend each.
fn services() -> String {
    toml::file([
        service("web", "nat", &["192.0.2.10:80"]).backend("10.0.0.1:8080"),
        service("web6", "nat", &["[2001:db8::10]:80"]).backend("[fd00::1]:8080"),
        service("dns", "nat", &["192.0.2.10:53"]).udp().backend("10.0.0.2:5353"),
    ])
}

/// The first of the ports of [`with_ports`].
pub const FIRST: u16 = 20_000;

/// The services with so many ports each.
///
/// # Panics
/// When there are no such ports.
#[must_use]
pub fn with_ports(count: u16) -> Config {
    let mut config = config(&services());
    for service in &mut config.services {
        service.nat.ports = PortRange::new(FIRST, FIRST + count - 1).expect("ports");
    }
    config
}

/// A client's flow to a service of [`with_ports`].
pub const WEB: fn(u16) -> Flow = |port| Flow::tcp("198.51.100.7:1", "192.0.2.10:80").from_port(port);
/// The same over IPv6.
pub const WEB6: fn(u16) -> Flow = |port| Flow::tcp("[2001:db8:1::7]:1", "[2001:db8::10]:80").from_port(port);
/// The same over UDP.
pub const DNS: fn(u16) -> Flow = |port| Flow::udp("198.51.100.7:1", "192.0.2.10:53").from_port(port);

/// How long the flows of these services may be silent: 2 h 15 min and 2 min, in ticks, rounded up.
pub const TCP_IDLE: Ticks = 7_544;
/// The same for UDP.
pub const UDP_IDLE: Ticks = 112;
