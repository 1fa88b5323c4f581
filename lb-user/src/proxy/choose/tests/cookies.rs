//! Clients that have shown a cookie.

use super::*;

fn show(world: &World, pool: &mut Pool, cookie: &str, exclude: &[SocketAddr]) -> Lease {
    let choice = pool.choose(&Ask {
        hash: 0,
        cookie: Some(cookie.as_bytes()),
        exclude,
        now: world.now,
    });
    match choice {
        Choice::Backend(lease) => lease,
        other => panic!("{other:?}"),
    }
}

fn cookie(n: u16) -> Arc<str> {
    sticky::token(SEED, &member(n, 1).key)
}

#[test]
fn they_keep_their_backend_while_it_drains() {
    let world = World::new();
    let mut all = members(&[1, 1, 1]);
    let mut pool = world.pool(settings(Balance::RoundRobin), &all);
    let lease = show(&world, &mut pool, &cookie(3), &[]);
    assert_eq!((number(&lease), lease.is_kept(), lease.token()), (3, true, &*cookie(3)));

    all[2].weight = 0;
    all[2].role = Role::Backup;
    all[2].health = Health::Unknown;
    all.reverse();
    world.rebuild(&mut pool, settings(Balance::RoundRobin), &all);
    assert_eq!(number(&show(&world, &mut pool, &cookie(3), &[])), 3);

    for spoil in [
        |m: &mut PoolMember| m.cut = true,
        |m: &mut PoolMember| m.health = Health::Down,
    ] {
        let mut spoilt = all.clone();
        spoil(&mut spoilt[0]);
        world.rebuild(&mut pool, settings(Balance::RoundRobin), &spoilt);
        let lease = show(&world, &mut pool, &cookie(3), &[]);
        assert!(number(&lease) != 3 && !lease.is_kept());
    }
}

#[test]
fn they_get_another_one_where_theirs_cannot() {
    let world = World::new();
    let limited = Settings {
        limit: Some(1),
        ..settings(Balance::RoundRobin)
    };
    let mut pool = world.pool(limited, &members(&[1, 1, 1]));
    assert_eq!(
        number(&show(&world, &mut pool, &cookie(3), &[address(3)])),
        1,
        "it was tried"
    );
    let full = show(&world, &mut pool, &cookie(3), &[]);
    assert_ne!(number(&show(&world, &mut pool, &cookie(3), &[])), 3, "it is full");
    drop(full);
    assert_eq!(number(&show(&world, &mut pool, &cookie(3), &[])), 3);
}

#[test]
fn what_is_nobodys_is_ignored() {
    let world = World::new();
    let mut pool = world.pool(settings(Balance::RoundRobin), &members(&[1, 1]));
    let foreign = sticky::token(Seed([0, 0]), &member(2, 1).key);
    for cookie in ["", "2", &cookie(9), &foreign] {
        assert!(!show(&world, &mut pool, cookie, &[]).is_kept(), "{cookie}");
    }
}
