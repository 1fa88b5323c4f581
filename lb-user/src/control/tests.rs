//! The reconciler over a data plane in memory: whose a VIP is, what stays over a restart, and faults at every step.
//!
//! Past 500 lines: one stage and one cast for all of them.

mod begins;
mod commands;
mod denies;
mod faults;
mod flows;
mod histories;
mod interfaces;
mod judge;
mod modes;
mod nat;
mod preview;
mod proxy;
mod shared;
mod shares;
mod steering;
mod trace;

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use lb_common::addr::Mac;
use lb_common::backend::MacFlags;
use lb_common::hash::Seed;
use lb_common::id::MemberIndex;
use lb_common::ring::Slot;
use lb_common::service::Decision;

use tokio::sync::{mpsc, watch};

use super::merge::Facts;
use super::*;
use crate::dataplane::Dataplane as _;
use crate::dataplane::fake::Fake;
use crate::model::acme::Offered;
use crate::model::status::{Explanation, FlowQuery, Reloads, Status};
use crate::model::{Backend, Config, Health, Interface, MemberKey, NextHop, NextHopState, Probes, Protocol, Verdict};
use crate::net::{Address, LOOPBACK};
use crate::plan::{Forget, MapOp, ServiceKey, Snapshot};

/// The node's addresses, in memory.
#[derive(Clone, Default)]
struct Node {
    present: Arc<Mutex<BTreeSet<Address>>>,
    broken: bool,
}

/// A VIP on an interface.
fn held(ip: IpAddr, interface: u32) -> Address {
    Address {
        interface,
        ip,
        prefix: 32,
    }
}

impl Node {
    fn with(addresses: &[&str]) -> Self {
        let node = Self::default();
        for ip in addresses {
            node.put(held(ip.parse().unwrap(), LOOPBACK));
        }
        node
    }

    fn put(&self, address: Address) {
        self.present.lock().unwrap().insert(address);
    }

    /// The interfaces that have this address.
    fn on(&self, ip: &str) -> Vec<u32> {
        let ip: IpAddr = ip.parse().unwrap();
        let present = self.present.lock().unwrap();
        present.iter().filter(|a| a.ip == ip).map(|a| a.interface).collect()
    }

    fn has(&self, ip: &str) -> bool {
        !self.on(ip).is_empty()
    }
}

impl Addresses for Node {
    async fn present(&self) -> io::Result<Vec<Address>> {
        Ok(self.present.lock().unwrap().iter().copied().collect())
    }
    async fn add(&self, vip: IpAddr, interface: u32) -> io::Result<()> {
        if self.broken {
            return Err(io::Error::other("no such device"));
        }
        self.put(held(vip, interface));
        Ok(())
    }
    async fn remove(&self, vip: IpAddr, interface: u32) -> io::Result<()> {
        if self.broken {
            return Err(io::Error::other("no such device"));
        }
        self.present.lock().unwrap().remove(&held(vip, interface));
        Ok(())
    }
}

const ONE: &str = r#"
[node]
name = "lb1"
interfaces = ["eth0"]
[[service]]
name = "web"
address = ["192.0.2.10:80", "192.0.2.20:80"]
mode = "dsr"
table-size = 256
[[service.backend]]
name = "web1"
address = "10.0.0.1:80"
[[service.backend]]
name = "web2"
address = "10.0.0.2:80"
[[service.backend]]
name = "web3"
address = "10.0.0.3:80"
"#;

const SEED: Seed = Seed([1, 2]);

fn config(toml: &str) -> Arc<Config> {
    Arc::new(
        crate::config::parse("test.toml", toml)
            .unwrap_or_else(|e| panic!("{e}"))
            .config,
    )
}

fn hop(last: u8, interface: u32) -> NextHopState {
    NextHopState::Resolved(NextHop {
        mac: Mac([2, 0, 0, 0, 0, last]),
        local: Mac([2, 0, 0, 0, 1, 0]),
        interface,
        router: None,
        source: Some([10, 0, 0, 254].into()),
        mtu: 1500,
    })
}

fn verdict(last: u8, health: Health) -> Verdict {
    Verdict {
        member: MemberKey {
            service: "web".into(),
            backend: ([10, 0, 0, last], 80).into(),
        },
        health,
        weight: None,
        probes: Probes::default(),
        reason: "as the test says".into(),
    }
}

/// What is known when everything is well.
fn well(toml: &str) -> Facts {
    let mut facts = Facts::new(config(toml));
    for last in 1..=3 {
        facts.route([10, 0, 0, last].into(), hop(last, 3));
        facts.judge(verdict(last, Health::Up));
    }
    facts
}

/// Without addresses; its MAC ends in its index.
fn interface(name: &str, index: u32) -> Interface {
    Interface {
        name: name.to_owned(),
        index,
        mac: Mac([2, 0, 0, 0, 1, index as u8]),
        running: true,
        addresses: BTreeSet::new(),
    }
}

/// A reconciler of a program that is attached.
fn attached(dataplane: Fake, node: Node, facts: Facts, seed: Seed) -> Reconciler<Fake, Node> {
    let mut reconciler = Reconciler::new(dataplane, node, facts, seed);
    reconciler.attach(vec![interface("eth0", 3)]).unwrap();
    reconciler
}

fn slots<A: Addresses>(reconciler: &Reconciler<Fake, A>) -> Vec<u32> {
    reconciler.status().services[0]
        .backends
        .iter()
        .map(|b| b.slots)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vip_is_ours_when_nobody_put_it_there() {
    let node = Node::with(&["192.0.2.20"]);
    let mut reconciler = attached(Fake::default(), node.clone(), well(ONE), SEED);
    assert!(reconciler.converge().await);
    assert!(node.has("192.0.2.10"));
    let vips = &reconciler.status().services[0].vips;
    assert_eq!(vips.iter().map(|v| v.exclusive).collect::<Vec<_>>(), [true, false]);
    // Somebody takes ours away: it comes back. The entry in the maps says whose it is.
    node.present.lock().unwrap().clear();
    reconciler.installed = None;
    assert!(reconciler.converge().await);
    assert!(node.has("192.0.2.10") && !node.has("192.0.2.20"));

    // After a restart ours is still ours, although it is there.
    let Reconciler { dataplane, .. } = reconciler;
    let mut second = attached(dataplane, node.clone(), well(ONE), SEED);
    assert!(second.converge().await);
    assert!(second.status().services[0].vips[0].exclusive);
    // The service leaves the file, and takes along what is ours alone.
    node.put(held([192, 0, 2, 20].into(), LOOPBACK));
    second.facts.reconfigure(config("[node]\ninterfaces = [\"eth0\"]\n"));
    assert!(second.converge().await);
    assert!(!node.has("192.0.2.10") && node.has("192.0.2.20"));
    assert_eq!(second.dataplane.installed().unwrap(), Snapshot::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_vip_comes_before_the_program() {
    let node = Node::default();
    let mut reconciler = Reconciler::new(Fake::default(), node.clone(), well(ONE), SEED);
    assert!(reconciler.converge().await);
    assert!(!node.has("192.0.2.10") && reconciler.status().interfaces.is_empty());
    reconciler.attach(vec![interface("eth0", 3)]).unwrap();
    assert!(reconciler.converge().await);
    assert!(node.has("192.0.2.10"));
}

#[tokio::test(flavor = "multi_thread")]
async fn undeclared_overrides_who_put_the_vip_there() {
    let node = Node::with(&["192.0.2.20"]);
    let flags = |toml: &str, vip: &str| {
        let (toml, node, key) = (toml.to_owned(), node.clone(), ServiceKey::address(vip.parse().unwrap()));
        async move {
            let mut reconciler = attached(Fake::default(), node, well(&toml), SEED);
            assert!(reconciler.converge().await);
            reconciler.carried.placement.target.entries[&key]
        }
    };
    let with = |undeclared: &str| ONE.replace("table-size", &format!("undeclared = \"{undeclared}\"\ntable-size"));
    assert!(flags(&with("drop"), "192.0.2.20").await.has(Decision::DROP_UNDECLARED));
    assert!(!flags(&with("drop"), "192.0.2.20").await.has(Decision::ECHO));
    node.present
        .lock()
        .unwrap()
        .retain(|a| a.ip != IpAddr::from([192, 0, 2, 10]));
    assert!(!flags(&with("pass"), "192.0.2.10").await.has(Decision::DROP_UNDECLARED));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_backends_that_are_up_and_reached_serve() {
    let mut reconciler = attached(Fake::default(), Node::default(), well(ONE), SEED);
    assert!(reconciler.converge().await);
    assert!(slots(&reconciler).iter().all(|&n| n >= 85));
    reconciler.facts.judge(verdict(1, Health::Down));
    assert!(reconciler.converge().await);
    assert_eq!(slots(&reconciler)[0], 0);
    reconciler
        .facts
        .route([10, 0, 0, 2].into(), NextHopState::Unresolved("no answer".into()));
    assert!(reconciler.converge().await);
    assert_eq!(slots(&reconciler), [0, 0, 256]);
    // Reached, but over an interface where the program is not.
    reconciler.facts.route([10, 0, 0, 3].into(), hop(3, 9));
    assert!(reconciler.converge().await);
    assert_eq!(slots(&reconciler), [0, 0, 0]);
    let flow = FlowQuery {
        protocol: Protocol::Tcp,
        source: "198.51.100.1:1".parse().unwrap(),
        destination: "192.0.2.10:80".parse().unwrap(),
    };
    assert!(matches!(reconciler.explain(&flow), Explanation::Dropped { .. }));
    // Disabled by the file, whatever health says; and forgotten, so that it starts from scratch afterwards.
    reconciler.facts.reconfigure(config(
        &ONE.replace("name = \"web3\"", "name = \"web3\"\nstate = \"disabled\""),
    ));
    reconciler.facts.reconfigure(config(ONE));
    assert_eq!(reconciler.status().services[0].backends[2].health, Health::Unknown);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draining_backend_gets_nothing_new_and_is_still_judged() {
    let mut reconciler = attached(Fake::default(), Node::default(), well(ONE), SEED);
    let drain = ONE.replace("name = \"web1\"", "name = \"web1\"\nstate = \"drain\"");
    reconciler.facts.reconfigure(config(&drain));
    assert!(reconciler.converge().await);
    assert_eq!(slots(&reconciler), [0, 128, 128]);
    let alive = |reconciler: &Reconciler<Fake, Node>| {
        let id = reconciler.carried.placement.members[0][&"10.0.0.1:80".parse().unwrap()];
        reconciler.carried.placement.target.members[&id].next_hop.flags() & MacFlags::ALIVE != 0
    };
    assert!(alive(&reconciler), "its old flows are served");
    reconciler.facts.judge(verdict(1, Health::Down));
    assert!(reconciler.converge().await);
    assert!(!alive(&reconciler), "and not by a dead one");
    assert_eq!(reconciler.status().services[0].backends[0].health, Health::Down);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_changes_nothing_before_health_has_spoken() {
    let mut first = attached(Fake::default(), Node::default(), well(ONE), SEED);
    first.facts.judge(verdict(2, Health::Down));
    assert!(first.converge().await);
    let before = first.dataplane.installed().unwrap();
    let Reconciler {
        mut dataplane,
        addresses,
        ..
    } = first;
    dataplane.log.clear();

    let mut second = attached(dataplane, addresses, Facts::new(config(ONE)), SEED);
    assert!(second.converge().await);
    // An earlier run may have ended anywhere.
    let tidied = [MapOp::Grace, MapOp::ForgetFlows(Forget::default())];
    assert_eq!(second.dataplane.log, tidied);
    assert_eq!(second.dataplane.installed().unwrap(), before);
    // Then health speaks, and is heard.
    second.facts.judge(verdict(1, Health::Down));
    assert!(second.converge().await);
    assert_eq!(slots(&second), [0, 0, 256]);
}

#[tokio::test(flavor = "multi_thread")]
async fn any_write_may_fail_and_the_next_round_completes_it() {
    // From one backend down to another service beside it: members, rings, entries and deletions all occur.
    let other = ONE
        .replace("10.0.0.2:80", "10.0.0.4:80")
        .replace("192.0.2.20:80", "192.0.2.30:80");
    let change = |reconciler: &mut Reconciler<Fake, Node>| {
        reconciler.facts.reconfigure(config(&other));
        reconciler.facts.route([10, 0, 0, 4].into(), hop(4, 3));
        reconciler.facts.judge(verdict(4, Health::Up));
    };
    let start = || async {
        let mut reconciler = attached(Fake::default(), Node::default(), well(ONE), SEED);
        assert!(reconciler.converge().await);
        reconciler.dataplane.log.clear();
        reconciler
    };
    let mut smooth = start().await;
    change(&mut smooth);
    assert!(smooth.converge().await);
    let (steps, end) = (smooth.dataplane.log.len(), smooth.dataplane.installed().unwrap());
    assert!(steps > 8, "{:?}", smooth.dataplane.log);

    for failing in 0..steps {
        let mut bumpy = start().await;
        bumpy.dataplane.fault = Box::new(move |operation| operation == failing);
        change(&mut bumpy);
        assert!(!bumpy.converge().await);
        assert!(
            bumpy
                .status()
                .fault
                .is_some_and(|f| f.contains(&format!("operation {failing}")))
        );
        assert_eq!(
            bumpy.dataplane.log.last(),
            Some(&MapOp::Grace),
            "places that were freed may be used again"
        );
        assert!(bumpy.converge().await);
        assert_eq!(bumpy.status().fault, None);
        assert_eq!(
            bumpy.dataplane.installed().unwrap(),
            end,
            "after a fault in operation {failing}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_else_changes_is_repaired() {
    let mut reconciler = attached(Fake::default(), Node::default(), well(ONE), SEED);
    assert!(reconciler.converge().await);
    let right = reconciler.dataplane.installed().unwrap();
    let (&key, _) = right.entries.iter().next().unwrap();
    let (&block, _) = right.rings.iter().next().unwrap();
    reconciler.dataplane.apply(&MapOp::DelEntry(key)).unwrap();
    let slots = vec![(5, Slot::stable(MemberIndex::NONE))];
    reconciler.dataplane.apply(&MapOp::PutSlots { block, slots }).unwrap();
    reconciler.installed = None;
    assert!(reconciler.converge().await);
    assert_eq!(reconciler.dataplane.installed().unwrap(), right);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_is_said_and_leaves_the_rest_alone() {
    let node = Node {
        broken: true,
        ..Node::default()
    };
    let mut reconciler = attached(Fake::default(), node, well(ONE), SEED);
    assert!(!reconciler.converge().await);
    let status = reconciler.status();
    assert_eq!(
        status.fault.as_deref(),
        Some("cannot put 192.0.2.10 on the node: no such device")
    );
    let serving: u32 = slots(&reconciler).iter().sum();
    assert_eq!(serving, 256, "the maps are right all the same, and said to be");
}

/// A running reconciler, and what it listens to.
struct Running {
    handle: Handle,
    config: watch::Sender<Arc<Config>>,
    verdicts: mpsc::Sender<Verdict>,
    next_hops: mpsc::Sender<(IpAddr, NextHopState)>,
    interfaces: watch::Sender<Vec<Interface>>,
    offered: watch::Sender<Offered>,
    steered: watch::Receiver<u64>,
    _reloads: watch::Sender<Reloads>,
}

impl Running {
    fn start(reconciler: Reconciler<Fake, Node>, toml: &str) -> Self {
        let (config, configs) = watch::channel(config(toml));
        let (verdicts, verdict_queue) = mpsc::channel(8);
        let (next_hops, next_hop_queue) = mpsc::channel(8);
        let (interfaces, interface_changes) = watch::channel(vec![interface("eth0", 3)]);
        let (reloads, reload_results) = watch::channel(Reloads::none(SystemTime::UNIX_EPOCH));
        let (handle, requests, _) = Handle::new(8);
        let (offered, offers) = watch::channel(Offered::default());
        let (shown, steered) = watch::channel(0);
        let inputs = Inputs {
            config: configs,
            reloads: reload_results,
            verdicts: verdict_queue,
            next_hops: next_hop_queue,
            interfaces: interface_changes,
            requests,
            saved: watch::channel(Saved::default()).1,
            offered: offers,
        };
        let outputs = Outputs {
            paths: watch::channel(Paths::new()).0,
            upstreams: watch::channel(Arc::new(reconciler.facts.upstreams())).0,
            in_force: watch::channel(Arc::clone(&reconciler.facts.config)).0,
            commanded: watch::channel(Revision::default()).0,
            steered: shown,
        };
        tokio::spawn(reconciler.run(inputs, outputs));
        Self {
            handle,
            config,
            verdicts,
            next_hops,
            interfaces,
            offered,
            steered,
            _reloads: reloads,
        }
    }

    /// Asks until the status is as wanted.
    async fn until(&self, what: &str, wanted: impl Fn(&Status) -> bool) {
        let asking = async {
            while !wanted(&self.handle.status().await.unwrap()) {
                tokio::task::yield_now().await;
            }
        };
        let patience = std::time::Duration::from_secs(20);
        assert!(tokio::time::timeout(patience, asking).await.is_ok(), "never: {what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_finds_no_room_is_said_and_stops_nothing_else() {
    let node = Node::default();
    let mut crowded = (*config(ONE)).clone();
    let mut big = crowded.services[0].clone();
    big.name = "big".into();
    big.vips = vec!["192.0.2.30:80".parse().unwrap()];
    let backend = |i: u16| Backend {
        address: ([10, 1, (i >> 8) as u8, i as u8], 80).into(),
        ..big.backends[0].clone()
    };
    big.backends = (0..65_534).map(backend).collect();
    crowded.services.push(big);
    let mut facts = well(ONE);
    facts.reconfigure(Arc::new(crowded));
    let mut reconciler = attached(Fake::default(), node.clone(), facts, SEED);
    assert!(!reconciler.converge().await);
    let fault = reconciler.status().fault.unwrap();
    assert!(fault.contains("no room for 65534 backends"), "{fault}");
    assert_eq!(slots(&reconciler).iter().sum::<u32>(), 256);
    assert!(
        node.has("192.0.2.10") && node.has("192.0.2.30"),
        "VIPs come all the same"
    );
}

#[test]
fn only_news_of_health_is_worth_a_round() {
    let mut facts = Facts::new(config(ONE));
    assert!(
        facts.judge(verdict(1, Health::Unknown)),
        "the first word settles the health round"
    );
    assert!(facts.judge(verdict(1, Health::Up)));
    assert!(!facts.judge(verdict(1, Health::Up)), "another reason changes no map");
    assert!(facts.judge(verdict(1, Health::Down)));
    assert!(!facts.judge(verdict(9, Health::Up)), "nobody knows this backend");
    assert!(!facts.settled());
    assert!(facts.judge(verdict(2, Health::Up)) && facts.judge(verdict(3, Health::Down)) && facts.settled());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_round_is_tried_again_without_being_asked() {
    let mut reconciler = attached(Fake::default(), Node::default(), well(ONE), SEED);
    reconciler.dataplane.fault = Box::new(|operation| operation < 2);
    assert!(!reconciler.converge().await);
    let running = Running::start(reconciler, ONE);
    running.until("the fault is gone", |s| s.fault.is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_else_changes_is_repaired_by_itself() {
    let node = Node::default();
    let mut reconciler = attached(Fake::default(), node.clone(), well(ONE), SEED);
    assert!(reconciler.converge().await);
    reconciler.resync_every(std::time::Duration::from_millis(20));
    node.present.lock().unwrap().clear();
    let _running = Running::start(reconciler, ONE);
    let repaired = async {
        while !node.has("192.0.2.10") {
            tokio::task::yield_now().await;
        }
    };
    assert!(
        tokio::time::timeout(std::time::Duration::from_secs(20), repaired)
            .await
            .is_ok()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_comes_with_a_reload_serves() {
    let one = ONE.replace("10.0.0.3:80\"", "10.0.0.3:80\"\nstate = \"disabled\"");
    let reconciler = attached(Fake::default(), Node::default(), well(&one), SEED);
    let running = Running::start(reconciler, &one);
    let two = format!("{ONE}\n[[service.backend]]\nname = \"web4\"\naddress = \"10.0.0.4:80\"\n");
    // The prober and the resolver may be quicker than the reconciler, but not quicker than the configuration.
    running.config.send_replace(config(&two));
    for last in 1..=4 {
        running.verdicts.send(verdict(last, Health::Up)).await.unwrap();
        running
            .next_hops
            .send(([10, 0, 0, last].into(), hop(last, 3)))
            .await
            .unwrap();
    }
    let all = |s: &Status| s.services[0].backends.iter().filter(|b| b.slots > 0).count() == 4;
    running
        .until("the new one and the one that was disabled serve", all)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_stays_stops_nothing_else() {
    let node = Node::default();
    let mut reconciler = attached(Fake::default(), node.clone(), well(ONE), SEED);
    assert!(reconciler.converge().await);
    reconciler.addresses.broken = true;
    let other = ONE.replace("192.0.2.10:80", "192.0.2.11:80");
    reconciler.facts.reconfigure(config(&other));
    reconciler.facts.judge(verdict(1, Health::Down));
    assert!(!reconciler.converge().await);
    assert_eq!(slots(&reconciler)[0], 0, "health is heeded all the same");
    let vip = ServiceKey::address("192.0.2.10".parse().unwrap());
    assert!(
        reconciler.dataplane.installed().unwrap().entries[&vip].has(Decision::OWNED),
        "it is not forgotten"
    );
    reconciler.addresses.broken = false;
    assert!(reconciler.converge().await);
    assert!(!node.has("192.0.2.10") && node.has("192.0.2.11"));
}

#[tokio::test(flavor = "multi_thread")]
async fn dsr_does_not_go_through_a_router() {
    let mut facts = well(ONE);
    let NextHopState::Resolved(hop) = hop(1, 3) else {
        unreachable!()
    };
    let routed = NextHop {
        router: Some([10, 0, 0, 254].into()),
        ..hop
    };
    facts.route([10, 0, 0, 1].into(), NextHopState::Resolved(routed));
    let mut reconciler = attached(Fake::default(), Node::default(), facts, SEED);
    assert!(reconciler.converge().await);
    let status = reconciler.status();
    let backend = &status.services[0].backends[0];
    assert_eq!(backend.slots, 0);
    assert!(
        backend
            .next_hop
            .as_ref()
            .unwrap()
            .as_ref()
            .unwrap_err()
            .contains("behind router 10.0.0.254")
    );
}
