//! Who may serve at all, and how much.

use proptest::prelude::*;

use super::*;

type Change = fn(&mut PoolMember);

fn with(members: &mut [PoolMember], changes: &[(u16, Change)]) -> Vec<PoolMember> {
    for (n, change) in changes {
        change(&mut members[usize::from(*n) - 1]);
    }
    members.to_vec()
}

/// Who gets something of a hundred requests with different hashes.
fn served(balance: Balance, members: &[PoolMember]) -> Vec<u16> {
    let world = World::new();
    let mut pool = world.pool(settings(balance), members);
    let choose = |n: u64| match world.ask(&mut pool, hash::bytes(SEED, &n.to_le_bytes()), &[]) {
        Choice::Backend(lease) => {
            pool.moved(&lease, 10, 10);
            Some(number(&lease))
        }
        Choice::Nobody => None,
        Choice::Full => panic!("there is no limit"),
    };
    let mut all: Vec<u16> = (0..100).filter_map(choose).collect();
    all.sort_unstable();
    all.dedup();
    all
}

#[test]
fn who_may_serve() {
    let down: Change = |m| m.health = Health::Down;
    let unknown: Change = |m| m.health = Health::Unknown;
    let backup: Change = |m| m.role = Role::Backup;
    let cut: Change = |m| m.cut = true;
    let light: Change = |m| m.weight = 0;
    for balance in ALL {
        let check = |changes: &[(u16, Change)], who: &[u16]| {
            assert_eq!(
                served(balance, &with(&mut members(&[1; 4]), changes)),
                who,
                "{balance:?}"
            );
        };
        check(&[], &[1, 2, 3, 4]);
        check(&[(1, down), (2, cut), (3, light)], &[4]);
        check(&[(1, unknown), (2, unknown)], &[3, 4]);
        check(&[(1, backup), (2, backup)], &[3, 4]);
        check(&[(1, backup), (2, backup), (3, down), (4, light)], &[1, 2]);
        check(&[(1, backup), (2, unknown), (3, cut), (4, down)], &[1]);
        check(&[(1, down), (2, unknown), (3, unknown), (3, backup), (4, down)], &[2]);
        check(&[(1, down), (2, cut), (3, unknown), (3, backup), (4, light)], &[3]);
        check(&[(1, down), (2, cut), (3, light), (4, down)], &[]);
    }
}

#[test]
fn a_limit_is_that_of_all_threads() {
    for balance in ALL {
        let world = World::new();
        let limited = Settings {
            limit: Some(2),
            ..settings(balance)
        };
        let mut pools = [0, 1, 2].map(|_| world.pool(limited, &members(&[1, 5, 1])));
        let mut open = Vec::new();
        for i in 0..6 {
            let Choice::Backend(lease) = world.ask(&mut pools[i % 3], i as u64 * 77, &[]) else {
                panic!("{balance:?}: there is room for {i} and one more")
            };
            open.push(lease);
        }
        for n in 1..=3 {
            assert_eq!(open.iter().filter(|lease| number(lease) == n).count(), 2, "{balance:?}");
        }
        for pool in &mut pools {
            assert!(matches!(world.ask(pool, 1, &[]), Choice::Full), "{balance:?}");
            let all = [1, 2, 3].map(address);
            assert!(matches!(world.ask(pool, 1, &all), Choice::Nobody), "{balance:?}");
        }
        let freed = number(&open[3]);
        drop(open.remove(3));
        let Choice::Backend(lease) = world.ask(&mut pools[1], 9, &[]) else {
            panic!()
        };
        assert_eq!(number(&lease), freed, "{balance:?}");
    }
}

#[test]
fn leases_outlive_rebuilds() {
    let world = World::new();
    let mut pool = world.pool(settings(Balance::RoundRobin), &members(&[1, 1]));
    let (one, two) = (world.begin(&mut pool), world.begin(&mut pool));
    let limited = Settings {
        limit: Some(1),
        ..settings(Balance::RoundRobin)
    };
    world.rebuild(&mut pool, limited, &[member(2, 1)]);
    assert_eq!(pool.members().len(), 1);
    assert!(
        matches!(world.ask(&mut pool, 0, &[]), Choice::Full),
        "its request is still under way"
    );
    world.end(&mut pool, two, Ending::Answered(204), 3);
    assert_eq!(world.request(&mut pool), 2);
    world.end(&mut pool, one, Ending::Broken(200), 3);
    let gone = world.traffic.backend(&member(1, 1).key);
    let counted = [&gone.responses[1], &gone.failures, &gone.requests].map(|counter| counter.load(Relaxed));
    assert_eq!((counted, gone.active.load(Relaxed)), ([1, 1, 1], 0));
}

#[test]
fn the_budget_is_that_of_all_threads() {
    let world = World::new();
    let mut pools = [0, 1].map(|_| world.pool(settings(Balance::RoundRobin), &members(&[1])));
    for _ in 0..100 {
        pools[0].request(world.now);
    }
    let lease = world.begin(&mut pools[1]);
    let granted = (0..500).filter(|i| pools[i % 2].retry(&lease, world.now)).count();
    assert_eq!(granted, 100 + 20);
    assert_eq!(lease.traffic().retries.load(Relaxed), 120);
}

proptest! {
    #[test]
    fn who_is_excluded_is_never_chosen(
        weights in prop::collection::vec(0u16..5, 1..8),
        asks in prop::collection::vec((any::<u64>(), prop::collection::vec(1u16..9, 0..8)), 1..50),
        which in 0usize..ALL.len(),
    ) {
        let world = World::new();
        let mut pool = world.pool(settings(ALL[which]), &members(&weights));
        for (hash, excluded) in asks {
            let exclude: Vec<SocketAddr> = excluded.iter().map(|&n| address(n)).collect();
            let left = (1..).zip(&weights).any(|(n, &weight)| weight > 0 && !excluded.contains(&n));
            match world.ask(&mut pool, hash, &exclude) {
                Choice::Backend(lease) => {
                    prop_assert!(!excluded.contains(&number(&lease)));
                    prop_assert!(lease.member().weight > 0);
                }
                Choice::Nobody => prop_assert!(!left),
                Choice::Full => prop_assert!(false),
            }
        }
    }
}

#[test]
fn threads_that_race_keep_the_limit() {
    use std::sync::atomic::AtomicU32;
    let world = World::new();
    let limited = Settings {
        limit: Some(3),
        ..settings(Balance::LeastConnections)
    };
    let under_way = AtomicU32::new(0);
    let served = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut pool = world.pool(limited, &members(&[1]));
                let mut open = Vec::new();
                for round in 0..5000 {
                    match world.ask(&mut pool, 0, &[]) {
                        Choice::Backend(lease) => {
                            assert!(under_way.fetch_add(1, Relaxed) < 3);
                            served.fetch_add(1, Relaxed);
                            open.push(lease);
                        }
                        Choice::Full => {}
                        Choice::Nobody => panic!("there is one"),
                    }
                    if round % 2 == 0 && !open.is_empty() {
                        under_way.fetch_sub(1, Relaxed);
                        open.pop();
                    }
                }
                under_way.fetch_sub(open.len() as u32, Relaxed);
            });
        }
    });
    let traffic = world.traffic.backend(&member(1, 1).key);
    assert_eq!(traffic.requests.load(Relaxed), u64::from(served.load(Relaxed)));
    assert_eq!(traffic.active.load(Relaxed), 0);
}
