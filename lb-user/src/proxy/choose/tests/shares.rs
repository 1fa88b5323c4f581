//! How often each one is chosen.

use proptest::prelude::*;

use super::*;

fn order(balance: Balance, weights: &[u16], requests: usize) -> Vec<u16> {
    let world = World::new();
    let mut pool = world.pool(settings(balance), &members(weights));
    (0..requests).map(|_| world.request(&mut pool)).collect()
}

fn counts(order: &[u16], members: usize) -> Vec<usize> {
    let mut counts = vec![0; members];
    for &n in order {
        counts[usize::from(n) - 1] += 1;
    }
    counts
}

#[test]
fn turns_are_those_of_nginx_and_apache() {
    // 5, 1, 1 is the example of nginx' commit that brought smooth turns.
    for balance in [
        Balance::RoundRobin,
        Balance::ByRequests,
        Balance::ByBusyness,
        Balance::LeastConnections,
    ] {
        assert_eq!(order(balance, &[5, 1, 1], 7), [1, 1, 2, 1, 3, 1, 1], "{balance:?}");
        assert_eq!(order(balance, &[1, 1, 1], 6), [1, 2, 3, 1, 2, 3], "{balance:?}");
    }
}

proptest! {
    #[test]
    fn a_period_has_what_weights_say(weights in prop::collection::vec(0u16..40, 1..20), periods in 1usize..3) {
        let period: usize = weights.iter().map(|&w| usize::from(w)).sum();
        prop_assume!(period > 0);
        for balance in [Balance::RoundRobin, Balance::ByRequests] {
            let counts = counts(&order(balance, &weights, period * periods), weights.len());
            for (count, &weight) in counts.iter().zip(&weights) {
                prop_assert_eq!(*count, usize::from(weight) * periods);
            }
        }
    }

    #[test]
    fn threads_take_the_turns_of_one(weights in prop::collection::vec(1u16..9, 1..8), threads in prop::collection::vec(0usize..4, 1..200)) {
        let world = World::new();
        let mut pools: Vec<Pool> = (0..4).map(|_| world.pool(settings(Balance::ByRequests), &members(&weights))).collect();
        let together: Vec<u16> = threads.iter().map(|&thread| world.request(&mut pools[thread])).collect();
        prop_assert_eq!(together, order(Balance::ByRequests, &weights, threads.len()));
    }
}

#[test]
fn fewest_connections_for_the_weight() {
    let world = World::new();
    let mut pool = world.pool(settings(Balance::LeastConnections), &members(&[1, 2]));
    let mut other = world.pool(settings(Balance::LeastConnections), &members(&[1, 2]));
    let open: Vec<Lease> = (0..9)
        .map(|i| world.begin(if i % 2 == 0 { &mut pool } else { &mut other }))
        .collect();
    let one = open.iter().filter(|lease| number(lease) == 1).count();
    assert_eq!((one, open.len() - one), (3, 6), "over both threads");
    drop(open);
    assert_eq!(world.traffic.backend(&member(1, 1).key).active.load(Relaxed), 0);
}

#[test]
fn busyness_knows_no_weight_but_between_equals() {
    let world = World::new();
    let mut pool = world.pool(settings(Balance::ByBusyness), &members(&[1, 9]));
    let open: Vec<Lease> = (0..10).map(|_| world.begin(&mut pool)).collect();
    let one = open.iter().filter(|lease| number(lease) == 1).count();
    assert_eq!(one, 5);
}

#[test]
fn traffic_is_bytes_both_ways_for_the_weight() {
    let world = World::new();
    let mut pool = world.pool(settings(Balance::ByTraffic), &members(&[1, 3]));
    let mut bytes = [0u64; 2];
    for i in 0..4000u64 {
        let lease = world.begin(&mut pool);
        let (sent, received) = (i % 7 * 100, i % 11 * 5000);
        bytes[usize::from(number(&lease)) - 1] += sent + received;
        let outcome = Outcome {
            ending: Ending::Answered(200),
            sent,
            received,
        };
        pool.end(lease, &outcome, world.now);
    }
    let share = bytes[1] as f64 / (bytes[0] + bytes[1]) as f64;
    assert!((share - 0.75).abs() < 0.001, "{bytes:?}");
}

#[test]
fn one_who_joins_is_not_flooded() {
    for balance in [Balance::ByTraffic, Balance::ByRequests, Balance::RoundRobin] {
        let world = World::new();
        let mut pool = world.pool(settings(balance), &members(&[1, 1]));
        let serve = |pool: &mut Pool| {
            let lease = world.begin(pool);
            let n = number(&lease);
            pool.moved(&lease, 0, 1000);
            world.end(pool, lease, Ending::Answered(200), 1);
            n
        };
        for _ in 0..100 {
            serve(&mut pool);
        }
        world.rebuild(&mut pool, settings(balance), &members(&[1, 1, 1]));
        let order: Vec<u16> = (0..6).map(|_| serve(&mut pool)).collect();
        assert_eq!(order, [1, 2, 3, 1, 2, 3], "{balance:?}");
    }
}

#[test]
fn a_rebuild_that_changes_nothing_forgets_nothing() {
    let world = World::new();
    for balance in [Balance::RoundRobin, Balance::ByRequests] {
        let mut pool = world.pool(settings(balance), &members(&[5, 1, 1]));
        let mut order = Vec::new();
        for _ in 0..7 {
            order.push(world.request(&mut pool));
            world.rebuild(&mut pool, settings(balance), &members(&[5, 1, 1]));
        }
        assert_eq!(order, [1, 1, 2, 1, 3, 1, 1], "{balance:?}");
    }
}

#[test]
fn sticky_requests_are_rounds_of_by_requests() {
    let world = World::new();
    let mut pool = world.pool(settings(Balance::ByRequests), &members(&[1, 1]));
    let lease = world.begin(&mut pool);
    let token = lease.token().to_owned();
    drop(lease);
    for _ in 0..10 {
        let choice = pool.choose(&Ask {
            hash: 0,
            cookie: Some(token.as_bytes()),
            exclude: &[],
            now: world.now,
        });
        assert!(matches!(choice, Choice::Backend(lease) if number(&lease) == 1));
    }
    let order: Vec<u16> = (0..12).map(|_| world.request(&mut pool)).collect();
    assert_eq!(counts(&order, 2), [1, 11], "the other one is owed ten");
}

#[test]
fn heartbeats_are_shares_of_chance() {
    let mut world = World::new();
    let mut pool = world.pool(settings(Balance::Heartbeat), &members(&[1, 1, 1]));
    let first: Vec<u16> = (0..3).map(|_| world.request(&mut pool)).collect();
    assert_eq!(first, [1, 2, 3], "by turn, as long as nothing is known");
    let all = [
        &b"v=1&ready=30&busy=1"[..],
        b"v=1&ready=10&busy=1",
        b"v=1&ready=0&busy=9",
    ];
    let hear = |world: &World, pool: &mut Pool, of: &[usize]| {
        for &i in of {
            let others: Vec<_> = (1..=3).filter(|&n| usize::from(n) != i + 1).map(address).collect();
            let Choice::Backend(lease) = world.ask(pool, 0, &others) else {
                panic!()
            };
            pool.heartbeat(&lease, all[i], world.now);
        }
    };
    hear(&world, &mut pool, &[0, 1, 2]);
    let order: Vec<u16> = (0..4000).map(|_| world.request(&mut pool)).collect();
    let counts_now = counts(&order, 3);
    assert_eq!(counts_now[2], 0, "it has no slot");
    assert!((2850..3150).contains(&counts_now[0]), "{counts_now:?}");
    world.wait(11_000);
    hear(&world, &mut pool, &[0]);
    let order: Vec<u16> = (0..4000).map(|_| world.request(&mut pool)).collect();
    let counts_now = counts(&order, 3);
    assert!(counts_now[0] > 3800, "the others have gone quiet: {counts_now:?}");
    assert!(counts_now[1] > 0 && counts_now[2] > 0, "and are asked now and then");
}

#[test]
fn the_slower_of_two_gets_less() {
    let mut world = World::new();
    let mut pool = world.pool(settings(Balance::PeakEwma), &members(&[1, 1, 1]));
    let mut served = [0; 3];
    for _ in 0..900 {
        let lease = world.begin(&mut pool);
        let n = number(&lease);
        served[usize::from(n) - 1] += 1;
        world.wait(5);
        world.end(&mut pool, lease, Ending::Answered(200), if n == 3 { 400 } else { 5 });
    }
    assert!(served[2] < 30, "{served:?}");
    assert!(served[0] > 250 && served[1] > 250, "{served:?}");
}

#[test]
fn failing_quickly_attracts_nobody() {
    let mut world = World::new();
    let never = Settings {
        eject: None,
        ..settings(Balance::PeakEwma)
    };
    let mut pool = world.pool(never, &members(&[1, 1]));
    let mut served = [0; 2];
    for _ in 0..300 {
        let lease = world.begin(&mut pool);
        let n = number(&lease);
        served[usize::from(n) - 1] += 1;
        world.wait(5);
        let ending = if n == 1 { Ending::Failed } else { Ending::Answered(200) };
        world.end(&mut pool, lease, ending, if n == 1 { 0 } else { 20 });
    }
    assert!(served[0] < 10, "{served:?}");
}

#[test]
fn chance_goes_by_weight() {
    let world = World::new();
    let mut pool = world.pool(settings(Balance::PeakEwma), &members(&[1, 1, 1, 3]));
    let leases: Vec<Lease> = (0..600).map(|_| world.begin(&mut pool)).collect();
    let four = leases.iter().filter(|lease| number(lease) == 4).count();
    assert!(
        (150..260).contains(&four),
        "{four}: two choices even out what weight gives"
    );
}

#[test]
fn rings_agree_whatever_the_order_and_the_thread() {
    let world = World::new();
    let (some, mut others) = (members(&[1, 2, 3, 4]), members(&[1, 2, 3, 4]));
    others.reverse();
    let mut one = world.pool(settings(Balance::Maglev), &some);
    let mut other = World::new().pool(settings(Balance::SourceHash), &others);
    for n in 0..500u64 {
        let hash = hash::bytes(SEED, &n.to_le_bytes());
        let exclude = [address((n % 4) as u16 + 1), address((n / 4 % 4) as u16 + 1)];
        for exclude in [&[][..], &exclude] {
            let (Choice::Backend(a), Choice::Backend(b)) =
                (world.ask(&mut one, hash, exclude), world.ask(&mut other, hash, exclude))
            else {
                panic!()
            };
            assert_eq!(number(&a), number(&b));
            assert!(!exclude.contains(&a.member().address));
        }
    }
}

#[test]
fn a_ring_goes_by_weight_and_its_slot() {
    let world = World::new();
    let mut pool = world.pool(settings(Balance::Maglev), &members(&[1, 3]));
    let mut chosen = [0; 2];
    for slot in 0..1024 {
        let Choice::Backend(lease) = world.ask(&mut pool, slot, &[]) else {
            panic!()
        };
        chosen[usize::from(number(&lease)) - 1] += 1;
    }
    assert_eq!(chosen, [256, 768]);
    let candidates = [(1, 1), (2, 3)].map(|(n, weight)| crate::balance::Candidate {
        address: address(n),
        weight,
        index: MemberIndex(n),
    });
    let ring = crate::balance::build(&candidates, RingSize::new(1024).unwrap(), SEED).unwrap();
    for slot in 0..1024u64 {
        let Choice::Backend(lease) = world.ask(&mut pool, slot | 5 << 40, &[]) else {
            panic!()
        };
        assert_eq!(number(&lease), ring[slot as usize].0, "as the program chooses");
    }
}
