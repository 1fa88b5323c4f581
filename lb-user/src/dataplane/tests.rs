//! Plans performed on the real layouts: any change of any state leads to what was desired, and on the way there no
//! packet can meet a half-made service.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use lb_common::addr::{Mac, PortBe};
use lb_common::hash::Seed;
use lb_common::select::{self, Chosen};
use lb_common::service::{self, Choice, KeyV4, protocol};
use proptest::prelude::*;

use super::fake::Fake;
use super::*;
use crate::model::{Nat, NextHop, PortRange, Ports, Protocol, RingSize, Role, Tunnel, Vip};
use crate::plan::{
    Alive, Desired, DesiredAddress, DesiredMember, DesiredProxy, DesiredService, Forwarding, Hop, Memory, ServiceKey,
    diff, place,
};

/// Which services a key may lead to: before a change, and while it is made, those before and after.
type Owners = BTreeMap<ServiceKey, BTreeSet<u8>>;

/// What a packet of every service would meet now: any slot leads nowhere or to a resolved member of a service that the
/// key belongs to, and that holds what the mode reads.
fn check(fake: &Fake, op: &MapOp, owners: &Owners) {
    if matches!(op, MapOp::ResetCounters(_) | MapOp::Grace | MapOp::ForgetFlows(_)) {
        return;
    }
    let snapshot = fake.installed().unwrap();
    for (key, decision) in &snapshot.entries {
        if !decision.is_balanced() {
            continue;
        }
        for hash in 0..u64::from(snapshot.rings[&decision.ring_block()].slots.len() as u32) {
            let slot = select::slot(fake.tables(), *decision, hash).unwrap();
            match select::member(fake.tables(), *decision, slot.current()) {
                Ok(Chosen { id, member, .. }) => {
                    let IpAddr::V4(ip) = member.address.to_ip() else {
                        unreachable!("IPv4 backends")
                    };
                    let service = ip.octets()[2];
                    assert!(
                        owners[key].contains(&service),
                        "{id:?} {ip} serves {key:?} after {op:?}"
                    );
                    match decision.mode() {
                        Some(service::Mode::Tunnel) => {
                            assert_eq!((member.ports, member.outer().mtu), (0, 1500), "after {op:?}");
                        }
                        Some(service::Mode::Nat) => assert!(member.ports > 0, "after {op:?}"),
                        _ => {}
                    }
                }
                Err(reason) => assert_eq!(reason, DropReason::NoBackend),
            }
        }
    }
}

/// A backend; its address tells whose it is.
fn member(service: u8, last: u8, weight: u16, alive: bool) -> DesiredMember {
    DesiredMember {
        address: SocketAddr::from(([10, 0, service, last], 80)),
        weight,
        role: Role::Primary,
        alive: if alive { Alive::Yes } else { Alive::No },
        hop: Hop::Known(NextHop {
            mac: Mac([2, 0, 0, 0, service, last]),
            local: Mac([2, 0, 0, 0, 1, 0]),
            interface: 3,
            router: None,
            source: Some([10, 0, 255, 1].into()),
            mtu: 1500,
        }),
    }
}

/// Weight, and whether it is alive, by the last byte of the address.
type Backends = BTreeMap<u8, (u16, bool)>;

/// Ports of a service: seven, or the first of the seven before, which may lie in another's range.
fn ports_at(place: u16, many: bool) -> Ports {
    if many {
        Ports::Range(PortRange::new(place * 8 + 1, place * 8 + 7).unwrap())
    } else {
        Ports::One(place * 8 - 7)
    }
}

/// Backends, log2 of slots, rules (no mode for the proxy's), and whether it has many ports.
type Drawn = (Backends, u8, (Option<Forwarding>, Choice, bool), bool);

/// Ports, in both families, spread over services that have backends of their own: from one state to the next, ports
/// move between services, services come and go, and so do backends.
fn desired() -> impl Strategy<Value = (Owners, Desired)> {
    let backends = proptest::collection::btree_map(0u8..20, (0u16..4, any::<bool>()), 0..20);
    let mode = prop_oneof![
        Just(Some(Forwarding::Dsr)),
        Just(Some(Forwarding::Nat)),
        Just(Some(Forwarding::Tunnel)),
        Just(None),
    ];
    let choice = prop_oneof![3 => Just(Choice::Tuple), 1 => Just(Choice::Source), 1 => Just(Choice::Turn)];
    let rules = (mode, choice, any::<bool>());
    let services = proptest::collection::vec((backends, 6u8..9, rules, any::<bool>()), 4);
    let ports = proptest::collection::btree_map(1u16..9, 0u8..4, 0..8);
    (services, ports).prop_map(|(services, ports)| {
        let vips = [
            IpAddr::from([192, 0, 2, 1]),
            IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]),
        ];
        let policy = DesiredAddress {
            owned: true,
            echo: true,
            drop_undeclared: true,
        };
        let vips_of = |number: u8, many: bool| -> Vec<Vip> {
            ports
                .iter()
                .filter(|&(_, &owner)| owner == number)
                .flat_map(|(&place, _)| {
                    vips.map(|ip| Vip {
                        ip,
                        ports: ports_at(place, many),
                    })
                })
                .collect()
        };
        let service = |number, backends: Backends, log2: u8, mode, choice, track, many| DesiredService {
            vips: vips_of(number, many),
            protocol: Protocol::Tcp,
            mode,
            choice,
            track,
            nat: Nat::default(),
            tunnel: Tunnel::default(),
            idle_timeout: Protocol::Tcp.idle_timeout(),
            table_size: RingSize::new(1 << log2).unwrap(),
            members: backends
                .into_iter()
                .map(|(last, (weight, alive))| member(number, last, weight, alive))
                .collect(),
        };
        let mut proxied = Vec::new();
        let mut balanced: Vec<(u8, DesiredService)> = Vec::new();
        for (number, drawn) in (0..).zip(services) {
            let (backends, log2, (mode, choice, track), many): Drawn = drawn;
            match mode {
                Some(mode) => balanced.push((number, service(number, backends, log2, mode, choice, track, many))),
                None => proxied.push(DesiredProxy {
                    vips: vips_of(number, many),
                    protocol: Protocol::Tcp,
                }),
            }
        }
        balanced.retain(|(_, service)| !service.vips.is_empty());
        let desired = Desired {
            addresses: vips.map(|vip| (vip, policy)).into(),
            services: balanced.iter().map(|(_, service)| service.clone()).collect(),
            proxied,
            sources: BTreeSet::new(),
            clients: false,
            news: false,
        };
        let keys = desired.keys();
        let owned = |(number, s): &(u8, DesiredService)| {
            let number = *number;
            let keys = keys.service(&s.vips, s.protocol);
            keys.map(move |key| (key, BTreeSet::from([number]))).collect::<Vec<_>>()
        };
        let owners = balanced.iter().flat_map(owned).collect();
        (owners, desired)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_change_leads_to_what_is_desired(steps in proptest::collection::vec((desired(), any::<u8>()), 1..6)) {
        let mut fake = Fake::default();
        let mut rings = Memory::new(Seed([3, 4]));
        let mut before = Owners::new();
        for ((after, want), crash) in steps {
            let mut owners = after.clone();
            for (&key, services) in &before {
                owners.entry(key).or_default().extend(services);
            }
            let installed = fake.installed().unwrap();
            let target = place(&installed, &want, &mut rings).target;
            let ops = diff(&installed, &target);
            // A manager that dies after any operation leaves maps that serve, and that the next one completes.
            let crash = usize::from(crash) % (ops.len() + 1);
            for op in &ops[..crash] {
                fake.apply(op).unwrap();
                check(&fake, op, &owners);
            }
            loop {
                let installed = fake.installed().unwrap();
                let placement = place(&installed, &want, &mut rings);
                for op in diff(&installed, &placement.target) {
                    fake.apply(&op).unwrap();
                    check(&fake, &op, &owners);
                }
                prop_assert_eq!(&fake.installed().unwrap(), &placement.target);
                if !placement.unfinished {
                    break;
                }
            }
            let now = fake.installed().unwrap();
            let again = place(&now, &want, &mut rings).target;
            prop_assert_eq!(diff(&now, &again), vec![], "a second plan is empty");
            before = after;
        }
    }
}

/// Ports whose keys share a bucket on one VIP.
fn ports_of_one_bucket(wanted: usize) -> Vec<u16> {
    let vip = Ipv4Addr::new(192, 0, 2, 1).into();
    let mut by_bucket: BTreeMap<u32, Vec<u16>> = BTreeMap::new();
    for port in 1..=u16::MAX {
        let ports = by_bucket
            .entry(KeyV4::new(vip, PortBe::new(port), protocol::TCP).bucket())
            .or_default();
        ports.push(port);
        if ports.len() == wanted {
            return ports.clone();
        }
    }
    panic!("no bucket has {wanted} ports");
}

#[test]
fn a_full_bucket_overflows_into_the_hash_and_comes_back() {
    use lb_common::service::{Choice, Decision, Mode};
    let mut fake = Fake::default();
    let ports = ports_of_one_bucket(7);
    let vip: IpAddr = [192, 0, 2, 1].into();
    let key = |port: u16| ServiceKey::service(SocketAddr::new(vip, port), Protocol::Tcp);
    let decision = |port: u16| Decision::service(Mode::Dsr, Choice::Tuple, u32::from(port), 6, 16);
    let found = |fake: &Fake, port: u16| {
        select::find_v4(
            fake.tables(),
            Ipv4Addr::new(192, 0, 2, 1).into(),
            PortBe::new(port),
            protocol::TCP,
        )
    };
    for &port in &ports {
        fake.apply(&MapOp::PutEntry(key(port), decision(port))).unwrap();
    }
    for &port in &ports {
        assert_eq!(found(&fake, port), decision(port));
    }
    // An entry of the bucket goes: those in the hash are still found, and stay where they are when swapped.
    fake.apply(&MapOp::DelEntry(key(ports[0]))).unwrap();
    fake.apply(&MapOp::PutEntry(key(ports[6]), decision(9))).unwrap();
    assert_eq!(found(&fake, ports[0]), Decision::NONE);
    assert_eq!(found(&fake, ports[6]), decision(9));
    assert_eq!(fake.installed().unwrap().entries.len(), 6, "none is there twice");
    for &port in &ports[1..] {
        fake.apply(&MapOp::DelEntry(key(port))).unwrap();
        assert_eq!(found(&fake, port), Decision::NONE);
    }
    assert!(fake.installed().unwrap().entries.is_empty());
}

#[test]
fn a_full_hash_is_an_error_that_names_it() {
    use lb_common::service::{Choice, Decision, Mode};
    let mut fake = Fake::default();
    let mut refused = None;
    // 65,535 ports in 16,384 buckets of four, and 16 more.
    for port in 1..=u16::MAX {
        let key = ServiceKey::service(SocketAddr::new([192, 0, 2, 1].into(), port), Protocol::Tcp);
        if let Err(error) = fake.apply(&MapOp::PutEntry(
            key,
            Decision::service(Mode::Dsr, Choice::Tuple, 0, 6, 16),
        )) {
            refused = Some(error.to_string());
            break;
        }
    }
    assert_eq!(refused.as_deref(), Some("map OVERFLOW_V4 is full: it holds 16 entries"));
}
