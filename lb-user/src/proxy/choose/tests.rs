//! Pools from outside: who is chosen, and how often.

mod cookies;
mod ejections;
mod limits;
mod shares;

use std::time::Duration;

use lb_common::hash::Seed;

use super::*;
use crate::model::traffic::Traffic;
use crate::model::{Health, Role};

const SEED: Seed = Seed([7, 8]);

/// What threads have in common, and a clock.
struct World {
    registry: Registry,
    traffic: Traffic,
    now: Instant,
}

impl World {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            registry: Registry::new(SEED, now),
            traffic: Traffic::default(),
            now,
        }
    }

    /// Of one more thread.
    fn pool(&self, settings: Settings, members: &[PoolMember]) -> Pool {
        let mut pool = Pool::new(self.registry.service(&"web".into()), settings, 1);
        self.rebuild(&mut pool, settings, members);
        pool
    }

    fn rebuild(&self, pool: &mut Pool, settings: Settings, members: &[PoolMember]) {
        pool.rebuild(settings, members, |key| self.traffic.backend(key), self.now);
    }

    fn wait(&mut self, milliseconds: u64) {
        self.now += Duration::from_millis(milliseconds);
    }

    fn ask(&self, pool: &mut Pool, hash: u64, exclude: &[SocketAddr]) -> Choice {
        pool.choose(&Ask {
            hash,
            cookie: None,
            exclude,
            now: self.now,
        })
    }

    /// A request's lease, or a panic.
    fn begin(&self, pool: &mut Pool) -> Lease {
        match self.ask(pool, 0, &[]) {
            Choice::Backend(lease) => lease,
            other => panic!("{other:?}"),
        }
    }

    fn end(&self, pool: &mut Pool, lease: Lease, ending: Ending, milliseconds: u64) {
        if matches!(ending, Ending::Answered(_)) {
            pool.head(&lease, Duration::from_millis(milliseconds), self.now);
        }
        let outcome = Outcome {
            ending,
            sent: 0,
            received: 0,
        };
        pool.end(lease, &outcome, self.now);
    }

    /// A whole request: whose it was.
    fn request(&self, pool: &mut Pool) -> u16 {
        let lease = self.begin(pool);
        let number = number(&lease);
        self.end(pool, lease, Ending::Answered(200), 1);
        number
    }
}

fn settings(balance: Balance) -> Settings {
    Settings {
        balance,
        table_size: RingSize::new(1024).unwrap(),
        eject: Some(Eject::default()),
        limit: None,
        retry: Retry::default(),
    }
}

/// Backend number `n`, from 1.
fn member(n: u16, weight: u16) -> PoolMember {
    let address = SocketAddr::from(([10, 0, (n >> 8) as u8, n as u8], 80));
    PoolMember {
        key: MemberKey {
            service: "web".into(),
            backend: address,
        },
        name: format!("web{n}").into(),
        address,
        host: None,
        weight,
        role: Role::Primary,
        health: Health::Up,
        cut: false,
    }
}

fn members(weights: &[u16]) -> Vec<PoolMember> {
    (1..).zip(weights).map(|(n, &weight)| member(n, weight)).collect()
}

fn address(n: u16) -> SocketAddr {
    member(n, 1).address
}

fn number(lease: &Lease) -> u16 {
    lease.member().name.strip_prefix("web").unwrap().parse().unwrap()
}

const ALL: [Balance; 9] = [
    Balance::Maglev,
    Balance::SourceHash,
    Balance::RoundRobin,
    Balance::LeastConnections,
    Balance::ByRequests,
    Balance::ByTraffic,
    Balance::ByBusyness,
    Balance::Heartbeat,
    Balance::PeakEwma,
];
