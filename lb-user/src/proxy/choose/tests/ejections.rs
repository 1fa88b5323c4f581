//! Who is set aside, and for how long.

use std::num::NonZeroU32;

use proptest::prelude::*;

use super::*;

fn only(n: u16, of: u16) -> Vec<SocketAddr> {
    (1..=of).filter(|&other| other != n).map(address).collect()
}

/// `times` requests of backend `n` end so, begun at once.
fn all_end(world: &World, pool: &mut Pool, (n, of): (u16, u16), ending: Ending, times: usize) {
    let leases: Vec<Choice> = (0..times).map(|_| world.ask(pool, 0, &only(n, of))).collect();
    for choice in leases {
        let Choice::Backend(lease) = choice else {
            panic!("{n} is not to be had")
        };
        world.end(pool, lease, ending, 1);
    }
}

fn serves(world: &World, pool: &mut Pool, n: u16) -> bool {
    pool.tick(world.now);
    pool.sharing.iter().any(|&i| pool.members[i].is.address == address(n))
}

fn gauge(world: &World, n: u16) -> (u64, u32) {
    let traffic = world.traffic.backend(&member(n, 1).key);
    (traffic.ejections.load(Relaxed), traffic.ejected.load(Relaxed))
}

#[test]
fn five_failures_in_a_row() {
    for ending in [
        Ending::Failed,
        Ending::Unreached,
        Ending::Broken(200),
        Ending::Answered(502),
        Ending::Answered(503),
        Ending::Answered(504),
    ] {
        let mut world = World::new();
        let mut pools = [0, 1].map(|_| world.pool(settings(Balance::RoundRobin), &members(&[1, 1])));
        all_end(&world, &mut pools[0], (1, 2), ending, 4);
        all_end(&world, &mut pools[0], (1, 2), Ending::Answered(500), 1);
        all_end(&world, &mut pools[0], (1, 2), ending, 2);
        all_end(&world, &mut pools[0], (1, 2), Ending::Abandoned, 9);
        all_end(&world, &mut pools[1], (1, 2), ending, 2);
        assert!(serves(&world, &mut pools[0], 1), "a success was between, then four");
        all_end(&world, &mut pools[0], (1, 2), ending, 1);
        for pool in &mut pools {
            assert!(!serves(&world, pool, 1), "{ending:?}: on every thread");
            assert!((0..9).all(|_| world.request(pool) == 2));
        }
        assert_eq!(gauge(&world, 1), (1, 1));
        world.wait(9_999);
        assert!(!serves(&world, &mut pools[1], 1));
        world.wait(1);
        assert!(serves(&world, &mut pools[1], 1));
        assert_eq!(gauge(&world, 1), (1, 0));
    }
}

#[test]
fn each_time_for_longer_and_then_forgiven() {
    let mut world = World::new();
    let mut pool = world.pool(settings(Balance::RoundRobin), &members(&[1, 1]));
    let fall = |world: &mut World, pool: &mut Pool| {
        all_end(world, pool, (1, 2), Ending::Failed, 5);
        let begun = world.now;
        while !serves(world, pool, 1) {
            world.wait(500);
        }
        (world.now - begun).as_secs()
    };
    let lengths: Vec<u64> = (0..4).map(|_| fall(&mut world, &mut pool)).collect();
    assert_eq!(lengths, [10, 20, 30, 40]);
    world.wait(299_000);
    assert_eq!(fall(&mut world, &mut pool), 50);
    world.wait(300_000);
    assert_eq!(fall(&mut world, &mut pool), 10);
    for _ in 0..40 {
        assert!(fall(&mut world, &mut pool) <= 300);
    }
    assert_eq!(fall(&mut world, &mut pool), 300);
}

#[test]
fn who_was_down_begins_anew() {
    let mut world = World::new();
    let mut all = members(&[1, 1]);
    let settings = settings(Balance::RoundRobin);
    let mut pool = world.pool(settings, &all);
    for times in 1..=3 {
        all_end(&world, &mut pool, (1, 2), Ending::Failed, 5);
        assert!(!serves(&world, &mut pool, 1));
        all[0].health = Health::Down;
        world.rebuild(&mut pool, settings, &all);
        assert_eq!(gauge(&world, 1), (times, 0));
        all[0].health = Health::Up;
        world.rebuild(&mut pool, settings, &all);
        assert!(serves(&world, &mut pool, 1));
        // As does who has failed, but not often enough.
        all_end(&world, &mut pool, (1, 2), Ending::Failed, 4);
        all[0].health = Health::Down;
        world.rebuild(&mut pool, settings, &all);
        all[0].health = Health::Up;
        world.rebuild(&mut pool, settings, &all);
        all_end(&world, &mut pool, (1, 2), Ending::Failed, 4);
        assert!(serves(&world, &mut pool, 1));
        all_end(&world, &mut pool, (1, 2), Ending::Answered(200), 1);
    }
    all_end(&world, &mut pool, (1, 2), Ending::Failed, 5);
    world.wait(10_000);
    assert!(serves(&world, &mut pool, 1), "for as long as the first time");
}

#[test]
fn what_was_begun_before_says_nothing_new() {
    let mut world = World::new();
    let mut pool = world.pool(settings(Balance::RoundRobin), &members(&[1, 1]));
    all_end(&world, &mut pool, (1, 2), Ending::Failed, 50);
    world.wait(10_000);
    assert_eq!(gauge(&world, 1).0, 1);
    all_end(&world, &mut pool, (1, 2), Ending::Failed, 4);
    assert_eq!(gauge(&world, 1), (1, 0));
}

#[test]
fn the_last_stays() {
    let world = World::new();
    let mut pool = world.pool(settings(Balance::RoundRobin), &members(&[1]));
    all_end(&world, &mut pool, (1, 1), Ending::Failed, 50);
    assert!(serves(&world, &mut pool, 1));
    let mut pool = world.pool(settings(Balance::RoundRobin), &members(&[1, 1, 1]));
    all_end(&world, &mut pool, (2, 3), Ending::Failed, 50);
    all_end(&world, &mut pool, (3, 3), Ending::Failed, 50);
    let serving: Vec<u16> = (1..=3).filter(|&n| serves(&world, &mut pool, n)).collect();
    assert_eq!(serving, [1, 3], "one is the most of three");
}

#[test]
fn where_all_that_are_up_are_set_aside_they_serve() {
    let world = World::new();
    let mut all = members(&[1, 1, 1]);
    let mut pool = world.pool(settings(Balance::RoundRobin), &all);
    all_end(&world, &mut pool, (1, 3), Ending::Failed, 5);
    all[1].health = Health::Down;
    all[2].health = Health::Down;
    world.rebuild(&mut pool, settings(Balance::RoundRobin), &all);
    assert_eq!(world.request(&mut pool), 1);
}

#[test]
fn who_is_set_aside_is_better_than_nobody() {
    for balance in ALL {
        let world = World::new();
        let mut pool = world.pool(settings(balance), &members(&[1, 1, 1]));
        all_end(&world, &mut pool, (1, 3), Ending::Failed, 5);
        let mut whom = |tried: &[u16]| {
            let tried: Vec<SocketAddr> = tried.iter().copied().map(address).collect();
            match world.ask(&mut pool, 0, &tried) {
                Choice::Backend(lease) => Some(lease.member().address),
                Choice::Full | Choice::Nobody => None,
            }
        };
        assert_eq!(whom(&[2]), Some(address(3)), "{balance:?}");
        assert_eq!(whom(&[2, 3]), Some(address(1)), "{balance:?}");
        assert_eq!(whom(&[1, 2, 3]), None, "{balance:?}");
    }
}

#[test]
fn a_rebuild_lets_nobody_in() {
    let mut world = World::new();
    let mut pool = world.pool(settings(Balance::ByRequests), &members(&[1, 1]));
    all_end(&world, &mut pool, (1, 2), Ending::Failed, 5);
    world.rebuild(&mut pool, settings(Balance::ByRequests), &members(&[1, 1]));
    assert!(!serves(&world, &mut pool, 1));
    world.wait(10_000);
    pool.tick(world.now);
    assert_eq!(gauge(&world, 1), (1, 0), "without a request");
    all_end(&world, &mut pool, (1, 2), Ending::Failed, 5);
    let never = Settings {
        eject: None,
        ..settings(Balance::ByRequests)
    };
    world.rebuild(&mut pool, never, &members(&[1, 1]));
    assert!(serves(&world, &mut pool, 1), "the file wants nobody set aside");
    assert_eq!(gauge(&world, 1), (2, 0));
}

#[test]
fn who_is_slower_than_the_median() {
    let mut world = World::new();
    let thrice = Settings {
        eject: Some(Eject {
            slower: NonZeroU32::new(300),
            ..Eject::default()
        }),
        ..settings(Balance::RoundRobin)
    };
    let mut pool = world.pool(thrice, &members(&[1, 1, 1, 1]));
    for round in 0..60 {
        for n in 1..=4 {
            let Choice::Backend(lease) = world.ask(&mut pool, 0, &only(n, 4)) else {
                continue;
            };
            let took = match n {
                3 if round >= 30 => 200,
                4 => 35,
                _ => 20,
            };
            world.end(&mut pool, lease, Ending::Answered(200), took);
        }
        world.wait(50);
        assert!(round >= 30 || gauge(&world, 3).0 == 0);
    }
    assert_eq!([1, 2, 3, 4].map(|n| gauge(&world, n)), [(0, 0), (0, 0), (1, 1), (0, 0)]);
    world.wait(10_000);
    assert!(serves(&world, &mut pool, 3), "and it is let in again");
}

#[test]
fn somebody_let_in_again_is_not_flooded() {
    let mut world = World::new();
    let mut pool = world.pool(settings(Balance::ByTraffic), &members(&[1, 1]));
    all_end(&world, &mut pool, (1, 2), Ending::Failed, 5);
    let serve = |world: &World, pool: &mut Pool| {
        let lease = world.begin(pool);
        pool.moved(&lease, 0, 1000);
        number(&lease)
    };
    for _ in 0..100 {
        assert_eq!(serve(&world, &mut pool), 2);
    }
    world.wait(10_000);
    let order: Vec<u16> = (0..6).map(|_| serve(&world, &mut pool)).collect();
    assert_eq!(order, [1, 2, 1, 2, 1, 2]);
}

proptest! {
    #[test]
    fn never_more_than_half(
        many in 1u16..9,
        events in prop::collection::vec((1u16..9, any::<bool>(), 0u64..3_000), 0..300),
    ) {
        let mut world = World::new();
        let touchy = Settings {
            eject: Some(Eject { errors: NonZeroU32::new(2).unwrap(), ..Eject::default() }),
            ..settings(Balance::LeastConnections)
        };
        let all = members(&vec![1; many.into()]);
        let mut pools = [0, 1].map(|_| world.pool(touchy, &all));
        for (n, failed, milliseconds) in events {
            world.wait(milliseconds);
            let pool = &mut pools[usize::from(n) % 2];
            if let Choice::Backend(lease) = world.ask(pool, 0, &only(n, many)) {
                world.end(pool, lease, if failed { Ending::Failed } else { Ending::Answered(200) }, 1);
            }
            pools.iter_mut().for_each(|pool| pool.tick(world.now));
            let pool = &mut pools[usize::from(n) % 2];
            let aside: u32 = (1..=many).map(|n| gauge(&world, n).1).sum();
            prop_assert!(aside <= u32::from(many) / 2, "{} of {}", aside, many);
            let serving = (1..=many).filter(|&n| serves(&world, pool, n)).count();
            prop_assert_eq!(serving as u32 + aside, u32::from(many));
        }
    }
}
