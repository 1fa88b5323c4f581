//! Limits of sources over ten seconds: what comes through is what was set, within 5 %, of clients that send too little to be
//! refused, a little too much, and far too much, all at the same time.
//!
//! What is right follows from the times at which packets were really sent, so it holds on a slow machine too.

#![allow(clippy::unwrap_used, reason = "a helper of tests may panic as they do")]

use std::net::{IpAddr, SocketAddr};
use std::thread::sleep;
use std::time::{Duration, Instant};

use lb_common::protect::{ADDRESSES, FIRST_REASON, place};
use lb_common::stats::DropReason;
use lb_tests::gate::{self, Gate};
use lb_tests::packet::{self, ACK, SYN};
use lb_tests::rig::{CLIENT, NODE, Rig, rig};
use lb_tests::toml::{self, service};
use lb_user::dataplane::Dataplane as _;
use lb_user::model::Protocol;
use lb_user::plan::ServiceKey;

const DROP: u32 = 1;
const TX: u32 = 3;

/// So long all of them send.
const LASTS: Duration = Duration::from_secs(10);

/// Between two looks at who has something to send.
const PAUSE: Duration = Duration::from_millis(1);

/// What clients may be off by.
const TOLERANCE: f64 = 0.05;

/// A limit, as the file has it.
#[derive(Clone, Copy, Debug)]
struct Limit {
    rate: f64,
    burst: f64,
    /// Who is over it is refused for this.
    reason: DropReason,
    /// Of packets to this port; of ICMP, without.
    port: Option<u16>,
    flags: u8,
}

const LIMITS: [Limit; 3] = [
    Limit {
        rate: 100.0,
        burst: 20.0,
        reason: DropReason::ConnectionRate,
        port: Some(80),
        flags: SYN,
    },
    Limit {
        rate: 400.0,
        burst: 100.0,
        reason: DropReason::PacketRate,
        port: Some(81),
        flags: ACK,
    },
    Limit {
        rate: 50.0,
        burst: 25.0,
        reason: DropReason::IcmpRate,
        port: None,
        flags: 0,
    },
];

/// How fast clients are, as multiples of their limit.
const SPEEDS: [f64; 3] = [0.5, 1.2, 10.0];

const VIPS: [&str; 2] = ["192.0.2.10", "2001:db8::10"];

/// The file with [`LIMITS`].
fn file() -> String {
    let [connections, packets, icmp] =
        LIMITS.map(|Limit { rate, burst, .. }| format!("{{ limit = {rate}, burst = {burst} }}"));
    let web = |name: &str, port: u16, protection: String| {
        let addresses = [format!("{}:{port}", VIPS[0]), format!("[{}]:{port}", VIPS[1])];
        let web = service(name, "dsr", &addresses).table("protection", protection);
        web.backend(format!("10.0.0.1:{port}"))
    };
    let services = [
        web("connections", 80, format!("connections-per-second = {connections}")),
        web("packets", 81, format!("packets-per-second = {packets}")),
    ];
    let head = toml::file(services);
    let (node, rest) = head.split_once("[[service]]").unwrap();
    format!("{node}\n[protection]\nicmp-per-second = {icmp}\n[[service]]{rest}")
}

/// One source, what it sends, and what became of that.
struct Client {
    limit: Limit,
    speed: f64,
    frame: Vec<u8>,
    what: String,
    /// When it has sent, since the beginning.
    times: Vec<f64>,
    accepted: usize,
}

impl Client {
    /// `number` tells it from all others.
    fn new(limit: Limit, speed: f64, vip: &str, number: u8) -> Self {
        let vip: IpAddr = vip.parse().unwrap();
        let ip: IpAddr = match vip {
            IpAddr::V4(_) => [198, 51, 100, number].into(),
            IpAddr::V6(_) => [0x2001, 0xdb8, 1, number.into(), 0, 0, 0, 7].into(),
        };
        let packet = match limit.port {
            Some(port) => packet::tcp(
                SocketAddr::new(ip, 40_000),
                SocketAddr::new(vip, port),
                limit.flags,
                b"",
            ),
            None => packet::icmp(ip, vip, if vip.is_ipv4() { 8 } else { 128 }, 0, &[0, 1, 0, 2]),
        };
        Self {
            limit,
            speed,
            frame: packet::frame(NODE, CLIENT, &packet),
            what: format!("{:?} of {ip}, {speed} times the limit", limit.reason),
            times: Vec::new(),
            accepted: 0,
        }
    }

    /// Sends what is due at `now`. Who is slow has a distance to keep, and who is fast a number to reach.
    fn send(&mut self, rig: &mut Rig, began: Instant, now: f64) {
        let rate = self.limit.rate * self.speed;
        let due = if self.speed < 1.0 {
            usize::from(self.times.last().is_none_or(|last| now - last >= 1.0 / rate))
        } else {
            ((now * rate) as usize).saturating_sub(self.times.len())
        };
        for _ in 0..due {
            let (action, _) = rig.dataplane_mut().test_run(&self.frame).unwrap();
            assert!(matches!(action, TX | DROP), "{}: {action}", self.what);
            self.times.push(began.elapsed().as_secs_f64());
            self.accepted += usize::from(action == TX);
        }
    }

    /// What a bucket lets through that was full at the beginning.
    fn expected(&self) -> f64 {
        let Limit { rate, burst, .. } = self.limit;
        let (mut tokens, mut last, mut through) = (burst, 0.0, 0.0);
        for time in &self.times {
            tokens = burst.min(tokens + rate * (time - last));
            last = *time;
            if tokens >= 1.0 {
                tokens -= 1.0;
                through += 1.0;
            }
        }
        through
    }

    /// What was let through is what should have been.
    fn judge(&self) {
        let Limit { rate, burst, .. } = self.limit;
        let sent = self.times.len();
        let [first, last] = [self.times[0], self.times[sent - 1]];
        let (accepted, expected, most) = (self.accepted as f64, self.expected(), burst + rate * (last - first));
        let what = format!(
            "{}: {accepted} of {sent} in {:.3} s; a bucket gives {expected}, {most:.1} at most",
            self.what,
            last - first
        );
        if self.speed < 1.0 {
            assert_eq!(self.accepted, sent, "{what}");
            assert!(accepted > 2.0 * burst, "more than a bucket would have had: {what}");
            return;
        }
        assert!(self.accepted < sent, "{what}");
        assert!(accepted <= most * (1.0 + TOLERANCE), "{what}");
        assert!((accepted - expected).abs() <= expected * TOLERANCE, "{what}");
    }
}

/// How often the program says that it has refused something for the reason of this limit.
fn refused(rig: &mut Rig, limit: Limit) -> u64 {
    let place = limit.port.map_or(ADDRESSES, |port| {
        let vip = SocketAddr::new(VIPS[0].parse().unwrap(), port);
        let installed = rig.dataplane_mut().installed().unwrap();
        place(installed.entries[&ServiceKey::service(vip, Protocol::Tcp)])
    });
    let refusals = rig.dataplane_mut().refusals(place, 1).unwrap()[0];
    let index = limit.reason as u32 - FIRST_REASON;
    assert_eq!(refusals.evicted, 0, "there is room for all");
    assert_eq!(refusals.refused.iter().sum::<u64>(), refusals.refused[index as usize]);
    refusals.refused[index as usize]
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_hold_for_slow_and_fast_clients() {
    if gate::root() == Gate::Skip {
        return;
    }
    let mut rig = rig(&file(), &[]).await;
    let mut clients = Vec::new();
    for vip in VIPS {
        for limit in LIMITS {
            for speed in SPEEDS {
                clients.push(Client::new(limit, speed, vip, clients.len() as u8));
            }
        }
    }
    let began = Instant::now();
    while began.elapsed() < LASTS {
        for client in &mut clients {
            let now = began.elapsed().as_secs_f64();
            client.send(&mut rig, began, now);
        }
        sleep(PAUSE);
    }
    for client in &clients {
        client.judge();
    }
    for limit in LIMITS {
        let of = clients.iter().filter(|client| client.limit.reason == limit.reason);
        let dropped: usize = of.map(|client| client.times.len() - client.accepted).sum();
        assert_eq!(refused(&mut rig, limit), dropped as u64, "{:?}", limit.reason);
    }
}
