//! Flows that are written down: slots in motion with every entry that `FLOWS` may hold, and services that choose by turn,
//! by load or by source.
//!
//! Past 500 lines: most of it are tables of entries and packets, each read against the rules as one.

#![allow(clippy::unwrap_used, reason = "a helper of tests may panic as they do")]

use std::collections::BTreeMap;
use std::net::IpAddr;

use lb_common::addr::Mac;
use lb_common::backend::MacFlags;
use lb_common::flow::FlowV4;
use lb_common::id::{MemberId, MemberIndex};
use lb_common::nat::NatKey;
use lb_common::ring::Slot;
use lb_common::service::Decision;
use lb_common::slot::{Entry, Packet, Said, Write, decide};
use lb_common::stats::{DropReason, FlowEvent};
use lb_tests::gate::{self, Gate};
use lb_tests::nat::{DROP, Flow, Node, TX, now};
use lb_tests::packet::{self, ACK, FIN, RST, SYN};
use lb_tests::rig::{CLIENT, NODE, SEED, config, mac_of, rig_of};
use lb_tests::shape::{fragments, tagged};
use lb_tests::toml;
use lb_user::dataplane::Dataplane as _;
use lb_user::dataplane::kernel::Kernel;
use lb_user::plan::{MapOp, ServiceKey, Table};

fn services(balance: &str) -> String {
    let web = toml::service("web", "dsr", &["192.0.2.10:80"]).unprobed();
    let dns = toml::service("dns", "dsr", &["192.0.2.10:53"]).udp();
    toml::file([(web, 80), (dns, 53)].map(|(service, port)| {
        let service = service.with(format_args!("balance = \"{balance}\""));
        service.backends((1..=3).map(|i| format!("10.0.0.{i}:{port}")))
    }))
}

async fn node(balance: &str) -> Option<Node> {
    if gate::root() == Gate::Skip {
        return None;
    }
    Some(Node::new(&services(balance)).await)
}

fn service(node: &mut Node, flow: Flow) -> Decision {
    node.kernel().installed().unwrap().entries[&ServiceKey::service(flow.destination, flow.protocol)]
}

fn hash(flow: Flow) -> u64 {
    let key = flow.key();
    let flow = FlowV4 {
        source: key.source.last_v4(),
        destination: key.destination.last_v4(),
        ports: key.ports,
        protocol: key.protocol as u8,
    };
    flow.hash(SEED)
}

fn web(port: u16) -> Flow {
    Flow::tcp("198.51.100.7:1", "192.0.2.10:80").from_port(port)
}

fn dns(port: u16) -> Flow {
    Flow::udp("198.51.100.7:1", "192.0.2.10:53").from_port(port)
}

/// Which backend gets a frame, by its last octet; `None` for a drop.
#[track_caller]
fn sent(node: &mut Node, frame: &[u8]) -> Option<u8> {
    let (action, output) = node.send(frame);
    match action {
        TX => {
            assert_eq!(output[6..], [&NODE.0, &frame[12..]].concat());
            Some(output[5])
        }
        DROP => None,
        other => panic!("action {other}"),
    }
}

/// A segment with this sequence number.
fn segment(flow: Flow, flags: u8, number: u32, data: &[u8]) -> Vec<u8> {
    let mut frame = flow.frame(CLIENT, flags, data);
    frame[38..42].copy_from_slice(&number.to_be_bytes());
    frame
}

/// What a packet is, what it says, and its frame.
fn packets(flow: Flow) -> Vec<(Packet, Said, Vec<u8>)> {
    if flow.protocol.number() == 17 {
        return vec![(Packet::Datagram, Said::Sends, flow.frame(CLIENT, 0, b"query"))];
    }
    let error = packet::icmp(
        flow.source.ip(),
        flow.destination.ip(),
        3,
        4,
        &[&[0; 4], &flow.reversed().packet(ACK, b"")[..]].concat(),
    );
    let later = fragments(&flow.packet(ACK, &[0; 100]), 64, 1)[1].clone();
    let tcp = |packet, said, flags, number, data: &[u8]| (packet, said, segment(flow, flags, number, data));
    vec![
        tcp(Packet::Syn(1000), Said::Sends, SYN, 1000, b""),
        tcp(Packet::Syn(7), Said::Sends, SYN, 7, b""),
        tcp(Packet::Segment(1001), Said::Nothing, ACK, 1001, b""),
        tcp(Packet::Segment(1001), Said::Sends, ACK, 1001, b"data"),
        tcp(Packet::Segment(1001), Said::Ends, ACK | FIN, 1001, b""),
        tcp(Packet::Segment(999), Said::Nothing, ACK, 999, b""),
        tcp(
            Packet::Segment(1001 + (64 << 10)),
            Said::Sends,
            ACK,
            1001 + (64 << 10),
            b"data",
        ),
        tcp(Packet::Segment(5), Said::Nothing, SYN | ACK, 5, b""),
        tcp(Packet::Reset(1001), Said::Ends, RST, 1001, b""),
        tcp(Packet::Reset(5), Said::Ends, RST | ACK, 5, b""),
        (Packet::Mention, Said::Nothing, tagged(NODE, CLIENT, &[], &error)),
        (Packet::Mention, Said::Nothing, tagged(NODE, CLIENT, &[], &later)),
    ]
}

/// Entries without the time.
fn timeless(entry: Option<Entry>) -> Option<Entry> {
    entry.map(|entry| Entry {
        word: entry.word & 0xffff_ffff,
        ..entry
    })
}

/// Every row of `slot::decide`, through the program: who gets the packet, and what is in `FLOWS` then.
#[tokio::test(flavor = "multi_thread")]
async fn slots_in_motion_follow_their_rules() {
    let Some(mut node) = node("maglev").await else { return };
    for flow in [web(40_000), dns(40_000)] {
        let decision = service(&mut node, flow);
        let installed = node.kernel().installed().unwrap();
        let index = |last: u8| {
            let ip = IpAddr::from([10, 0, 0, last]);
            let base = decision.member_base();
            let ours = |id: &MemberId| id.0 > base && id.0 <= base + 3;
            let (id, _) = installed
                .members
                .iter()
                .find(|(id, m)| ours(id) && m.address.to_ip() == ip)
                .unwrap();
            MemberIndex((id.0 - base) as u16)
        };
        let (a, b, dead) = (index(1), index(2), index(3));
        let last = |member: MemberIndex| {
            [(a, 1), (b, 2), (dead, 3)]
                .into_iter()
                .find(|(m, _)| *m == member)
                .map(|(_, last)| last)
        };
        let id = decision.member(dead);
        let mut member = installed.members[&id];
        member.next_hop = MacFlags::new(member.next_hop.mac(), MacFlags::RESOLVED);
        node.kernel().apply(&MapOp::PutMember(id, member)).unwrap();
        let alive = |member: MemberIndex| member == a || member == b;
        // Teaches the later fragment its ports.
        let first = fragments(&flow.packet(ACK, &[0; 100]), 64, 1)[0].clone();
        node.send(&tagged(NODE, CLIENT, &[], &first));
        let place = hash(flow) as u32 & ((1 << decision.ring_log2()) - 1);
        let none = MemberIndex::NONE;
        let slots = [
            Slot::stable(b),
            Slot::moving(b, a),
            Slot::moving(b, dead),
            Slot::moving(none, a),
            Slot::moving(none, dead),
            Slot::settled(b),
            Slot::settled(none),
        ];
        let now = now();
        let claimed = Entry {
            word: Entry::new(a, now).claimed(),
            ..Entry::new(a, now)
        };
        let entries = [
            None,
            Some(Entry::new(a, now)),
            Some(Entry::new(b, now)),
            Some(Entry::new(dead, now)),
            Some(Entry {
                word: Entry::new(a, now).heard(Said::Ends, now),
                ..Entry::new(a, now)
            }),
            Some(Entry::opened(a, 1000, now)),
            Some(Entry::opened(b, 1000, now)),
            Some(Entry::opened(dead, 1000, now)),
            Some(claimed),
        ];
        let mut written = 0;
        for slot in slots {
            node.kernel().put_slot(decision.ring_block(), place, slot);
            for entry in entries {
                for (packet, said, frame) in packets(flow) {
                    let kernel = node.kernel();
                    if kernel.known(Table::Flows, &flow.key()).unwrap().is_some() {
                        kernel.put_known(Table::Flows, &flow.key(), None).unwrap();
                    }
                    if entry.is_some() {
                        kernel.put_known(Table::Flows, &flow.key(), entry.as_ref()).unwrap();
                    }
                    let what = format!("{slot:?} {entry:?} {packet:?} {said:?}");
                    let got = sent(&mut node, &frame);
                    let after = timeless(node.kernel().known(Table::Flows, &flow.key()).unwrap());
                    if slot.is_stable() {
                        assert_eq!((got, after), (last(slot.current()), timeless(entry)), "{what}");
                        continue;
                    }
                    let verdict = decide(slot, entry, packet, &alive);
                    let heard = |entry: Entry| Entry {
                        word: entry.heard(said, now),
                        ..entry
                    };
                    let expected = match verdict.write {
                        Write::Opened(number) => Some(Entry::opened(verdict.serve, number, now)),
                        Write::Known => Some(Entry::new(verdict.serve, now)),
                        Write::Renumber(number) => entry.map(|entry| Entry {
                            sequence: number,
                            ..heard(entry)
                        }),
                        Write::Confirm => entry.map(|entry| heard(entry.confirmed())),
                        Write::Nothing if packet != Packet::Mention => entry.map(|entry| {
                            if entry.member() == verdict.serve && !entry.is_claimed() {
                                heard(entry)
                            } else {
                                entry
                            }
                        }),
                        Write::Nothing | Write::Refused => entry,
                    };
                    written += u64::from(matches!(verdict.write, Write::Opened(_) | Write::Known));
                    let after = after.map(|after| Entry {
                        sequence: if after.is_syn_only() { after.sequence } else { 0 },
                        ..after
                    });
                    let expected = timeless(expected).map(|after| Entry {
                        sequence: if after.is_syn_only() { after.sequence } else { 0 },
                        ..after
                    });
                    assert_eq!((got, after), (last(verdict.serve), expected), "{what}: {verdict:?}");
                }
            }
        }
        assert!(written > 5);
        let member = installed.members[&id];
        node.kernel().apply(&MapOp::PutMember(id, member)).unwrap();
    }
}

/// What another node gets is not written down, whatever the slot.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_for_this_node_leaves_nothing() {
    for balance in ["maglev", "round-robin", "least-connections"] {
        let Some(mut node) = node(balance).await else { return };
        for flow in [web(40_000), dns(40_000)] {
            let decision = service(&mut node, flow);
            if balance == "maglev" {
                let place = hash(flow) as u32 & ((1 << decision.ring_log2()) - 1);
                node.kernel().put_slot(
                    decision.ring_block(),
                    place,
                    Slot::moving(MemberIndex(1), MemberIndex(2)),
                );
            }
            let stray = packet::frame(Mac([2, 0, 0, 0, 0, 0xee]), CLIENT, &flow.packet(SYN, b""));
            node.passes(&stray);
            let mut malformed = packet::frame(Mac([2, 0, 0, 0, 0, 0xee]), CLIENT, &web(1).packet(SYN, b""));
            malformed[14 + 32] = 0x10;
            node.passes(&malformed);
            assert_eq!(node.kernel().all_known(Table::Flows).unwrap(), []);
            assert_eq!(node.kernel().all_known(Table::Tracked).unwrap(), []);
            assert_eq!(node.kernel().load_of(MemberId(decision.member_base())), 0);
        }
    }
}

/// A source has one backend, whatever its ports.
#[tokio::test(flavor = "multi_thread")]
async fn a_source_stays_with_its_backend() {
    let Some(mut node) = node("source-hash").await else {
        return;
    };
    let mut counts = BTreeMap::<u8, u32>::new();
    for host in 1..=200 {
        let from = |port: u16| {
            let mut flow = web(port);
            flow.source.set_ip([198, 51, 100, host].into());
            flow.frame(CLIENT, SYN, b"")
        };
        let backend = sent(&mut node, &from(1)).unwrap();
        *counts.entry(backend).or_default() += 1;
        for port in [2, 80, 1024, 65535] {
            assert_eq!(sent(&mut node, &from(port)), Some(backend));
        }
    }
    assert!(counts.len() == 3 && counts.values().all(|&n| n > 40), "{counts:?}");
    assert_eq!(node.kernel().all_known(Table::Tracked).unwrap(), []);
}

/// New flows take turns; known ones stay.
#[tokio::test(flavor = "multi_thread")]
async fn flows_take_turns() {
    let Some(mut node) = node("round-robin").await else {
        return;
    };
    for flow in [web, dns] {
        let backends: Vec<u8> = (1..=30)
            .map(|port| sent(&mut node, &flow(port).frame(CLIENT, SYN, b"")).unwrap())
            .collect();
        let installed = node.kernel().installed().unwrap();
        let decision = service(&mut node, flow(1));
        let slots = installed.rings[&decision.ring_block()].slots[..30].iter();
        let turns: Vec<u8> = slots
            .map(|&i| {
                installed.members[&decision.member(i.current())]
                    .address
                    .last_v4()
                    .octets()[3]
            })
            .collect();
        assert_eq!(backends, turns, "one slot after the other");
        for (port, &backend) in (1..=30).zip(&backends) {
            for flags in [SYN, ACK, ACK | FIN, RST] {
                assert_eq!(
                    sent(&mut node, &flow(port).frame(CLIENT, flags, b"data")),
                    Some(backend)
                );
            }
        }
    }
    // A segment of a flow that is not known goes by its hash, each time, and is not written down.
    let known = node.kernel().all_known(Table::Tracked).unwrap().len();
    let unknown = web(999).frame(CLIENT, ACK, b"data");
    let backend = sent(&mut node, &unknown);
    assert!(backend.is_some());
    assert_eq!(sent(&mut node, &unknown), backend);
    assert_eq!(node.kernel().all_known(Table::Tracked).unwrap().len(), known);
}

/// The load of each backend of a flow's service, by last octet.
fn loads(node: &mut Node, flow: Flow) -> BTreeMap<u8, u64> {
    let base = service(node, flow).member_base();
    let members = node.kernel().installed().unwrap().members;
    let ours = members.iter().filter(|(id, _)| id.0 > base && id.0 <= base + 3);
    ours.map(|(id, m)| (m.address.last_v4().octets()[3], node.kernel().load_of(*id)))
        .collect()
}

/// Those with few living flows get more; what ends is not counted, what goes on after all is again.
#[tokio::test(flavor = "multi_thread")]
async fn load_decides() {
    let Some(mut node) = node("least-connections").await else {
        return;
    };
    let of = |node: &mut Node, ports: std::ops::Range<u16>| -> BTreeMap<u16, u8> {
        ports
            .map(|port| (port, sent(node, &web(port).frame(CLIENT, SYN, b"")).unwrap()))
            .collect()
    };
    let flows = of(&mut node, 1..301);
    let count = |flows: &BTreeMap<u16, u8>, backend: u8| flows.values().filter(|&&b| b == backend).count() as u64;
    let before = loads(&mut node, web(1));
    for (&backend, &load) in &before {
        assert_eq!(load, count(&flows, backend));
        assert!((80..=120).contains(&load), "two choices even out: {before:?}");
    }
    // All flows of the first end, some of them twice.
    let firsts: Vec<u16> = flows.iter().filter(|&(_, &b)| b == 1).map(|(&port, _)| port).collect();
    for &port in &firsts {
        for _ in 0..2 {
            assert_eq!(sent(&mut node, &web(port).frame(CLIENT, ACK | FIN, b"")), Some(1));
        }
        sent(&mut node, &web(port).frame(CLIENT, ACK, b""));
    }
    assert_eq!(
        loads(&mut node, web(1)),
        BTreeMap::from([(1, 0), (2, before[&2]), (3, before[&3])])
    );
    // Data from one of them: it goes on.
    sent(&mut node, &web(firsts[0]).frame(CLIENT, ACK, b"data"));
    assert_eq!(loads(&mut node, web(1))[&1], 1);
    sent(&mut node, &web(firsts[0]).frame(CLIENT, RST, b""));
    assert_eq!(loads(&mut node, web(1))[&1], 0);
    // A SYN on a flow that is over is another flow.
    let again = sent(&mut node, &web(firsts[0]).frame(CLIENT, SYN, b"")).unwrap();
    let after = loads(&mut node, web(1));
    assert_eq!(after.values().sum::<u64>(), before[&2] + before[&3] + 1);
    assert_eq!(after[&again], count(&flows, again) * u64::from(again != 1) + 1);
    // One that stays without flows gets five of nine: both draws miss it in the other four. By turns
    // it would get 300 of 900; a deviation of 15 is usual.
    if again == 1 {
        sent(&mut node, &web(firsts[0]).frame(CLIENT, RST, b""));
    }
    let mut to_the_idle = 0;
    for port in 1000..1900 {
        if sent(&mut node, &web(port).frame(CLIENT, SYN, b"")) == Some(1) {
            sent(&mut node, &web(port).frame(CLIENT, RST, b""));
            to_the_idle += 1;
        }
    }
    assert!((400..600).contains(&to_the_idle), "{to_the_idle} of 900");
}

/// A flow whose backend has died gets another one; a mention changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn flows_of_the_dead_are_chosen_anew() {
    let Some(mut node) = node("round-robin").await else {
        return;
    };
    for flow in [web(5), dns(5)] {
        let backend = sent(&mut node, &flow.frame(CLIENT, SYN, b"")).unwrap();
        let before = node.kernel().known(Table::Tracked, &flow.key()).unwrap().unwrap();
        let id = service(&mut node, flow).member(before.member());
        let member = node.kernel().installed().unwrap().members[&id];
        let mut dead = member;
        dead.next_hop = MacFlags::new(member.next_hop.mac(), MacFlags::RESOLVED);
        node.kernel().apply(&MapOp::PutMember(id, dead)).unwrap();
        let mut others = Vec::new();
        for _ in 0..3 {
            // The ring still leads to it, as it does for a moment.
            node.kernel()
                .put_known(Table::Tracked, &flow.key(), Some(&before))
                .unwrap();
            others.push(sent(&mut node, &flow.frame(CLIENT, SYN, b"")).unwrap());
        }
        assert!(others.iter().any(|other| *other != backend), "{others:?}");
        node.kernel().apply(&MapOp::PutMember(id, member)).unwrap();
    }
}

/// Without room, a flow goes by its hash: each of its packets to the same backend.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_table_goes_by_hash() {
    if gate::root() == Gate::Skip {
        return;
    }
    for balance in ["round-robin", "least-connections"] {
        let kernel = Kernel::private_with(SEED, 1024).unwrap();
        let rig = rig_of(kernel, config(&services(balance)), &[]).await;
        let mut node = Node { rig };
        for port in 1..2000 {
            sent(&mut node, &web(port).frame(CLIENT, SYN, b"")).unwrap();
        }
        let full = node.kernel().flow_events(FlowEvent::TrackedNoRoom).unwrap();
        let known = node.kernel().all_known(Table::Tracked).unwrap();
        assert!(
            full > 0 && full as usize + known.len() == 1999,
            "{full} {}",
            known.len()
        );
        let known: std::collections::HashSet<NatKey> = known.into_iter().map(|(key, _)| key).collect();
        let decision = service(&mut node, web(1));
        let ring = node.kernel().installed().unwrap().rings[&decision.ring_block()].clone();
        let members = node.kernel().installed().unwrap().members;
        for port in (1..2000).filter(|&port| !known.contains(&web(port).key())) {
            let index = ring.slots[hash(web(port)) as usize & (ring.slots.len() - 1)].current();
            let ip = members[&decision.member(index)].address.to_ip();
            for flags in [SYN, ACK, FIN | ACK] {
                let (action, output) = node.send(&web(port).frame(CLIENT, flags, b""));
                assert_eq!((action, &output[..6]), (TX, &mac_of(ip).0[..]));
            }
        }
        assert_eq!(node.dropped(), Vec::<DropReason>::new());
    }
}

/// An entry that is claimed is somebody else's: packets neither follow nor replace it, and go by their hash.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_claimed_is_not_replaced() {
    let Some(mut node) = node("round-robin").await else {
        return;
    };
    for flow in [web(7), dns(7)] {
        let unknown = sent(&mut node, &flow.frame(CLIENT, ACK, b"data")).unwrap();
        let mut entry = Entry::new(MemberIndex(1), now());
        entry.word = entry.claimed();
        node.kernel()
            .put_known(Table::Tracked, &flow.key(), Some(&entry))
            .unwrap();
        let before = node.kernel().flow_events(FlowEvent::TrackedNoRoom).unwrap();
        let by_hash = sent(&mut node, &flow.frame(CLIENT, SYN, b""));
        assert!(by_hash.is_some());
        if flow.protocol.number() == 6 {
            assert_eq!(by_hash, Some(unknown));
        }
        assert_eq!(
            node.kernel().known(Table::Tracked, &flow.key()).unwrap(),
            Some(entry),
            "it is left alone"
        );
        let after = node.kernel().flow_events(FlowEvent::TrackedNoRoom).unwrap();
        assert_eq!(after, before + 1);
    }
}

/// What the manager has judged goes only if it is still so.
#[tokio::test(flavor = "multi_thread")]
async fn entries_that_have_changed_since_they_were_judged_stay() {
    let Some(mut node) = node("maglev").await else { return };
    let now = now();
    let (a, b) = (MemberIndex(1), MemberIndex(2));
    let judged = Entry::new(a, now);
    let claimed = Entry {
        word: judged.claimed(),
        ..judged
    };
    // What has become of the entry, and whether it goes when all of it was judged, and when its member was.
    let cases = [
        (Some(judged), true, true),
        (Some(Entry::new(a, now + 1)), false, true),
        (
            Some(Entry {
                word: judged.heard(Said::Ends, now),
                ..judged
            }),
            false,
            true,
        ),
        (Some(Entry::new(b, now)), false, false),
        (Some(claimed), false, false),
        (None, true, true),
    ];
    for table in Table::ALL {
        for (bits, goes) in [(Entry::WHOLE, 0), (Entry::MEMBER, 1)] {
            // More than one list of them.
            let flows: Vec<NatKey> = (1..=200).map(|port| web(port).key()).collect();
            let mut expected = BTreeMap::new();
            for (i, key) in flows.iter().enumerate() {
                let (became, whole, member) = cases[i % cases.len()];
                if let Some(became) = became {
                    node.kernel().put_known(table, key, Some(&became)).unwrap();
                }
                if ![whole, member][goes] {
                    expected.insert(key.ports.source.host(), became.unwrap());
                }
            }
            let list: Vec<_> = flows.iter().map(|&key| (key, judged)).collect();
            let left = node.kernel().forget(table, &list, bits).unwrap();
            let left: Vec<u16> = left.iter().map(|(key, _)| key.ports.source.host()).collect();
            assert_eq!(left, expected.keys().copied().collect::<Vec<_>>(), "{table:?} {bits:x}");
            let there: BTreeMap<u16, Entry> = node
                .kernel()
                .all_known(table)
                .unwrap()
                .into_iter()
                .map(|(key, entry)| (key.ports.source.host(), entry))
                .collect();
            assert_eq!(there, expected, "{table:?} {bits:x}");
            for port in expected.keys() {
                node.kernel().put_known(table, &web(*port).key(), None).unwrap();
            }
        }
    }
}
