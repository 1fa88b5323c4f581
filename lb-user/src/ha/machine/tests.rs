//! What follows from what, and nodes on a simulated wire.

mod wire;

use super::*;

const INTERVAL: Duration = Duration::from_secs(1);

fn settings() -> Settings {
    Settings {
        version: VrrpVersion::V3,
        interval: INTERVAL,
        preempt: true,
        preempt_delay: Duration::ZERO,
    }
}

fn ip(last: u8) -> IpAddr {
    [192, 0, 2, last].into()
}

fn heard(last: u8, priority: u8) -> Event {
    Event::Heard(Heard {
        from: ip(last),
        priority,
        interval: INTERVAL,
    })
}

/// A node with priority 100 and an address in the middle.
fn machine(settings: Settings) -> Machine {
    let mut machine = Machine::new(settings, 100);
    machine.set_address(Some(ip(5)));
    machine
}

/// Its `Active_Down_Interval`: 3 s and 156/256 of one.
const DOWN: Duration = Duration::from_micros(3_609_375);
const SKEW: Duration = Duration::from_micros(609_375);

struct Node {
    machine: Machine,
    now: Instant,
}

impl Node {
    fn new(settings: Settings) -> Self {
        let (machine, now) = (machine(settings), Instant::now());
        Self { machine, now }
    }

    fn backup() -> Self {
        let mut node = Self::new(settings());
        assert_eq!(node.on(Event::Start), [Effect::Became(Role::Backup, Reason::Started)]);
        node
    }

    fn master() -> Self {
        let mut node = Self::backup();
        node.wait(DOWN);
        let took_over = [
            Effect::Advertise(100),
            Effect::Hold,
            Effect::Became(Role::Master, Reason::Silence(DOWN)),
        ];
        assert_eq!(node.on(Event::Time), took_over);
        node
    }

    fn fault() -> Self {
        let mut node = Self::backup();
        assert_eq!(node.on(Event::Unable), [Effect::Became(Role::Fault, Reason::Unable)]);
        node
    }

    fn leaving() -> Self {
        let mut node = Self::master();
        assert_eq!(node.on(Event::Stop), [Effect::Advertise(0)]);
        node
    }

    fn on(&mut self, event: Event) -> Vec<Effect> {
        self.machine.handle(event, self.now)
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
    }

    /// Until it wants to be asked.
    fn due(&self) -> Option<Duration> {
        self.machine.due().map(|due| due.saturating_duration_since(self.now))
    }
}

/// Every event in every state, at the moment in which that began.
#[test]
fn every_event_in_every_state() {
    use Effect::{Advertise, Announce, Became, Hold, Release};
    const EVENTS: [Event; 11] = [
        Event::Start,
        Event::Heard(Heard {
            from: IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 9)),
            priority: 0,
            interval: INTERVAL,
        }),
        Event::Heard(Heard {
            from: IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 9)),
            priority: 50,
            interval: INTERVAL,
        }),
        Event::Heard(Heard {
            from: IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 9)),
            priority: 200,
            interval: INTERVAL,
        }),
        Event::Time,
        Event::Priority(90),
        Event::Unable,
        Event::Able,
        Event::Promote,
        Event::Demote,
        Event::Stop,
    ];
    let unable = || vec![Became(Role::Fault, Reason::Unable)];
    let stopped = || vec![Became(Role::Waiting, Reason::Stopped)];
    let by_group = || vec![Advertise(100), Hold, Became(Role::Master, Reason::Group)];
    let begins = |reason| vec![Became(Role::Backup, reason)];
    let none = Vec::new;
    type Begin = fn() -> Node;
    let table: [(Role, Begin, [Vec<Effect>; 11]); 5] = [
        (
            Role::Waiting,
            || Node::new(settings()),
            [
                begins(Reason::Started),
                none(),
                none(),
                none(),
                none(),
                none(),
                none(),
                none(),
                none(),
                none(),
                none(),
            ],
        ),
        (
            Role::Backup,
            Node::backup,
            [
                none(),
                none(),
                none(),
                none(),
                none(),
                none(),
                unable(),
                none(),
                by_group(),
                none(),
                stopped(),
            ],
        ),
        (
            Role::Master,
            || {
                let mut node = Node::master();
                node.wait(INTERVAL / 10);
                node
            },
            [
                none(),
                vec![Advertise(100)],
                vec![Advertise(100), Announce],
                vec![Release, Became(Role::Backup, Reason::Outranked(ip(9), 200))],
                none(),
                vec![Advertise(90)],
                vec![Advertise(0)],
                none(),
                none(),
                vec![Advertise(0), Release, Became(Role::Backup, Reason::Group)],
                vec![Advertise(0)],
            ],
        ),
        (
            Role::Master,
            Node::leaving,
            [
                none(),
                none(),
                [vec![Release], stopped()].concat(),
                [vec![Release], stopped()].concat(),
                none(),
                none(),
                none(),
                none(),
                none(),
                none(),
                vec![Advertise(0)],
            ],
        ),
        (
            Role::Fault,
            Node::fault,
            [
                none(),
                none(),
                none(),
                none(),
                none(),
                none(),
                none(),
                begins(Reason::Able),
                none(),
                none(),
                stopped(),
            ],
        ),
    ];
    for (role, begin, expected) in table {
        for (event, expected) in EVENTS.into_iter().zip(expected) {
            let mut node = begin();
            assert_eq!(node.machine.role(), role);
            assert_eq!(node.on(event), expected, "{event:?} in {role:?}");
        }
    }
}

#[test]
fn a_backup_takes_over_when_nobody_is_heard() {
    let mut node = Node::backup();
    assert_eq!(node.due(), Some(DOWN));
    node.wait(Duration::from_secs(3));
    assert_eq!(node.on(heard(9, 200)), []);
    assert_eq!(node.due(), Some(DOWN), "it was heard");
    assert_eq!(node.machine.master(), Some((ip(9), 200)));
    // An equal one counts, whatever its address.
    node.wait(INTERVAL);
    assert_eq!(node.on(heard(1, 100)), []);
    assert_eq!(node.due(), Some(DOWN));
    // It is given away: the better a node, the sooner it takes over.
    node.wait(INTERVAL);
    assert_eq!(node.on(heard(1, 0)), []);
    assert_eq!(node.due(), Some(SKEW));
    node.wait(SKEW - Duration::from_micros(1));
    assert_eq!(node.on(Event::Time), []);
    node.wait(Duration::from_micros(1));
    let took_over = [
        Effect::Advertise(100),
        Effect::Hold,
        Effect::Became(Role::Master, Reason::GivenAway(ip(1))),
    ];
    assert_eq!(node.on(Event::Time), took_over);
}

/// A backup counts with the interval of the master (RFC 9568 section 6.4.2); in version 2 with its own.
#[test]
fn the_masters_interval_counts() {
    let fast = Duration::from_millis(100);
    let quick = Event::Heard(Heard {
        from: ip(9),
        priority: 200,
        interval: fast,
    });
    let mut node = Node::backup();
    assert_eq!(node.on(quick), []);
    assert_eq!(node.due(), Some(DOWN / 10));
    let old = Settings {
        version: VrrpVersion::V2,
        ..settings()
    };
    let mut node = Node::new(old);
    let _ = node.on(Event::Start);
    assert_eq!(node.on(quick), []);
    assert_eq!(node.due(), Some(DOWN));
}

#[test]
fn a_worse_master_is_let_be_or_not() {
    // Without preemption for ever.
    let mut node = Node::new(Settings {
        preempt: false,
        ..settings()
    });
    let _ = node.on(Event::Start);
    node.wait(INTERVAL);
    assert_eq!(node.on(heard(9, 50)), []);
    assert_eq!(node.due(), Some(DOWN));
    // With it, it is not heard.
    let mut node = Node::backup();
    node.wait(INTERVAL);
    assert_eq!(node.on(heard(9, 50)), []);
    assert_eq!(node.due(), Some(DOWN - INTERVAL));
    // Or only for some time.
    let mut node = Node::new(Settings {
        preempt_delay: 5 * INTERVAL,
        ..settings()
    });
    let _ = node.on(Event::Start);
    for _ in 0..5 {
        assert_eq!(node.on(heard(9, 50)), []);
        assert_eq!(node.due(), Some(DOWN), "it waits");
        node.wait(INTERVAL);
    }
    assert_eq!(node.on(heard(9, 50)), []);
    assert_eq!(node.due(), Some(DOWN - INTERVAL), "it waits no more");
    // The delay begins anew behind a better one.
    assert_eq!(node.on(heard(8, 150)), []);
    assert_eq!(node.on(heard(9, 50)), []);
    assert_eq!(node.due(), Some(DOWN));
}

#[test]
fn ties_are_broken_by_addresses() {
    let mut node = Node::master();
    node.wait(INTERVAL / 10);
    assert_eq!(node.on(heard(4, 100)), [Effect::Advertise(100), Effect::Announce]);
    assert!(node.machine.has_rival(node.now));
    node.wait(3 * INTERVAL);
    assert!(!node.machine.has_rival(node.now), "it is heard no more");
    let outranked = Effect::Became(Role::Backup, Reason::Outranked(ip(6), 100));
    assert_eq!(node.on(heard(6, 100)), [Effect::Release, outranked]);
    // One without an address has nothing to say.
    let mut node = Node::master();
    node.machine.set_address(None);
    assert_eq!(node.on(heard(4, 100)).first(), Some(&Effect::Release));
}

/// However many come, they are not answered as often.
#[test]
fn a_flood_is_answered_once_in_a_while() {
    let mut node = Node::master();
    let mut answers = 0;
    for _ in 0..1_000 {
        node.wait(INTERVAL / 1_000);
        for event in [heard(4, 50), heard(4, 0), Event::Time] {
            answers += node
                .on(event)
                .iter()
                .filter(|e| matches!(e, Effect::Advertise(_)))
                .count();
        }
    }
    assert_eq!(answers, 10);
}

#[test]
fn who_owns_the_addresses_does_not_wait() {
    let mut machine = Machine::new(settings(), 255);
    let effects = machine.handle(Event::Start, Instant::now());
    assert_eq!(effects.last(), Some(&Effect::Became(Role::Master, Reason::Owner)));
}

/// Somebody answers for the addresses until the next master does.
#[test]
fn what_is_given_away_is_held_until_it_is_taken() {
    for (event, end) in [
        (Event::Stop, Effect::Became(Role::Waiting, Reason::Stopped)),
        (Event::Unable, Effect::Became(Role::Fault, Reason::Unable)),
    ] {
        let mut node = Node::master();
        assert_eq!(node.on(event), [Effect::Advertise(0)]);
        assert_eq!(node.on(heard(9, 0)), [], "another one that goes");
        assert_eq!(node.on(heard(9, 50)), [Effect::Release, end]);
        // Nobody is there.
        let mut node = Node::master();
        assert_eq!(node.on(event), [Effect::Advertise(0)]);
        assert_eq!(node.due(), Some(INTERVAL + GRACE));
        node.wait(INTERVAL + GRACE);
        assert_eq!(node.on(Event::Time), [Effect::Release, end]);
        assert_eq!(node.machine.is_over(), event == Event::Stop);
    }
    // It was only for a moment.
    let mut node = Node::master();
    let _ = (node.on(Event::Unable), node.on(Event::Able));
    let again = Effect::Became(Role::Backup, Reason::Able);
    assert_eq!(node.on(heard(9, 50)), [Effect::Release, again]);
}

/// One that cannot serve when it begins takes no part before it can.
#[test]
fn it_begins_when_it_can() {
    let mut node = Node::new(settings());
    assert_eq!(node.on(Event::Unable), []);
    assert_eq!(node.on(Event::Start), [Effect::Became(Role::Fault, Reason::Unable)]);
    assert_eq!(node.due(), None);
    assert_eq!(node.on(Event::Able), [Effect::Became(Role::Backup, Reason::Able)]);
}
