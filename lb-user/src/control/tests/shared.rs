//! Two nodes with one file: what one knows of flows, the other one goes on with.

use lb_common::addr::{Ipv6Be, PortBe};
use lb_common::flow::Ports;
use lb_common::id::MemberId;
use lb_common::nat::{NatKey, Side, Stamp, Translation};
use lb_common::service::feature;
use lb_common::slot::Entry;

use super::flows::{Connections, short};
use super::*;
use crate::control::shared::{Message, PeerEnds};
use crate::model::peers::{FlowState, SharedFlow, Taken};

const PEERS: &str = "[peers]\nnodes = { lb1 = \"10.0.0.251:8473\", lb2 = \"10.0.0.252:8473\" }\nkey-file = \"/key\"\n";

/// A node of the two.
struct One {
    reconciler: Reconciler<Fake, Node>,
    ends: PeerEnds,
    told: tokio::sync::broadcast::Receiver<Message>,
}

impl One {
    async fn new(toml: &str, facts: impl FnOnce(&mut Facts)) -> Self {
        let mut known = well(&format!("{toml}{PEERS}"));
        facts(&mut known);
        let mut reconciler = attached(Fake::default(), Node::default(), known, SEED);
        let ends = reconciler.connect_peers();
        assert!(reconciler.converge().await);
        Self {
            told: ends.flows.subscribe(),
            reconciler,
            ends,
        }
    }

    async fn judge(&mut self, verdict: Verdict) {
        self.reconciler.facts.judge(verdict);
        assert!(self.reconciler.converge().await);
    }

    fn fake(&mut self) -> &mut Fake {
        &mut self.reconciler.dataplane
    }

    /// What peers have been told since the last time.
    fn told(&mut self) -> Vec<SharedFlow> {
        let mut all = Vec::new();
        while let Ok(message) = self.told.try_recv() {
            all.extend_from_slice(&message.flows);
        }
        all
    }

    fn takes(&mut self, flows: &[SharedFlow]) -> Taken {
        self.reconciler.take_flows(flows)
    }
}

fn taken(taken: usize) -> Taken {
    Taken {
        taken: taken as u64,
        ..Taken::default()
    }
}

fn key(client: u16) -> NatKey {
    NatKey {
        source: Ipv6Be::mapped([198, 51, 100, 1].into()),
        destination: Ipv6Be::mapped([192, 0, 2, 10].into()),
        ports: Ports {
            source: PortBe::new(client),
            destination: PortBe::new(80),
        },
        protocol: 6,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_in_the_middle_of_a_change_loses_nothing() {
    let without_web2 = |facts: &mut Facts| assert!(facts.judge(verdict(2, Health::Down)));
    for late in [false, true] {
        let mut first = One::new(&short(), without_web2).await;
        let mut second = One::new(&short(), without_web2).await;
        let mut connections = Connections::default();
        connections.open(first.fake(), 200);
        first.judge(verdict(2, Health::Up)).await;
        if !late {
            second.judge(verdict(2, Health::Up)).await;
        }
        connections.speak(first.fake(), "while slots move");
        connections.open(first.fake(), 200);
        let told = first.reconciler.all_flows();
        assert!(told.len() > 100, "slots move: {}", told.len());
        assert_eq!(second.takes(&told), taken(told.len()));
        if late {
            assert!(
                second.fake().known.is_empty(),
                "of stable slots nothing is written down"
            );
            second.judge(verdict(2, Health::Up)).await;
            second.reconciler.share();
        }
        assert_eq!(second.fake().known.len(), told.len());
        connections.speak(second.fake(), "at the other node");
        connections.speak(first.fake(), "back again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_too_early_is_not_kept_for_ever() {
    let first = One::new(&short(), |_| ()).await;
    let mut second = One::new(&short(), |_| ()).await;
    let flow = SharedFlow {
        key: key(1),
        backend: (Ipv6Be::mapped([10, 0, 0, 1].into()), PortBe::new(80)),
        age: 0,
        state: FlowState::Known { flags: 0, sequence: 0 },
    };
    assert_eq!(second.takes(&[flow]), taken(1));
    second.fake().now += 57;
    second.reconciler.share();
    second.judge(verdict(2, Health::Down)).await;
    second.judge(verdict(2, Health::Up)).await;
    second.reconciler.share();
    assert!(second.fake().known.is_empty());
    assert!(first.reconciler.all_flows().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn tracked_flows_keep_their_backend_whatever_its_number() {
    let turn = ONE.replace(
        "table-size = 256",
        "balance = \"round-robin\"\nidle-timeout = \"800s\"\ntable-size = 256",
    );
    let mut first = One::new(&turn, |_| ()).await;
    // The other node has met its backends in another order.
    let alone = turn.replace("name = \"web1\"\naddress = \"10.0.0.1:80\"\n[[service.backend]]\n", "");
    let mut second = One::new(&alone, |_| ()).await;
    second.reconciler.facts.reconfigure(config(&format!("{turn}{PEERS}")));
    second.reconciler.facts.judge(verdict(1, Health::Up));
    assert!(second.reconciler.converge().await);
    let index = |one: &One, last: u8| {
        let ids = &one.reconciler.carried.placement.members[0];
        MemberIndex(ids[&([10, 0, 0, last], 80).into()].0 as u16)
    };
    assert_ne!(index(&first, 1), index(&second, 1));
    for last in 1..=3 {
        let entry = Entry::known(index(&first, last), u16::from(last == 3) << 1, 0, 990);
        first.fake().tracked.insert(key(last.into()), entry);
    }
    let news: Vec<_> = (1..=3).map(key).collect();
    second.fake().now = 5_000;
    first.reconciler.tell_news(&news);
    let told = first.told();
    assert_eq!(second.takes(&told), taken(3));
    for last in 1..=3 {
        let there = second.fake().tracked[&key(last.into())];
        assert_eq!(there.member(), index(&second, last));
        assert_eq!(
            (there.seen(), there.is_closing()),
            (4_990, last == 3),
            "by its own clock"
        );
    }

    // Who has heard of it later is right; and nobody is told what he has told.
    first.reconciler.share();
    second.reconciler.share();
    assert_eq!((first.told(), second.told()), (vec![], vec![]));
    let other = Entry::known(index(&second, 2), 0, 0, 5_001);
    second.fake().tracked.insert(key(1), other);
    assert_eq!(second.takes(&told), taken(3));
    assert_eq!(second.fake().tracked[&key(1)], other);
    second.reconciler.share();
    let back = second.told();
    assert_eq!(back.len(), 1, "packets have come here");
    first.fake().now = 1_001;
    assert_eq!(first.takes(&back), taken(1));
    assert_eq!(first.fake().tracked[&key(1)].member(), index(&first, 2));

    // A sign of life goes out before the flow would be taken for silent.
    let idle = lb_common::nat::at_least(800_000_000_000);
    for (seen, expected) in [(5_001 + idle / 8 - 1, 0), (5_001 + idle / 8, 1)] {
        let lives = Entry::known(index(&second, 2), 0, 0, seen);
        second.fake().now = seen;
        second.fake().tracked.insert(key(1), lives);
        second.reconciler.share();
        assert_eq!(second.told().len(), expected, "{seen}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn translated_flows_are_told_where_their_source_moves() {
    let nat = |source: &str| {
        let keys = format!("nat = {{ source = \"{source}\", ports = \"30000-30009\" }}\ntable-size");
        ONE.replace("\"dsr\"", "\"nat\"").replace("table-size", &keys)
    };
    let mut first = One::new(&nat("192.0.2.20"), |_| ()).await;
    let mut second = One::new(&nat("192.0.2.20"), |_| ()).await;
    assert!(first.fake().installed().unwrap().features & feature::NEWS != 0);
    let flow = |source: [u8; 4], number: u16| {
        let made = NatKey {
            source: Ipv6Be::mapped(source.into()),
            destination: Ipv6Be::mapped([10, 0, 0, 1].into()),
            ports: Ports {
                source: PortBe::new(30_000 + number),
                destination: PortBe::new(80),
            },
            protocol: 6,
        };
        let (ip_delta, l4_delta) = key(number).differences(&made);
        Translation {
            stamp: Stamp::opened(900).heard(Side::Backend, lb_common::nat::Event::DATA, 990),
            source: made.source,
            destination: made.destination,
            ports: made.ports,
            member: MemberId::NONE,
            client: lb_common::backend::MacFlags::new(Mac([2, 9, 9, 9, 9, 9]), 0),
            local: lb_common::backend::MacFlags::default(),
            interface: 77,
            idle: 800,
            ip_delta,
            l4_delta,
            pad: [0; 4],
        }
    };
    first.fake().flows.insert(key(1), flow([192, 0, 2, 20], 1));
    first.fake().flows.insert(key(2), flow([10, 0, 0, 254], 2));
    first.fake().flows.insert(key(3), flow([198, 51, 100, 1], 3));
    first.reconciler.tell_news(&[key(1), key(2), key(3)]);
    let mut told = first.told();
    told.sort_by_key(|flow| flow.key.ports.source.host());
    let clients: Vec<_> = told.iter().map(|flow| flow.key.ports.source.host()).collect();
    assert_eq!(
        clients,
        [1, 3],
        "answers to the node's own address do not come to another"
    );
    assert_eq!(first.reconciler.all_flows().len(), 2);
    second.fake().now = 3_000;
    assert_eq!(second.takes(&told), taken(2));
    let (there, here) = (second.fake().flows[&key(1)], first.fake().flows[&key(1)]);
    let id = second.reconciler.carried.placement.members[0][&"10.0.0.1:80".parse().unwrap()];
    let eth0 = interface("eth0", 3);
    let expected = Translation {
        stamp: Stamp(here.stamp.0 & 0xffff_ffff | 2_990 << 32),
        member: id,
        local: lb_common::backend::MacFlags::new(eth0.mac, 0),
        interface: eth0.index,
        ..here
    };
    assert_eq!(there, expected);

    // What this node cannot serve so is not taken.
    let elsewhere = SharedFlow {
        backend: (Ipv6Be::mapped([10, 0, 0, 9].into()), PortBe::new(80)),
        ..told[0]
    };
    let mut nobody = told[0];
    nobody.key.destination = Ipv6Be::mapped([192, 0, 2, 99].into());
    let known = SharedFlow {
        state: FlowState::Known { flags: 0, sequence: 0 },
        ..told[0]
    };
    let mut own = told[0];
    if let FlowState::Translated { source, .. } = &mut own.state {
        source.0 = Ipv6Be::mapped([10, 0, 0, 254].into());
    }
    let foreign = [elsewhere, nobody, known, own];
    assert_eq!(second.takes(&foreign).foreign, foreign.len() as u64);
    assert_eq!(second.fake().flows.len(), 2);
    second.fake().room = 2;
    let mut another = told[0];
    another.key = key(9);
    assert_eq!(second.takes(&[another]).no_room, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_peers_nothing_is_told() {
    let mut one = One::new(ONE, |_| ()).await;
    one.reconciler.facts.reconfigure(config(ONE));
    assert!(one.reconciler.converge().await);
    assert_eq!(one.fake().installed().unwrap().features & feature::NEWS, 0);
    one.fake().tracked.insert(key(1), Entry::new(MemberIndex(1), 1_000));
    one.reconciler.tell_news(&[key(1)]);
    one.reconciler.share();
    assert_eq!(one.told(), []);
    assert!(!*one.ends.ready.borrow());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_not_ready_before_it_has_heard() {
    let mut one = One::new(ONE, |_| ()).await;
    let (_status, mut fitness) = one.reconciler.connect_ha();
    let mut settled = |one: &One| {
        one.reconciler.tell_fitness();
        fitness.borrow_and_update().settled
    };
    assert!(!settled(&one), "peers may know what it does not");
    assert!(*one.ends.ready.borrow(), "and it can take that in");
    one.ends.status.send_modify(|status| status.settled = true);
    assert!(settled(&one));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_program_names_is_told_at_once() {
    let turn = ONE.replace("table-size = 256", "balance = \"round-robin\"\ntable-size = 256");
    let mut one = One::new(&turn, |_| ()).await;
    one.fake().tracked.insert(key(1), Entry::new(MemberIndex(1), 1_000));
    // From here on no sweep has anything to tell.
    one.reconciler.share();
    assert_eq!(one.told().len(), 1);
    let One {
        reconciler,
        mut told,
        ends: _ends,
    } = one;
    let program = reconciler.dataplane.told.clone().unwrap();
    let _running = Running::start(reconciler, &format!("{turn}{PEERS}"));
    program.send(vec![key(1), key(2)]).await.unwrap();
    let message = tokio::time::timeout(std::time::Duration::from_secs(20), told.recv()).await;
    let message = message.expect("nothing is told").unwrap();
    assert_eq!(message.flows.iter().map(|flow| flow.key).collect::<Vec<_>>(), [key(1)]);
}
