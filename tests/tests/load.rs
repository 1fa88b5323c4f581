//! `LOAD`, by which services with `least-connections` choose: the program counts the living flows of each backend, and the
//! sweep puts right what has drifted.

#![allow(clippy::unwrap_used, reason = "a helper of tests may panic as they do")]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use lb_common::id::MemberId;
use lb_tests::gate::{self, Gate};
use lb_tests::nat::{Flow, Node, TX};
use lb_tests::packet::{ACK, FIN, RST, SYN};
use lb_tests::rig::{CLIENT, mac_of};
use lb_tests::toml::{self, service};
use lb_user::dataplane::Dataplane as _;

const VIPS: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10)),
];

/// Each has a service in each family.
const MODES: [(&str, u16); 3] = [("dsr", 80), ("tunnel", 81), ("nat", 82)];

/// The backends of a service.
fn backends(mode: &str, vip: IpAddr) -> [IpAddr; 3] {
    let first = MODES.iter().position(|(other, _)| *other == mode).unwrap() as u8 * 3 + 1;
    [0, 1, 2].map(|i| match vip {
        IpAddr::V4(_) => [10, 0, 0, first + i].into(),
        IpAddr::V6(_) => [0xfd00, 0, 0, 0, 0, 0, 0, u16::from(first + i)].into(),
    })
}

fn services() -> String {
    let each = MODES
        .into_iter()
        .flat_map(|mode| ["v4", "v6"].into_iter().zip(VIPS).map(move |vip| (mode, vip)));
    toml::file(each.map(|((mode, port), (family, vip))| {
        let backends = backends(mode, vip).map(|ip| SocketAddr::new(ip, port));
        service(&format!("{mode}-{family}"), mode, &[SocketAddr::new(vip, port)])
            .with("balance = \"least-connections\"")
            .backends(backends)
    }))
}

/// Flows of one service.
struct Flows {
    node: Node,
    mode: &'static str,
    vip: SocketAddr,
    /// Those that live: the backend's last byte, and what the backend sees in `nat`.
    living: BTreeMap<u16, (u8, Option<Flow>)>,
}

impl Flows {
    fn flow(&self, port: u16) -> Flow {
        let source = if self.vip.is_ipv4() {
            "198.51.100.7"
        } else {
            "[2001:db8:1::7]"
        };
        Flow::tcp(&format!("{source}:{port}"), &self.vip.to_string())
    }

    /// Sends a segment of the client's; the last byte of the backend that gets it.
    fn send(&mut self, port: u16, flags: u8, data: &[u8]) -> u8 {
        let frame = self.flow(port).frame(CLIENT, flags, data);
        let (action, output) = self.node.send(&frame);
        assert_eq!(action, TX, "{} {}", self.mode, self.vip);
        output[5]
    }

    fn open(&mut self, port: u16) {
        let flow = self.flow(port);
        let opened = if self.mode == "nat" {
            let there = self.node.forwards(flow, SYN, b"");
            self.node.answers(there, flow, SYN | ACK, b"");
            (mac_of(there.destination.ip()).0[5], Some(there))
        } else {
            (self.send(port, SYN, b""), None)
        };
        self.send(port, ACK, b"data");
        self.living.insert(port, opened);
    }

    /// Ends a flow by a reset, or from both sides as far as the program sees them.
    fn end(&mut self, port: u16, by_reset: bool) {
        let (_, there) = self.living.remove(&port).unwrap();
        if by_reset {
            self.send(port, RST, b"");
            return;
        }
        self.send(port, FIN | ACK, b"");
        if let Some(there) = there {
            let flow = self.flow(port);
            self.node.answers(there, flow, FIN | ACK, b"");
        }
        self.send(port, ACK, b"");
    }

    /// The service's members, by the last byte of their addresses.
    fn members(&mut self) -> BTreeMap<u8, MemberId> {
        let ours = backends(self.mode, self.vip.ip());
        let members = self.node.kernel().installed().unwrap().members.into_iter();
        let members = members.map(|(id, member)| (id, member.address.to_ip()));
        members
            .filter(|(_, ip)| ours.contains(ip))
            .map(|(id, ip)| (mac_of(ip).0[5], id))
            .collect()
    }

    /// `LOAD` says how many flows live.
    #[track_caller]
    fn count(&mut self, what: &str) {
        for (last, id) in self.members() {
            let living = self.living.values().filter(|(backend, _)| *backend == last).count();
            let load = self.node.kernel().load_of(id);
            assert_eq!(load, living as u64, "{} {} {last}: {what}", self.mode, self.vip);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn living_flows_are_counted_and_a_sweep_puts_it_right() {
    if gate::root() == Gate::Skip {
        return;
    }
    for (mode, port) in MODES {
        for vip in VIPS {
            let mut flows = Flows {
                node: Node::new(&services()).await,
                mode,
                vip: SocketAddr::new(vip, port),
                living: BTreeMap::new(),
            };
            assert_eq!(flows.members().len(), 3);
            for port in 1000..1060 {
                flows.open(port);
            }
            flows.count("all are open");
            for port in (1000..1060).step_by(3) {
                flows.end(port, port % 2 == 0);
            }
            flows.count("some have ended");
            // Another connection from the port of one that has ended.
            flows.open(1000);
            flows.count("one more");
            flows.node.rig.sweep();
            flows.count("a sweep agrees");
            // Too many, too few, and more ends than beginnings.
            let ids: Vec<_> = flows.members().into_values().collect();
            for (&id, wrong) in ids.iter().zip([1_000_000, 0, u64::MAX]) {
                flows.node.kernel().set_load(id, wrong).unwrap();
            }
            flows.node.rig.sweep();
            flows.count("a sweep has put it right");
            flows.open(2000);
            let all: Vec<u16> = flows.living.keys().copied().collect();
            for port in all {
                flows.end(port, false);
            }
            flows.count("all have ended");
        }
    }
}
