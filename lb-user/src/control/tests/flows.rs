//! Flows through changes: packets are served by the program's own rules, over a data plane in memory, while managers
//! come, change, and die at every step.
//!
//! Past 500 lines: the world in which packets are served, and one history after the other in it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use lb_common::addr::{Ipv6Be, PortBe};
use lb_common::flow::Ports;
use lb_common::nat::NatKey;
use lb_common::select;
use lb_common::slot::{self, Entry, Packet, Said, Write};
use lb_common::stats::FlowEvent;

use super::*;
use crate::dataplane::ApplyError;
use crate::plan::entries::{Flow, locate};

/// Where connections are that the node itself has.
const NODE: &str = "127.0.0.1:0";

/// As [`ONE`], with windows of five seconds.
pub(super) fn short() -> String {
    ONE.replace(
        "table-size = 256",
        "table-size = 256\nidle-timeout = \"5s\"\ndrain-timeout = \"1h\"",
    )
}

pub(super) const IDLE: Duration = Duration::from_secs(5);

/// The client's connection number `number`, to one of two VIPs.
fn key(number: u32) -> NatKey {
    let vip: IpAddr = if number.is_multiple_of(2) {
        [192, 0, 2, 10]
    } else {
        [192, 0, 2, 20]
    }
    .into();
    let [.., a, b] = number.to_be_bytes();
    NatKey {
        source: Ipv6Be::mapped([198, 51, 100, a].into()),
        destination: Ipv6Be::mapped(vip),
        ports: Ports {
            source: PortBe::new(1024 + u16::from(b)),
            destination: PortBe::new(80),
        },
        protocol: 6,
    }
}

/// What the program does with a packet: who gets it.
fn deliver(fake: &mut Fake, key: &NatKey, packet: Packet) -> Option<SocketAddr> {
    let belongs = locate(fake.tables(), fake.seed, Flow::from(key))?;
    let service = belongs.service;
    let serves = if belongs.slot.is_stable() {
        belongs.slot.current()
    } else {
        let entry = fake.known.get(key).copied();
        let is_alive = |member: MemberIndex| select::is_alive(fake.tables(), service, member);
        let verdict = slot::decide(belongs.slot, entry, packet, &is_alive);
        let now = fake.now;
        let said = |entry: Entry| Entry {
            word: entry.heard(Said::Sends, now),
            ..entry
        };
        let new = match (verdict.write, entry) {
            (Write::Opened(number), _) => Some(Entry::opened(verdict.serve, number, now)),
            (Write::Known, _) => Some(Entry::new(verdict.serve, now)),
            (Write::Confirm, Some(entry)) => Some(said(entry.confirmed())),
            (Write::Renumber(sequence), Some(entry)) => Some(said(Entry { sequence, ..entry })),
            (Write::Nothing, Some(entry)) if entry.member() == verdict.serve => Some(said(entry)),
            _ => None,
        };
        let is_room = entry.is_some() || fake.known.len() < fake.room as usize;
        match new {
            Some(new) if is_room => {
                fake.known.insert(*key, new);
                verdict.serve
            }
            Some(_) => {
                *fake.events.entry(FlowEvent::NoRoom).or_default() += 1;
                verdict.otherwise
            }
            None => verdict.serve,
        }
    };
    let chosen = select::member(fake.tables(), service, serves).ok()?;
    Some((chosen.member.address.to_ip(), chosen.member.port.host()).into())
}

/// Connections, and who has them.
#[derive(Clone, Default)]
pub(super) struct Connections {
    on: BTreeMap<u32, SocketAddr>,
    next: u32,
}

impl Connections {
    /// Opens some: a SYN, and the segment after it.
    pub(super) fn open(&mut self, fake: &mut Fake, how_many: u32) {
        for number in self.next..self.next + how_many {
            let key = key(number);
            let Some(on) = deliver(fake, &key, Packet::Syn(7)) else {
                continue;
            };
            assert_eq!(
                deliver(fake, &key, Packet::Segment(8)),
                Some(on),
                "the handshake of {number}"
            );
            self.on.insert(number, on);
        }
        self.next += how_many;
    }

    /// Every connection speaks, and is heard by whoever has it.
    pub(super) fn speak(&self, fake: &mut Fake, when: &str) {
        for (number, on) in &self.on {
            assert_eq!(
                deliver(fake, &key(*number), Packet::Segment(9)).as_ref(),
                Some(on),
                "connection {number} {when}"
            );
        }
    }

    /// These backends die, and with them what they had.
    pub(super) fn lose(&mut self, dead: impl Fn(u8) -> bool) {
        self.on.retain(|_, on| match on.ip() {
            IpAddr::V4(ip) => !dead(ip.octets()[3]),
            IpAddr::V6(_) => true,
        });
    }
}

fn states(reconciler: &Reconciler<Fake, Node>) -> crate::model::status::SlotStates {
    reconciler.status().services[0].slots
}

/// Lets a window pass in which all speak, and then what is silent be over.
fn settle(reconciler: &mut Reconciler<Fake, Node>, connections: &Connections) {
    for _ in 0..2 {
        reconciler.ahead += IDLE;
        reconciler.dataplane.now += 4;
        connections.speak(&mut reconciler.dataplane, "before the sweep");
        reconciler.sweep();
        connections.speak(&mut reconciler.dataplane, "after the sweep");
    }
}

/// A change, and which backends do not outlive it.
struct Change {
    name: &'static str,
    to: String,
    down: &'static [u8],
    /// An authority may come.
    steers: bool,
}

/// The service steers challenges.
fn steering() -> String {
    short().replace("idle-timeout", "steer-challenges = true\nidle-timeout")
}

fn more(backends: impl Iterator<Item = u8>) -> String {
    let backend = |i| format!("[[service.backend]]\nname = \"web{i}\"\naddress = \"10.0.0.{i}:80\"\n");
    short() + &backends.map(backend).collect::<String>()
}

fn changes() -> Vec<Change> {
    let change = |name, to: String, down| Change {
        name,
        to,
        down,
        steers: false,
    };
    let web1 = "name = \"web1\"";
    let web2 = "[[service.backend]]\nname = \"web2\"\naddress = \"10.0.0.2:80\"\n";
    vec![
        change("a backend comes", more(4..=4), &[]),
        change(
            "one drains",
            short().replace(web1, &format!("{web1}\nstate = \"drain\"")),
            &[],
        ),
        change("weights", short().replace(web1, &format!("{web1}\nweight = 7")), &[]),
        change("one leaves the file", short().replace(web2, ""), &[]),
        change(
            "one is disabled",
            short().replace(web1, &format!("{web1}\nstate = \"disabled\"")),
            &[1],
        ),
        change("one fails", short(), &[3]),
        change("the ring is doubled", short().replace("256", "512"), &[]),
        change("ids are outgrown", more(4..=30), &[]),
        change("both, and one fails", more(4..=30).replace("256", "1024"), &[2]),
        change("dsr becomes tunnel", short().replace("\"dsr\"", "\"tunnel\""), &[]),
        Change {
            steers: true,
            ..change("an authority comes, and one fails", steering(), &[3])
        },
    ]
}

fn apply(reconciler: &mut Reconciler<Fake, Node>, change: &Change) {
    reconciler.facts.reconfigure(config(&change.to));
    reconciler.facts.steer(change.steers);
    tell(&mut reconciler.facts, change.down);
}

/// Health and next hops of everybody.
fn tell(facts: &mut Facts, down: &[u8]) {
    for last in 1..=30 {
        facts.route([10, 0, 0, last].into(), hop(last, 3));
        facts.judge(verdict(
            last,
            if down.contains(&last) { Health::Down } else { Health::Up },
        ));
    }
}

async fn started() -> (Reconciler<Fake, Node>, Connections) {
    let mut reconciler = attached(Fake::default(), Node::default(), well(&short()), SEED);
    assert!(reconciler.converge().await);
    let mut connections = Connections::default();
    connections.open(&mut reconciler.dataplane, 150);
    assert!(
        reconciler.dataplane.known.is_empty(),
        "in the steady state nothing is written down"
    );
    (reconciler, connections)
}

/// The next manager, over what one that was killed has left.
fn successor(dead: Reconciler<Fake, Node>, change: &Change) -> Reconciler<Fake, Node> {
    let Reconciler {
        mut dataplane,
        addresses,
        ahead,
        ..
    } = dead;
    dataplane.fault = Box::new(|_| false);
    let mut facts = Facts::new(config(&change.to));
    facts.steer(change.steers);
    tell(&mut facts, change.down);
    let mut next = attached(dataplane, addresses, facts, SEED);
    next.ahead = ahead;
    next
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_outlive_changes_and_managers_that_are_killed_at_every_write() {
    for change in changes() {
        let (mut smooth, _) = started().await;
        let before = smooth.dataplane.log.len();
        apply(&mut smooth, &change);
        assert!(smooth.converge().await, "{}", change.name);
        let steps = smooth.dataplane.log.len() - before;
        assert!(steps > 0, "{}", change.name);
        for killed in 0..=steps {
            let when = |stage: &str| format!("{stage}, {}, killed at {killed} of {steps}", change.name);
            let (mut first, mut connections) = started().await;
            let number = first.dataplane.log.len() + killed;
            first.dataplane.fault = Box::new(move |operation| operation >= number);
            apply(&mut first, &change);
            assert_eq!(first.converge().await, killed == steps, "{}", when("the change"));
            connections.lose(|last| change.down.contains(&last));
            connections.speak(&mut first.dataplane, &when("without a manager"));
            connections.open(&mut first.dataplane, 30);
            // A connection that the dead have got between two writes is theirs.
            connections.lose(|last| change.down.contains(&last));

            let mut second = successor(first, &change);
            assert!(second.converge().await, "{}", when("the next manager"));
            connections.speak(&mut second.dataplane, &when("with the next manager"));
            connections.open(&mut second.dataplane, 30);
            settle(&mut second, &connections);
            assert_eq!(states(&second).moving, 0, "{}", when("at the end"));
            // Everybody hangs up, and after a while nothing is known any more.
            second.dataplane.now += 100;
            second.sweep();
            let states = states(&second);
            assert_eq!(
                (states.moving, states.settled),
                (0, 0),
                "{}",
                when("when all have gone")
            );
            assert!(second.dataplane.known.is_empty(), "{}", when("when all have gone"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_of_the_node_outlive_its_turn_and_the_manager() {
    let gone = Change {
        name: "the authority goes",
        to: steering(),
        down: &[],
        steers: false,
    };
    let steered = || async {
        let (mut reconciler, mut connections) = started().await;
        let comes = Change {
            steers: true,
            to: steering(),
            ..gone
        };
        apply(&mut reconciler, &comes);
        assert!(reconciler.converge().await);
        let before = connections.clone();
        connections.open(&mut reconciler.dataplane, 60);
        let node = Some(NODE.parse().unwrap());
        assert!(
            (150..210).all(|number| connections.on.get(&number) == node.as_ref()),
            "new ones are the node's"
        );
        before.speak(&mut reconciler.dataplane, "which the backends had");
        (reconciler, connections)
    };
    let (mut smooth, connections) = steered().await;
    settle(&mut smooth, &connections);
    let flow = FlowQuery {
        protocol: Protocol::Tcp,
        source: "203.0.113.9:5000".parse().unwrap(),
        destination: "192.0.2.10:80".parse().unwrap(),
    };
    assert!(matches!(smooth.explain(&flow), Explanation::Proxied { pools, .. } if pools[0].ready.len() == 3));
    let before = smooth.dataplane.log.len();
    apply(&mut smooth, &gone);
    assert!(smooth.converge().await);
    let steps = smooth.dataplane.log.len() - before;
    for killed in 0..=steps {
        let (mut first, mut connections) = steered().await;
        let number = first.dataplane.log.len() + killed;
        first.dataplane.fault = Box::new(move |operation| operation >= number);
        apply(&mut first, &gone);
        first.converge().await;
        connections.speak(&mut first.dataplane, "without a manager");
        let mut second = successor(first, &gone);
        assert!(second.converge().await);
        connections.open(&mut second.dataplane, 30);
        assert!((210..240).all(|number| connections.on[&number].ip() != NODE.parse::<SocketAddr>().unwrap().ip()));
        settle(&mut second, &connections);
        assert_eq!(states(&second).moving, 0, "killed at {killed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_that_is_killed_at_any_write_breaks_nothing() {
    for killed in 0..12 {
        let (mut first, mut connections) = started().await;
        let changes = changes();
        let change = &changes[1];
        apply(&mut first, change);
        assert!(first.converge().await);
        connections.speak(&mut first.dataplane, "while slots move");
        connections.open(&mut first.dataplane, 40);
        first.ahead += IDLE;
        let number = first.dataplane.log.len() + killed;
        first.dataplane.fault = Box::new(move |operation| operation >= number);
        first.sweep();
        connections.speak(&mut first.dataplane, "after the sweep that was killed");
        let mut second = successor(first, change);
        assert!(second.converge().await);
        connections.speak(&mut second.dataplane, "with the next manager");
        settle(&mut second, &connections);
        assert_eq!(states(&second).moving, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_stays_open_while_there_is_no_room() {
    let (mut reconciler, connections) = started().await;
    let changes = changes();
    reconciler.dataplane.room = 4;
    apply(&mut reconciler, &changes[1]);
    assert!(reconciler.converge().await);
    let moving = states(&reconciler).moving;
    assert!(moving > 0);
    for _ in 0..4 {
        reconciler.ahead += IDLE;
        connections.speak(&mut reconciler.dataplane, "in a full table");
        reconciler.sweep();
        assert_eq!(states(&reconciler).moving, moving);
    }
    let flows = reconciler.status().flows.flows;
    assert!(flows.no_room > 0 && (flows.entries, flows.capacity) == (4, 4));
    // There is room again, and all that live are written down before the window is over.
    reconciler.dataplane.room = 1 << 10;
    connections.speak(&mut reconciler.dataplane, "with room");
    reconciler.ahead += IDLE - Duration::from_secs(1);
    reconciler.sweep();
    assert_eq!(
        states(&reconciler).moving,
        moving,
        "it began anew when there was no room"
    );
    settle(&mut reconciler, &connections);
    assert_eq!(states(&reconciler).moving, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_fails_and_comes_back_leaves_the_others_alone() {
    let (mut reconciler, mut connections) = started().await;
    for round in 0..3 {
        reconciler.facts.judge(verdict(2, Health::Down));
        assert!(reconciler.converge().await);
        connections.lose(|last| last == 2);
        connections.speak(&mut reconciler.dataplane, "while one is down");
        connections.open(&mut reconciler.dataplane, 20);
        reconciler.facts.judge(verdict(2, Health::Up));
        assert!(reconciler.converge().await);
        connections.speak(&mut reconciler.dataplane, "when it is back");
        connections.open(&mut reconciler.dataplane, 20);
        if round == 1 {
            settle(&mut reconciler, &connections);
        }
    }
    settle(&mut reconciler, &connections);
    assert_eq!(states(&reconciler).moving, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_ends_when_its_time_is_over() {
    let (mut reconciler, mut connections) = started().await;
    apply(&mut reconciler, &changes()[1]);
    assert!(reconciler.converge().await);
    settle(&mut reconciler, &connections);
    let backend = |reconciler: &Reconciler<Fake, Node>| reconciler.status().services[0].backends[0].clone();
    let known = backend(&reconciler).known_flows;
    assert!(known > 0);
    reconciler.ahead += Duration::from_secs(3600);
    assert!(reconciler.converge().await);
    assert_eq!(
        (backend(&reconciler).cut_flows, backend(&reconciler).slots),
        (u64::from(known), 0)
    );
    let others = connections.on.len();
    connections.lose(|last| last == 1);
    assert_eq!(others - connections.on.len(), known as usize);
    settle(&mut reconciler, &connections);
    assert_eq!(backend(&reconciler).known_flows, 0);
    assert_eq!(backend(&reconciler).cut_flows, u64::from(known), "once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_has_left_the_file_finishes_its_flows() {
    let (mut reconciler, mut connections) = started().await;
    let changes = changes();
    apply(&mut reconciler, &changes[3]);
    assert!(reconciler.converge().await);
    let leaving = |reconciler: &Reconciler<Fake, Node>| {
        let backends = &reconciler.status().services[0].backends;
        let leaving = backends.iter().filter(|b| b.leaving);
        leaving.map(|b| (b.name.to_string(), b.slots)).collect::<Vec<_>>()
    };
    assert_eq!(leaving(&reconciler), [("web2".to_owned(), 0)]);
    settle(&mut reconciler, &connections);
    assert_eq!(leaving(&reconciler).len(), 1, "it has flows");
    // Another manager knows it by its address.
    let mut second = successor(reconciler, &changes[3]);
    assert!(second.converge().await);
    assert_eq!(leaving(&second), [("10.0.0.2:80".to_owned(), 0)]);
    tell(&mut second.facts, &[]);
    assert!(second.converge().await);
    settle(&mut second, &connections);
    // It comes back into the file.
    second.facts.reconfigure(config(&short()));
    assert!(second.converge().await);
    assert!(leaving(&second).is_empty() && slots(&second)[1] > 0);
    connections.speak(&mut second.dataplane, "when it is back");
    apply(&mut second, &changes[3]);
    assert!(second.converge().await);
    settle(&mut second, &connections);
    connections.lose(|last| last == 2);
    second.dataplane.now += 20;
    connections.speak(&mut second.dataplane, "without those that have ended");
    assert!(second.sweep(), "it goes");
    assert!(second.converge().await);
    assert!(leaving(&second).is_empty());
    connections.speak(&mut second.dataplane, "when it has gone");
    assert_eq!(second.dataplane.installed().unwrap().members.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_silent_for_too_long_is_forgotten_where_its_slot_changes() {
    let (mut reconciler, connections) = started().await;
    let slots = |fake: &Fake| -> Vec<Slot> {
        let located = |&number: &u32| locate(fake.tables(), fake.seed, Flow::from(&key(number)));
        connections
            .on
            .keys()
            .map(|number| located(number).unwrap().slot)
            .collect()
    };
    let before = slots(&reconciler.dataplane);
    apply(&mut reconciler, &changes()[1]);
    assert!(reconciler.converge().await);
    // Nobody speaks: the window closes without anybody being known.
    reconciler.ahead += IDLE;
    reconciler.sweep();
    let states = states(&reconciler);
    assert_eq!((states.moving, states.settled), (0, 0));
    let after = slots(&reconciler.dataplane);
    assert_ne!(before, after);
    for ((&number, on), (before, after)) in connections.on.iter().zip(before.iter().zip(after)) {
        let has = deliver(&mut reconciler.dataplane, &key(number), Packet::Segment(9));
        assert_eq!(has.as_ref() == Some(on), *before == after, "{number}: {has:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_speaks_between_a_look_and_the_end_stays_known() {
    let (mut reconciler, connections) = started().await;
    apply(&mut reconciler, &changes()[1]);
    assert!(reconciler.converge().await);
    settle(&mut reconciler, &connections);
    let before = (reconciler.dataplane.known.len(), states(&reconciler).settled);
    assert!(before.0 > 0 && before.1 > 0);
    // All have been silent for too long, and speak just before they are forgotten.
    reconciler.dataplane.now += 100;
    reconciler.dataplane.meanwhile = Box::new(|known| {
        for entry in known.values_mut() {
            entry.word = entry.heard(Said::Sends, 2000);
        }
    });
    reconciler.sweep();
    assert_eq!((reconciler.dataplane.known.len(), states(&reconciler).settled), before);
    connections.speak(&mut reconciler.dataplane, "after the sweep");
    reconciler.dataplane.meanwhile = Box::new(|_| ());
    reconciler.dataplane.now = 2100;
    reconciler.sweep();
    assert_eq!((reconciler.dataplane.known.len(), states(&reconciler).settled), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn forgetting_ends_when_none_is_left_that_was_there() {
    let (mut reconciler, _) = started().await;
    let fake = &mut reconciler.dataplane;
    let strays = MapOp::ForgetFlows(Forget::default());
    let fill = |fake: &mut Fake| {
        for number in 0..10 {
            fake.known.insert(key(number), Entry::new(MemberIndex(1), fake.now));
        }
    };
    fill(fake);
    // Another one comes into the place of each, once; and they are heard of all the time.
    let mut looks = 0;
    fake.meanwhile = Box::new(move |known| {
        for entry in known.values_mut() {
            let member = if looks == 0 { MemberIndex(2) } else { entry.member() };
            *entry = Entry::new(member, entry.seen() + 1);
        }
        looks += 1;
    });
    fake.apply(&strays).unwrap();
    assert!(fake.known.is_empty());
    // Somebody claims one, and never goes on.
    fill(fake);
    fake.meanwhile = Box::new(|known| {
        let entry = known.entry(key(3)).or_default();
        entry.word = entry.claimed();
    });
    assert!(matches!(
        fake.apply(&strays),
        Err(ApplyError::Busy { map: "FLOWS", left: 1 })
    ));
    assert_eq!(fake.known.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_with_the_same_backends_agree() {
    let backend =
        |i: u8| format!("[[service.backend]]\nname = \"web{i}\"\naddress = \"10.0.0.{i}:80\"\nweight = {i}\n");
    let head = short();
    let head = head.split("[[service.backend]]").next().unwrap();
    let file = |order: &[u8]| head.to_owned() + &order.iter().map(|&i| backend(i)).collect::<String>();
    let node = |toml: String| async move {
        let mut facts = Facts::new(config(&toml));
        tell(&mut facts, &[]);
        let mut reconciler = attached(Fake::default(), Node::default(), facts, SEED);
        assert!(reconciler.converge().await);
        reconciler
    };
    let first = node(file(&[1, 2, 3, 4, 5])).await;
    let mut second = node(file(&[5, 9, 3, 1])).await;
    // It has come to the same backends by another way, and its ids are others.
    second.facts.reconfigure(config(&file(&[4, 5, 2, 3, 1])));
    tell(&mut second.facts, &[]);
    assert!(second.converge().await);
    second.ahead += IDLE;
    second.sweep();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..10_000 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let [a, b, c, d, e, f, ..] = random.to_be_bytes();
        let flow = FlowQuery {
            protocol: Protocol::Tcp,
            source: ([a, b, c, d], u16::from_be_bytes([e, f])).into(),
            destination: "192.0.2.20:80".parse().unwrap(),
        };
        let explained = first.explain(&flow);
        assert!(matches!(explained, Explanation::Forwarded { .. }), "{explained:?}");
        assert_eq!(second.explain(&flow), explained);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn doubling_a_ring_moves_only_slots_whose_backend_differs() {
    let (mut reconciler, _) = started().await;
    let ring = |reconciler: &Reconciler<Fake, Node>| {
        let installed = reconciler.dataplane.installed().unwrap();
        installed.rings.into_values().next().unwrap().slots
    };
    let before = ring(&reconciler);
    reconciler.facts.reconfigure(config(&short().replace("256", "512")));
    assert!(reconciler.converge().await);
    let after = ring(&reconciler);
    assert_eq!((before.len(), after.len()), (256, 512));
    let mut moved = 0;
    for (i, slot) in after.iter().enumerate() {
        let old = before[i % 256].current();
        if slot.current() == old {
            assert_eq!(*slot, Slot::stable(old));
        } else {
            assert_eq!(*slot, Slot::moving(slot.current(), old));
            moved += 1;
        }
    }
    assert!(moved > 0);
    // Smaller it becomes only where nothing is to be kept.
    reconciler.facts.reconfigure(config(&short()));
    assert!(!reconciler.converge().await);
    let fault = reconciler.status().fault.unwrap();
    assert!(fault.contains("192.0.2.10:80 keeps its 512 slots"), "{fault}");
    assert_eq!(ring(&reconciler), after);
}
