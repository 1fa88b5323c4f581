//! Services of the proxy: entries, and nothing behind them.

use lb_common::limits::MEMBERS;
use lb_common::service::Mode;

use super::*;
use crate::plan::outlook::{Course, course};

fn proxied(vips: &[&str]) -> DesiredProxy {
    DesiredProxy {
        vips: vips.iter().map(|vip| vip.parse().unwrap()).collect(),
        protocol: Protocol::Tcp,
    }
}

/// Those of the proxy, on VIPs as [`desired`] has them, beside `services`.
fn beside(services: Vec<DesiredService>, proxied: Vec<DesiredProxy>) -> Desired {
    let policy = DesiredAddress {
        owned: true,
        echo: true,
        drop_undeclared: true,
    };
    let mut all = desired(services);
    let vips = proxied.iter().flat_map(|p| &p.vips);
    all.addresses.extend(vips.map(|vip| (vip.ip, policy)));
    Desired { proxied, ..all }
}

fn key(vip: &str) -> ServiceKey {
    ServiceKey::service(vip.parse().unwrap(), Protocol::Tcp)
}

#[test]
fn it_has_entries_alone() {
    let both = proxied(&["192.0.2.1:80", "[2001:db8::1]:80"]);
    let pool = proxied(&[]);
    let range = proxied(&["192.0.2.1:8000-8001"]);
    let want = beside(vec![], vec![both, pool, range]);
    let Placement {
        target,
        members,
        decisions,
        proxied,
        full,
        unfinished,
    } = place_on(&Snapshot::default(), &want);
    assert_eq!(proxied, [0, 1, 2].map(Decision::proxy));
    assert!(members.is_empty() && decisions.is_empty() && full.is_none() && !unfinished);
    assert!(target.rings.is_empty() && target.members.is_empty());
    for vip in ["192.0.2.1:80", "[2001:db8::1]:80"] {
        assert_eq!(target.entries[&key(vip)], Decision::proxy(0));
    }
    let block = ServiceKey::block([192, 0, 2, 1].into(), PortBlock::of(8000, 1), Protocol::Tcp);
    assert_eq!(
        target.entries[&block].member_base(),
        MEMBERS + 2,
        "not that of another one"
    );
    let vip = target.entries[&ServiceKey::address([192, 0, 2, 1].into())];
    assert!(vip.is_vip() && vip.has(Decision::DROP_UNDECLARED) && vip.blocks() == 1 << 1);
    assert_eq!(target.entries.len(), 5);
    // A VIP is known before its services.
    let ops = diff(&Snapshot::default(), &target);
    let first = |is: fn(Decision) -> bool| {
        let is = move |op: &MapOp| matches!(op, MapOp::PutEntry(_, d) if is(*d));
        ops.iter().position(is).unwrap()..=ops.iter().rposition(is).unwrap()
    };
    assert!(first(Decision::is_vip).end() < first(Decision::is_proxy).start());
}

#[test]
fn one_word_between_nat_and_proxy() {
    let by_nat = place_on(&Snapshot::default(), &desired(vec![nat("192.0.2.1:80", &[1, 2])])).target;
    let source: IpAddr = [10, 0, 255, 1].into();
    let mut want = beside(vec![], vec![proxied(&["192.0.2.1:80"])]);
    // As long as there are flows, answers to them are known.
    want.sources.insert(source);
    let placement = place_on(&by_nat, &want);
    assert_eq!(placement.target.entries[&key("192.0.2.1:80")], Decision::proxy(0));
    assert_eq!(placement.target.sources().collect::<Vec<_>>(), [source]);
    assert!(placement.target.rings.is_empty() && placement.target.members.is_empty());
    let ops = diff(&by_nat, &placement.target);
    assert!(
        !ops.iter()
            .any(|op| matches!(op, MapOp::DelEntry(k) if *k == key("192.0.2.1:80"))),
        "no packet finds nothing: {ops:?}"
    );
    let put = ops
        .iter()
        .position(|op| matches!(op, MapOp::PutEntry(k, _) if *k == key("192.0.2.1:80")));
    let gone = ops.iter().position(|op| matches!(op, MapOp::DelMember(_)));
    assert!(put.unwrap() < gone.unwrap(), "{ops:?}");
    let plans = [placement];
    assert_eq!(course(&by_nat, &plans, key("192.0.2.1:80")), Course::Cut);

    let by_proxy = &plans[0].target;
    let back = place_on(by_proxy, &desired(vec![nat("192.0.2.1:80", &[1, 2])]));
    assert_eq!(back.target, by_nat);
    assert_eq!(
        course(by_proxy, &[back], key("192.0.2.1:80")),
        Course::Kept,
        "the kernel gets what nat does not know"
    );
    let dsr = place_on(by_proxy, &desired(vec![service("192.0.2.1:80", &[1, 2])]));
    assert_eq!(course(by_proxy, &[dsr], key("192.0.2.1:80")), Course::Cut);
}

/// One of two VIPs goes to the proxy: what the other one's packets meet does not change under those that are on their way.
#[test]
fn a_region_whose_keys_part_is_left_alone() {
    let mut both = service("192.0.2.1:80", &[1, 2]);
    both.vips.push("192.0.2.2:80".parse().unwrap());
    let before = place_on(&Snapshot::default(), &desired(vec![both])).target;
    let want = beside(vec![service("192.0.2.1:80", &[1, 2])], vec![proxied(&["192.0.2.2:80"])]);
    let after = place_on(&before, &want).target;
    let old = before.entries[&key("192.0.2.1:80")];
    let new = after.entries[&key("192.0.2.1:80")];
    assert_ne!(old.member_base(), new.member_base());
    assert_eq!(after.entries[&key("192.0.2.2:80")].mode(), Some(Mode::Proxy));
    assert!(!after.rings.contains_key(&old.ring_block()));
}

/// What is known of flows that were balanced is forgotten where the proxy takes over.
#[test]
fn flows_of_a_ring_are_nobodys_at_the_proxy() {
    let before = place_on(&Snapshot::default(), &desired(vec![service("192.0.2.1:80", &[1, 2])])).target;
    let mut moving = before.clone();
    let ring = moving.rings.values_mut().next().unwrap();
    ring.slots = ring.slots.iter().map(|s| Slot::settled(s.current())).collect();
    let after = place_on(&moving, &beside(vec![], vec![proxied(&["192.0.2.1:80"])])).target;
    let ops = diff(&moving, &after);
    let forgets = |op: &MapOp| matches!(op, MapOp::ForgetFlows(forget) if forget.keys.contains(&key("192.0.2.1:80")));
    assert!(ops.iter().any(forgets), "{ops:?}");
}

#[test]
fn a_service_keeps_its_number() {
    let [a, b, c] = ["192.0.2.1:80", "192.0.2.2:80", "192.0.2.3:80"].map(|vip| proxied(&[vip]));
    let first = place_on(&Snapshot::default(), &beside(vec![], vec![a.clone(), b.clone()]));
    // The first one goes, and another comes before the second: nobody gets a number that somebody has or had until now.
    let second = place_on(&first.target, &beside(vec![], vec![c.clone(), b.clone()]));
    assert_eq!(second.proxied, [2, 1].map(Decision::proxy));
    let third = place_on(&second.target, &beside(vec![], vec![a, b, c]));
    assert_eq!(third.proxied, [0, 1, 2].map(Decision::proxy));
    // A pool, which no packet is for, has one that is nobody's.
    let pool = beside(vec![], vec![proxied(&[]), proxied(&["192.0.2.1:80"])]);
    let fourth = place_on(&third.target, &pool);
    assert_eq!(fourth.proxied, [3, 0].map(Decision::proxy));
}
