//! Long downloads notice nothing of what happens to the daemon, and in `nat` nothing of what happens to backends.
//!
//! `dsr` gives a connection up whose slot changes hands, so its download has a source port whose slot does not.

#![allow(clippy::unwrap_used, reason = "what tests share may panic as they do")]

use std::net::SocketAddr;
use std::time::Instant;

use lb_tests::download::Download;
use lb_tests::gate::{self, Gate};
use lb_tests::segment::{Segment, v4};
use lb_tests::toml::{Service, service};
use lb_user::api::types::{AdminState, BackendPatch, BackendStatus, Status, Verdict};
use lb_user::model::Protocol;
use lb_user::model::status::FlowQuery;
use lb_user::net::{LOOPBACK, Net, wire};
use nix::sys::signal::Signal;

const NAT: SocketAddr = SocketAddr::new(v4(100), 80);
const DSR: SocketAddr = SocketAddr::new(v4(101), 8080);
const BEHIND: SocketAddr = SocketAddr::new(v4(102), 8080);

const LENGTH: u64 = 200_000_000;

/// Servers that answer; the backends above that number are addresses of the last one.
const SERVERS: u8 = 3;

/// As many backends as fit into the ids of one service, and more: then its members move.
const MANY: u8 = 24;

/// Both services, with so many backends each. The ids of a third lie behind those of the first, which cannot grow where
/// it is.
fn services(nat: u8, dsr: u8) -> String {
    let all = [
        ("nat", "nat", NAT, nat),
        ("behind", "dsr", BEHIND, 1),
        ("dsr", "dsr", DSR, dsr),
    ];
    let services = all.map(|(name, mode, vip, count)| {
        let service = service(name, mode, &[vip]).with("table-size = 1024").unprobed();
        (1..=count).fold(service, |service, number| {
            service.backend_with(
                SocketAddr::new(v4(10 + number), 8080),
                format_args!("name = \"web{number}\""),
            )
        })
    });
    services.iter().map(Service::to_string).collect()
}

/// Ports of the client that no other connection gets. Two programs cannot have the same one.
const PORTS: std::ops::Range<u16> = 30_000..30_030;
const NAT_PORT: u16 = 31_000;

struct Test {
    segment: Segment,
    /// Another size is another layout of the maps.
    flow_table: u32,
}

impl Test {
    /// Servers, and addresses for backends to come.
    async fn new() -> Self {
        let segment = Segment::new(SERVERS).await;
        wire::sysctl(&segment.client, Download::BOUNDS.0, Download::BOUNDS.1).unwrap();
        for backend in &segment.backends {
            for (key, value) in [("arp_ignore", "1"), ("arp_announce", "2")] {
                wire::sysctl(backend, &format!("ipv4/conf/all/{key}"), value).unwrap();
            }
            let net = Net::inside(backend).unwrap();
            net.add_vip(LOOPBACK, DSR.ip()).await.unwrap();
        }
        let last = Net::inside(segment.backends.last().unwrap()).unwrap();
        let eth0 = last.index("eth0").await.unwrap();
        for number in SERVERS + 1..=MANY {
            last.add_address(eth0, v4(10 + number), 24).await.unwrap();
        }
        Self {
            segment,
            flow_table: 4096,
        }
    }

    fn configure(&self, nat: u8, dsr: u8) {
        let node = &self.segment.node;
        let table = format!("flow-table-size = {}\n[admin]", self.flow_table);
        let head = node.head("eth0").replace("[admin]", &table);
        node.configure(&format!("{head}{}", services(nat, dsr)));
    }

    /// The folders of maps: one, named after their layout.
    fn layouts(&self) -> Vec<String> {
        let folders = std::fs::read_dir(self.segment.node.path("bpf")).unwrap();
        let names = folders.map(|folder| folder.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("maps-")).collect()
    }

    /// Waits until the services have so many backends besides those that are leaving, and all of them serve.
    async fn serves(&self, nat: u8, dsr: u8) {
        let all = |s: &Status| {
            s.services.iter().zip([nat, 1, dsr]).all(|(service, count)| {
                let mut staying = service.backends.iter().filter(|b| !b.leaving);
                staying.clone().count() == usize::from(count) && staying.all(|b| b.slots > 0)
            })
        };
        self.segment
            .node
            .until(&format!("{nat} and {dsr} backends serve"), all)
            .await;
    }

    /// Which backend a connection of the client goes to, and the port that the backend sees, where it is translated.
    async fn backend(&self, port: u16, to: SocketAddr) -> (String, Option<SocketAddr>) {
        let flow = FlowQuery {
            protocol: Protocol::Tcp,
            source: (v4(10), port).into(),
            destination: to,
        };
        match self.segment.node.client().explain(flow).await.unwrap().verdict {
            Verdict::Forwarded { backend, known, .. } => (backend, known.map(|flow| flow.source)),
            other => panic!("{other:?}"),
        }
    }

    async fn status(&self, service: usize, backend: &str) -> BackendStatus {
        let status = self.segment.node.client().status().await.unwrap();
        let mut backends = status.services[service].backends.iter();
        backends.find(|b| b.name == backend).unwrap().clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn downloads_survive_daemons_reloads_and_in_nat_a_drain() {
    if gate::root_with(&["curl"]) == Gate::Skip {
        return;
    }
    let mut test = Test::new().await;
    let listen = |index: u8| [format!("{}:8080", v4(11 + index)), DSR.to_string()];
    let _servers: Vec<_> = (0..SERVERS)
        .map(|index| test.segment.serve(index.into(), &listen(index)))
        .collect();

    test.configure(SERVERS, SERVERS);
    let mut daemon = test.segment.node.start().await;
    test.serves(SERVERS, SERVERS).await;
    let port = PORTS.start;
    let nat = Download::start("nat", &test.segment.client, NAT_PORT, NAT, LENGTH);
    let dsr = Download::start("dsr", &test.segment.client, port, DSR, LENGTH);
    let go_on = async |what: &str| {
        nat.goes_on(what).await;
        dsr.goes_on(what).await;
    };
    go_on("before anything happens").await;
    let (nat_backend, seen) = test.backend(NAT_PORT, NAT).await;
    assert!(seen.is_some_and(|seen| seen.ip() == v4(1)), "{seen:?}");
    let (dsr_backend, _) = test.backend(port, DSR).await;

    daemon.end(Signal::SIGKILL);
    go_on("without a daemon, which was killed").await;
    daemon = test.segment.node.start().await;
    test.serves(SERVERS, SERVERS).await;
    go_on("with the next daemon").await;
    assert_eq!(daemon.end(Signal::SIGTERM), Some(0));
    go_on("without a daemon, which was ended").await;
    let daemon = test.segment.node.start().await;
    test.serves(SERVERS, SERVERS).await;
    go_on("with the daemon after that").await;
    assert_eq!(test.backend(NAT_PORT, NAT).await, (nat_backend.clone(), seen));

    let old = test.layouts();
    daemon.signal(Signal::SIGKILL);
    drop(daemon);
    test.flow_table = 8192;
    test.configure(SERVERS, SERVERS);
    let _daemon = test.segment.node.start().await;
    test.serves(SERVERS, SERVERS).await;
    go_on("with maps of another layout").await;
    let new = test.layouts();
    assert!(old.len() == 1 && new.len() == 1 && old != new, "{old:?} {new:?}");
    assert_eq!(test.backend(NAT_PORT, NAT).await, (nat_backend.clone(), seen));

    test.configure(SERVERS + 1, SERVERS + 1);
    test.serves(SERVERS + 1, SERVERS + 1).await;
    go_on("with one backend more").await;
    let before = test.status(0, &nat_backend).await.packets;
    // Not in `dsr`: they come one by one as their next hops are found, and each may have the slot for a moment.
    test.configure(MANY, SERVERS + 1);
    test.serves(MANY, SERVERS + 1).await;
    let after = test.status(0, &nat_backend).await.packets;
    assert!(after < before, "members that move count anew: {after} after {before}");
    go_on("with many more").await;

    let drain = BackendPatch {
        state: Some(AdminState::Drain),
        ..BackendPatch::default()
    };
    test.segment
        .node
        .client()
        .patch("nat", &nat_backend, drain)
        .await
        .unwrap();
    let drained = test.status(0, &nat_backend).await;
    assert_eq!((drained.state, drained.slots), (AdminState::Drain, 0));
    go_on("while its backend is drained").await;
    assert_eq!(test.backend(NAT_PORT, NAT).await, (nat_backend.clone(), seen));
    assert_eq!(test.backend(port, DSR).await.0, dsr_backend);
    for other in PORTS {
        assert_ne!(
            test.backend(other, NAT).await.0,
            nat_backend,
            "a drained backend gets nothing new"
        );
    }

    let begun = Instant::now();
    nat.finish();
    dsr.finish();
    eprintln!("the rest took {:?}", begun.elapsed());
}
