//! Ids stay, regions stay, order holds. What the operations do to real layouts is tested in `dataplane`.

mod proxied;
mod roles;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use lb_common::addr::Mac;
use lb_common::backend::{MacFlags, Member};
use lb_common::hash::Seed;
use lb_common::id::{MemberId, MemberIndex};
use lb_common::ring::Slot;
use lb_common::service::{Choice, Decision, PortBlock, feature};

use super::*;
use crate::model::{Nat, NatSource, NextHop, Protocol, RingSize, Role, Tunnel};

fn member(last: u8) -> DesiredMember {
    DesiredMember {
        address: SocketAddr::from(([10, 0, 0, last], 80)),
        weight: 1,
        role: Role::Primary,
        alive: Alive::Yes,
        hop: Hop::Known(NextHop {
            mac: Mac([2, 0, 0, 0, 0, last]),
            local: Mac([2, 0, 0, 0, 1, 0]),
            interface: 3,
            router: None,
            source: Some([10, 0, 255, 1].into()),
            mtu: 1500,
        }),
    }
}

fn service(vip: &str, members: &[u8]) -> DesiredService {
    DesiredService {
        vips: vec![vip.parse().unwrap()],
        protocol: Protocol::Tcp,
        mode: Forwarding::Dsr,
        choice: Choice::Tuple,
        track: true,
        nat: Nat::default(),
        tunnel: Tunnel::default(),
        idle_timeout: Protocol::Tcp.idle_timeout(),
        table_size: RingSize::new(256).unwrap(),
        members: members.iter().map(|&last| member(last)).collect(),
    }
}

fn desired(services: Vec<DesiredService>) -> Desired {
    let address = DesiredAddress {
        owned: true,
        echo: true,
        drop_undeclared: true,
    };
    let addresses = services
        .iter()
        .flat_map(|s| &s.vips)
        .map(|vip| (vip.ip, address))
        .collect();
    Desired {
        addresses,
        services,
        proxied: Vec::new(),
        sources: BTreeSet::new(),
        clients: false,
        news: false,
    }
}

fn place_on(installed: &Snapshot, desired: &Desired) -> Placement {
    let placement = place(installed, desired, &mut Memory::new(Seed([1, 2])));
    assert_eq!(placement.full, None);
    placement
}

#[test]
fn ids_and_regions_stay_when_neighbours_come_and_go() {
    let first = place_on(
        &Snapshot::default(),
        &desired(vec![service("192.0.2.1:80", &[1, 2, 3]), service("192.0.2.2:80", &[4])]),
    );
    // Another file order, a service in front, a backend gone, another one new.
    let second = place_on(
        &first.target,
        &desired(vec![
            service("192.0.2.9:80", &[9]),
            service("192.0.2.2:80", &[5, 4]),
            service("192.0.2.1:80", &[3, 1]),
        ]),
    );
    let id = |p: &Placement, service: usize, last: u8| p.members[service][&member(last).address];
    assert_eq!(id(&second, 2, 1), id(&first, 0, 1));
    assert_eq!(id(&second, 2, 3), id(&first, 0, 3));
    assert_eq!(id(&second, 1, 4), id(&first, 1, 4));
    let key = ServiceKey::service("192.0.2.1:80".parse().unwrap(), Protocol::Tcp);
    assert_eq!(first.target.entries[&key], second.target.entries[&key]);
    // The id of a backend that goes is not given away by the change that takes it.
    let third = place_on(&first.target, &desired(vec![service("192.0.2.1:80", &[1, 2, 7])]));
    assert_ne!(id(&third, 0, 7), id(&first, 0, 3));
}

#[test]
fn a_service_that_outgrows_its_ids_moves_whole() {
    let many: Vec<u8> = (1..=40).collect();
    let first = place_on(
        &Snapshot::default(),
        &desired(vec![
            service("192.0.2.1:80", &many[..10]),
            service("192.0.2.2:80", &[200]),
        ]),
    );
    let second = place_on(
        &first.target,
        &desired(vec![service("192.0.2.1:80", &many), service("192.0.2.2:80", &[200])]),
    );
    let key = ServiceKey::service("192.0.2.1:80".parse().unwrap(), Protocol::Tcp);
    let (old, new) = (first.target.entries[&key], second.target.entries[&key]);
    assert_ne!(old.member_base(), new.member_base());
    assert_ne!(
        old.ring_block(),
        new.ring_block(),
        "indices mean other members now, so the ring is another"
    );
    assert_eq!(second.members[0].len(), 40);
}

#[test]
fn what_is_not_known_yet_stays_as_installed() {
    let installed = place_on(&Snapshot::default(), &desired(vec![service("192.0.2.1:80", &[1])])).target;
    let mut restart = desired(vec![service("192.0.2.1:80", &[1, 2])]);
    for member in &mut restart.services[0].members {
        (member.alive, member.hop) = (Alive::AsInstalled, Hop::AsInstalled);
    }
    let after = place_on(&installed, &restart);
    assert_eq!(after.target.members[&MemberId(1)], installed.members[&MemberId(1)]);
    let ring = after.target.rings.values().next().unwrap();
    assert!(
        ring.slots.iter().all(|slot| slot.current().0 == 1),
        "only the one that served before serves"
    );
}

#[test]
fn nothing_serves_without_health_next_hop_or_weight() {
    let mut want = desired(vec![service("192.0.2.1:80", &[1, 2, 3])]);
    let members = &mut want.services[0].members;
    members[0].alive = Alive::No;
    members[1].hop = Hop::Unknown;
    members[2].weight = 0;
    let placed = place_on(&Snapshot::default(), &want);
    assert!(
        placed
            .target
            .rings
            .values()
            .all(|ring| ring.slots.iter().all(|slot| slot.current() == MemberIndex::NONE))
    );
}

#[test]
fn operations_come_in_the_promised_order() {
    let installed = place_on(&Snapshot::default(), &desired(vec![service("192.0.2.1:80", &[1, 2])])).target;
    let target = place_on(
        &installed,
        &desired(vec![service("192.0.2.1:80", &[2, 3]), service("192.0.2.2:80", &[4])]),
    )
    .target;
    let phase = |op: &MapOp| match op {
        MapOp::DelEntry(_) => 0,
        MapOp::ResetCounters(_) | MapOp::PutMember(..) => 2,
        MapOp::PutRing { .. } | MapOp::PutSlots { .. } => 3,
        MapOp::PutEntry(_, decision) if decision.is_service() => 4,
        MapOp::PutFeatures(_) | MapOp::PutEntry(..) => 1,
        MapOp::DelMember(_) => 6,
        MapOp::Grace | MapOp::ForgetFlows(_) => unreachable!("told by its place"),
    };
    let phases = |ops: &[MapOp]| -> Vec<u8> {
        let mut last = 0;
        let place = |op: &MapOp| {
            last = if *op == MapOp::Grace { last | 1 } else { phase(op) };
            last
        };
        let forgets = |op: &&MapOp| matches!(op, MapOp::ForgetFlows(_));
        ops.iter().filter(|op| !forgets(op)).map(place).collect()
    };
    let change = phases(&diff(&installed, &target));
    assert!(
        change.is_sorted() && change.contains(&5) && change.contains(&6),
        "{change:?}"
    );
    assert_eq!(diff(&target, &target), []);
    // A service that goes: nobody is sent there any more, then a grace period, then the rest.
    let gone = phases(&diff(&target, &Snapshot::default()));
    assert!(gone.is_sorted() && gone.starts_with(&[0, 0, 0, 0, 1, 6]), "{gone:?}");
}

#[test]
fn what_does_not_fit_stays_as_it_is_and_gets_its_turn() {
    let mut rings = Memory::new(Seed([1, 2]));
    let big = |i: u8, log2: u8| {
        let mut big = service(&format!("192.0.2.{i}:80"), &[i]);
        big.table_size = RingSize::new(1 << log2).unwrap();
        big
    };
    // 16 rings of 2^20 slots fill RING; one more has no room, and the others are not touched by that.
    let most: Vec<_> = (1..=16).map(|i| big(i, 20)).collect();
    let mut installed = place_on(&Snapshot::default(), &desired(most.clone())).target;
    let more = desired(most.into_iter().chain([big(17, 20)]).collect());
    let refused = place(&installed, &more, &mut rings);
    assert_eq!(refused.full, Some(Full::Ring { slots: 1 << 20 }));
    assert_eq!(refused.target.rings, installed.rings);
    assert!(refused.members[16].is_empty());
    // A service that cannot have a larger ring heeds health in the one that it has.
    let mut larger = desired(vec![service("192.0.2.200:80", &[1, 2])]);
    let small = place_on(&Snapshot::default(), &larger).target;
    let mut crowded = small.clone();
    for i in 0..16 {
        let ring = Ring {
            log2: 6,
            slots: vec![Slot::stable(MemberIndex::NONE); 64].into(),
        };
        let key = ServiceKey::service(format!("192.0.3.{i}:80").parse().unwrap(), Protocol::Tcp);
        let (block, base) = ((i << 14) + 8192, 1024 + i * 16);
        crowded.entries.insert(
            key,
            Decision::service(
                lb_common::service::Mode::Dsr,
                lb_common::service::Choice::Tuple,
                block,
                6,
                base,
            ),
        );
        crowded.rings.insert(block, ring);
    }
    larger.services[0].table_size = RingSize::new(1 << 20).unwrap();
    larger.services[0].members[0].alive = Alive::No;
    let placed = place(&crowded, &larger, &mut rings);
    assert_eq!(placed.full, Some(Full::Ring { slots: 1 << 20 }));
    let key = ServiceKey::service("192.0.2.200:80".parse().unwrap(), Protocol::Tcp);
    let decision = placed.target.entries[&key];
    assert_eq!(decision, small.entries[&key]);
    let alive = MemberIndex((placed.members[0][&member(2).address].0 - decision.member_base()) as u16);
    assert!(
        placed.target.rings[&decision.ring_block()]
            .slots
            .iter()
            .all(|&slot| slot.current() == alive)
    );
    // All rings half as large, and twice as many: that fits when it is over, and every step frees what the next needs.
    installed
        .entries
        .remove(&ServiceKey::service("192.0.2.16:80".parse().unwrap(), Protocol::Tcp));
    let half = |i| DesiredService {
        // Where flows are to stay, rings do not become smaller.
        mode: Forwarding::Nat,
        ..big(i, 19)
    };
    let half = desired((1..=30).map(half).collect());
    let mut steps = 0;
    loop {
        let placement = place(&installed, &half, &mut rings);
        assert!(placement.target != installed, "no progress after {steps} steps");
        installed = placement.target;
        steps += 1;
        if placement.full.is_none() {
            break;
        }
    }
    assert_eq!(installed.rings.len(), 30, "{steps} steps");
}

#[test]
fn a_vip_says_who_owns_it() {
    let placed = place_on(&Snapshot::default(), &desired(vec![service("[2001:db8::1]:80", &[])]));
    let vip = placed.target.entries[&ServiceKey::address("2001:db8::1".parse().unwrap())];
    assert!(vip.has(Decision::OWNED | Decision::ECHO | Decision::DROP_UNDECLARED));
}

fn nat(vip: &str, members: &[u8]) -> DesiredService {
    DesiredService {
        mode: Forwarding::Nat,
        ..service(vip, members)
    }
}

#[test]
fn nat_has_sources_and_finds_its_backends_again() {
    let source: IpAddr = [10, 0, 255, 1].into();
    let backend = |last| ServiceKey::service(member(last).address, Protocol::Tcp);
    let want = desired(vec![nat("192.0.2.1:80", &[1, 2]), service("192.0.2.2:80", &[3])]);
    let placement = place_on(&Snapshot::default(), &want);
    let target = &placement.target;
    assert_eq!(target.sources().collect::<Vec<_>>(), [source]);
    assert!(!target.entries[&ServiceKey::address(source)].is_vip());
    for last in [1, 2] {
        let id = placement.members[0][&member(last).address];
        assert_eq!(target.entries.get(&backend(last)), Some(&Decision::backend(id)));
    }
    assert!(!target.entries.contains_key(&backend(3)), "dsr needs none");
    assert_eq!(target.features, 0);
    // Everything that a service leads to is there before the service.
    let ops = diff(&Snapshot::default(), target);
    let put = |service: bool| {
        let is = move |op: &MapOp| matches!(op, MapOp::PutEntry(_, d) if d.is_service() == service);
        ops.iter().position(is).unwrap()..=ops.iter().rposition(is).unwrap()
    };
    assert!(put(false).end() < put(true).start(), "{ops:?}");

    // A VIP may be the source as well.
    let mut floating = nat("192.0.2.1:80", &[1, 2]);
    floating.nat.source = NatSource::Floating(vec![[192, 0, 2, 1].into()]);
    let placement = place_on(target, &desired(vec![floating]));
    let vip = placement.target.entries[&ServiceKey::address([192, 0, 2, 1].into())];
    assert!(vip.is_vip() && vip.has(Decision::NAT_SOURCE | Decision::OWNED | Decision::ECHO));
    // The source that was is one as long as flows have it.
    assert!(!placement.target.entries.contains_key(&ServiceKey::address(source)));
    let mut want = want;
    want.services.clear();
    want.sources.insert(source);
    let placement = place_on(target, &want);
    assert_eq!(placement.target.sources().collect::<Vec<_>>(), [source]);
}

#[test]
fn answers_may_come_for_anybody_where_clients_keep_their_address() {
    let mut keeps = nat("192.0.2.1:80", &[1]);
    keeps.nat.source = NatSource::Client;
    let target = place_on(&Snapshot::default(), &desired(vec![keeps])).target;
    assert_eq!(target.features, feature::CLIENT_SOURCE);
    assert_eq!(target.sources().count(), 0);
    assert!(diff(&Snapshot::default(), &target).contains(&MapOp::PutFeatures(feature::CLIENT_SOURCE)));
    let placement = place_on(&target, &desired(vec![service("192.0.2.1:80", &[1])]));
    assert!(diff(&target, &placement.target).contains(&MapOp::PutFeatures(0)));
}

#[test]
fn one_word_between_dsr_and_nat_leaves_members_and_ring_alone() {
    let dsr = place_on(&Snapshot::default(), &desired(vec![service("192.0.2.1:80", &[1, 2])])).target;
    let nat = place_on(&dsr, &desired(vec![nat("192.0.2.1:80", &[1, 2])])).target;
    for (from, to) in [(&dsr, &nat), (&nat, &dsr)] {
        let only_entries = |op: &MapOp| matches!(op, MapOp::PutEntry(..) | MapOp::DelEntry(_) | MapOp::Grace);
        assert!(diff(from, to).iter().all(only_entries));
    }
}

#[test]
fn a_backend_without_a_source_does_not_serve_in_nat() {
    let mut want = nat("192.0.2.1:80", &[1, 2]);
    if let Hop::Known(hop) = &mut want.members[0].hop {
        hop.source = None;
    }
    let placement = place_on(&Snapshot::default(), &desired(vec![want]));
    let serving = placement.members[0][&member(2).address];
    let ring = placement.target.rings.values().next().unwrap();
    let decision = placement.target.entries.values().find(|d| d.is_service()).unwrap();
    assert!(ring.slots.iter().all(|slot| decision.member(slot.current()) == serving));
}

#[test]
fn many_ports_have_keys_of_their_blocks() {
    let range = DesiredService {
        mode: Forwarding::Nat,
        ..service("192.0.2.1:1023-1026", &[1, 2])
    };
    let want = desired(vec![
        range.clone(),
        service("192.0.2.1:1023", &[3]),
        service("192.0.2.1:*", &[4]),
    ]);
    let placement = place_on(&Snapshot::default(), &want);
    let target = &placement.target;
    let ip: IpAddr = [192, 0, 2, 1].into();
    let leads_to = |port, free, last: u8| {
        let decision = target.entries[&ServiceKey::block(ip, PortBlock::of(port, free), Protocol::Tcp)];
        let ids: Vec<&BTreeMap<_, _>> = placement.members.iter().collect();
        let owner = ids.iter().find(|ids| ids.contains_key(&member(last).address)).unwrap();
        owner
            .values()
            .all(|id| id.0 > decision.member_base() && id.0 <= decision.member_base() + 15)
    };
    assert!(leads_to(1023, 0, 3), "a port of its own goes before a range");
    assert!(leads_to(1024, 1, 1) && leads_to(1026, 0, 1));
    assert!(leads_to(9, 16, 4));
    assert_eq!(target.entries.values().filter(|d| d.is_service()).count(), 4);
    assert_eq!(target.entries[&ServiceKey::address(ip)].blocks(), 1 << 1 | 1 << 16);
    // Packets keep their ports: the members say so, and those of `nat` are found by any port.
    let flags = |service: usize, last: u8| {
        let id = placement.members[service][&member(last).address];
        target.members[&id].next_hop.flags() & MacFlags::KEEPS_PORT
    };
    assert_eq!(
        [flags(0, 1), flags(1, 3), flags(2, 4)],
        [MacFlags::KEEPS_PORT, 0, MacFlags::KEEPS_PORT]
    );
    let backend = |port| ServiceKey::service(([10, 0, 0, 1], port).into(), Protocol::Tcp);
    let id = placement.members[0][&member(1).address];
    assert_eq!(target.entries.get(&backend(0)), Some(&Decision::backend(id)));
    assert!(!target.entries.contains_key(&backend(80)));
    assert_eq!(place_on(target, &want).target, *target);
    // The port that is given back falls to the range.
    let without = place_on(target, &desired(vec![range]));
    let decision =
        |port, free| without.target.entries[&ServiceKey::block(ip, PortBlock::of(port, free), Protocol::Tcp)];
    assert_eq!(decision(1023, 0), decision(1024, 1));
    assert_eq!(without.target.entries[&ServiceKey::address(ip)].blocks(), 1 << 1);
    // Addresses come before the services on new blocks.
    let ops = diff(&Snapshot::default(), target);
    let puts = |wanted: fn(Decision) -> bool| {
        let is = move |op: &MapOp| matches!(op, MapOp::PutEntry(_, d) if wanted(*d));
        (ops.iter().position(is).unwrap(), ops.iter().rposition(is).unwrap())
    };
    assert!(puts(Decision::is_vip).1 < puts(Decision::is_service).0);
}

fn tunnel(members: &[u8]) -> DesiredService {
    DesiredService {
        mode: Forwarding::Tunnel,
        ..service("192.0.2.1:80", members)
    }
}

fn member_at(placement: &Placement, last: u8) -> Member {
    placement.target.members[&placement.members[0][&member(last).address]]
}

#[test]
fn members_of_a_tunnel_say_what_goes_around_packets() {
    let mut want = tunnel(&[1, 2]);
    want.tunnel.source_v4 = ([10, 9, 0, 0].into(), 16);
    want.members[1].weight = 0;
    if let Hop::Known(hop) = &mut want.members[0].hop {
        hop.mtu = 1400;
        hop.router = Some([10, 0, 255, 7].into());
    }
    let placement = place_on(&Snapshot::default(), &desired(vec![want.clone()]));
    let first = member_at(&placement, 1);
    assert_eq!(first.source.to_ip(), IpAddr::from([10, 9, 0, 0]));
    assert_eq!(
        (first.outer().mtu, first.outer().varied, first.ports, first.weight),
        (1400, 16, 0, 1)
    );
    assert_eq!(member_at(&placement, 2).weight, 0);
    // Nothing is known yet after a restart: all stays.
    for member in &mut want.members {
        (member.alive, member.hop) = (Alive::AsInstalled, Hop::AsInstalled);
    }
    let after = place_on(&placement.target, &desired(vec![want.clone()]));
    assert_eq!(after.target, placement.target);
    // A backend that is not reached any more keeps what goes around its packets, too.
    want.members[0].hop = Hop::Unknown;
    let after = place_on(&placement.target, &desired(vec![want]));
    assert_eq!(member_at(&after, 1).outer(), first.outer());
}

#[test]
fn a_tunnel_shares_no_member_with_what_reads_it_otherwise() {
    let base = |placement: &Placement| {
        placement
            .target
            .entries
            .values()
            .find(|d| d.is_service())
            .unwrap()
            .member_base()
    };
    let dsr = place_on(&Snapshot::default(), &desired(vec![service("192.0.2.1:80", &[1, 2])]));
    let from_dsr = place_on(&dsr.target, &desired(vec![tunnel(&[1, 2])]));
    assert_eq!(base(&from_dsr), base(&dsr), "dsr reads none of it");
    for other in [service("192.0.2.1:80", &[1, 2]), nat("192.0.2.1:80", &[1, 2])] {
        let other = place_on(&from_dsr.target, &desired(vec![other]));
        assert_ne!(base(&other), base(&from_dsr));
    }
    // What `nat` holds is no MTU, what a tunnel holds no source.
    let unknown = |mut service: DesiredService| {
        for member in &mut service.members {
            member.hop = Hop::AsInstalled;
        }
        desired(vec![service])
    };
    let nat_first = place_on(&Snapshot::default(), &desired(vec![nat("192.0.2.1:80", &[1])]));
    let tunnel_next = place_on(&nat_first.target, &unknown(tunnel(&[1])));
    assert_ne!(base(&tunnel_next), base(&nat_first));
    assert_eq!(member_at(&tunnel_next, 1).outer().mtu, 1500);
    let nat_again = place_on(&tunnel_next.target, &unknown(nat("192.0.2.1:80", &[1])));
    let member = member_at(&nat_again, 1);
    assert_eq!((member.ports, member.next_hop.flags() & MacFlags::RESOLVED), (0, 0));
}
