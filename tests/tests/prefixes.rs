//! Files of prefixes beside the configuration of a daemon that runs: a change of one is noticed, judged and told as one of the
//! configuration is; and one of a million is in force in seconds, and is changed under traffic without a packet that is judged
//! by anything but the old list or the new one.

#![allow(clippy::unwrap_used, reason = "what tests share may panic as they do")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use lb_tests::backing::VIPS;
use lb_tests::flood::raw;
use lb_tests::gate::{self, Gate};
use lb_tests::node::{DEADLINE, Daemon, Node};
use lb_tests::packet;
use lb_tests::segment::{Segment, v4, v6};
use lb_tests::toml::service;
use lb_user::api::types::{Status, Verdict};
use lb_user::model::status::FlowQuery;
use lb_user::model::{Prefix, Protocol};
use nix::sys::signal::Signal;
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

/// Another file in place of the one at `path`.
fn replace(node: &Node, path: &str, list: &str) {
    fs::write(node.path("new"), list).unwrap();
    fs::rename(node.path("new"), node.path(path)).unwrap();
}

/// `fulcrum plan` of the running file: exit code and standard output.
fn planned(node: &Node) -> (Option<i32>, String) {
    let output = node.run("plan");
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_changes_is_read_again() {
    if gate::root() == Gate::Skip {
        return;
    }
    let node = Node::new().await;
    fs::create_dir(node.path("lists")).unwrap();
    replace(&node, "lists/deny.txt", "192.0.2.0/24\n");
    let list = node.path("lists/deny.txt").display().to_string();
    let with = |deny: &str| format!("{}[protection]\ndeny = [\"file:{deny}\"]\n", node.head("eth0"));
    node.configure(&with(&list));
    let _daemon = node.start().await;
    assert_eq!(planned(&node), (Some(0), "nothing would change\n".to_owned()));

    replace(&node, "lists/deny.txt", "192.0.2.0/24\n198.51.100.0/24\n");
    let accepted = |times: u64| node.until("it is read", move |s| s.reloads.accepted == times);
    accepted(1).await;
    assert_eq!(planned(&node), (Some(0), "nothing would change\n".to_owned()));

    replace(&node, "lists/deny.txt", "192.0.2.0/24\n198.51.100.0/240\n");
    let status = node.until("it is refused", |s| s.refused_reload.is_some()).await;
    let reason = status.refused_reload.unwrap();
    assert!(
        reason.contains("deny.txt:2: \"198.51.100.0/240\" is not a prefix"),
        "{reason}"
    );
    // A list in a folder that is new to the daemon is watched from the moment that the file names it.
    fs::create_dir(node.path("others")).unwrap();
    replace(&node, "others/deny.txt", "192.0.2.0/24\n");
    node.configure(&with(&node.path("others/deny.txt").display().to_string()));
    accepted(2).await;
    replace(&node, "others/deny.txt", "192.0.2.0/24\n10.0.0.0/8\n");
    accepted(3).await;

    // What a plan says of lists are numbers.
    let many: String = (0..300).map(|n| format!("10.1.{}.{}\n", n / 256, n % 256)).collect();
    let next = node.path("many.txt");
    fs::write(&next, many + "10.0.0.0/8\n").unwrap();
    fs::write(node.path("next.toml"), with(&next.display().to_string())).unwrap();
    let mut plan = node.command(&["plan", "-c", &node.path("next.toml").to_string_lossy()]);
    let output = plan.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let expected = "~ protection.deny: 2 prefixes -> 301 prefixes (+300 -1)\n";
    assert_eq!((output.status.code(), text.as_str()), (Some(3), expected));
}

/// Between two rounds of traffic, so that it leaves the daemon a processor.
const PAUSE: Duration = Duration::from_micros(100);

/// Prefixes of a list, half of them of each family.
const MANY: u64 = 1_000_000;

/// Longest wait for a list of so many, by the clock on the wall: it takes a debug build several seconds of a processor, which
/// is not its own.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a list of so many may take until it is in force, of a processor's time: what else the machine does is no matter.
const IN_FORCE: Duration = Duration::from_secs(10);

/// Of the service, and of its servers.
const PORT: u16 = 5001;

/// Sources are told apart by their port, so that each has one flow.
const FIRST_PORT: u16 = 10_000;

/// The client's network, which every list denies.
const SEGMENT: &str = "10.8.0.0/24\nfd08::/64\n";

/// Who may come from there all the same: half of all that is in force would let others in, or shut him out.
const ALLOWED: [IpAddr; 2] = [v4(10), v6(10)];

/// Spreads numbers over all there are; none comes twice, since the factor is odd.
const fn spread(number: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Prefix `number` of a list: of IPv4 where it is even. Half of them, those below [`MANY`] / 2, are in every list; the others
/// change with its `edition`.
fn one(number: u64, edition: u64) -> Prefix {
    let own = if number < MANY / 2 {
        number
    } else {
        number + edition * MANY
    };
    let bits = spread(own);
    if number.is_multiple_of(2) {
        // Outside of 10.0.0.0/8.
        let ip = Ipv4Addr::from((bits >> 32) as u32 | 0x8000_0000);
        let length = if number.is_multiple_of(16) { 24 } else { 32 };
        return Prefix { ip: ip.into(), length }.cleared();
    }
    let ip = u128::from(bits) << 61 >> 3 | 0x2000 << 112 | u128::from(own);
    let length = [48, 64, 128, 128][(number / 2 % 4) as usize];
    let ip = IpAddr::V6(ip.into());
    Prefix { ip, length }.cleared()
}

/// An edition of the list.
fn whole(edition: u64) -> (String, u64) {
    list((0..MANY + 2 * edition).map(|number| one(number, edition)))
}

/// A list of a quarter of the prefixes, which are in every edition, and of which those of [`denied`] are some.
fn quarter() -> (String, u64) {
    let numbers = (0..MANY).filter(|&number| is_in_quarter(number));
    list(numbers.map(|number| one(number, 0)))
}

const fn is_in_quarter(number: u64) -> bool {
    number < MANY / 2 && (number / 2).is_multiple_of(2)
}

/// A list as its file has it, and how many prefixes it has, by which lists are told apart.
fn list(prefixes: impl Iterator<Item = Prefix>) -> (String, u64) {
    let prefixes: BTreeSet<Prefix> = prefixes.collect();
    let mut text = String::with_capacity(32 << 20);
    text += SEGMENT;
    for prefix in &prefixes {
        writeln!(text, "{prefix}").unwrap();
    }
    (text, (prefixes.len() + SEGMENT.lines().count() + ALLOWED.len()) as u64)
}

/// Sources that every list denies, all over it, of a family.
fn denied(v6: bool) -> Vec<IpAddr> {
    let numbers = (0..64).map(|n| n * (MANY / 256) * 2 + u64::from(v6));
    assert!(numbers.clone().all(is_in_quarter));
    numbers.map(|number| one(number, 0).ip).collect()
}

/// Packets of sources that are denied and of one that is not, of both families, some thousands in a second, until it is
/// ended: in each round a denied one, and then the other, which has to come by itself.
struct Traffic {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    ended: AtomicBool,
    /// Rounds that are over, each with one packet of each family that is dropped, and one that comes.
    rounds: AtomicU64,
}

/// What the packets of a family take.
struct Lane {
    socket: UdpSocket,
    server: UdpSocket,
    vip: SocketAddr,
    allowed: IpAddr,
    denied: Vec<IpAddr>,
}

impl Lane {
    fn new(segment: &Segment, v6: bool) -> Self {
        let vip = SocketAddr::new(VIPS[usize::from(v6)], PORT);
        let socket = segment.client.run_inside(|| raw(vip.ip())).unwrap().unwrap();
        let bind = || UdpSocket::bind((host(11, v6), PORT));
        let server = segment.backends[0].run_inside(bind).unwrap().unwrap();
        server.set_read_timeout(Some(DEADLINE)).unwrap();
        Self {
            socket,
            server,
            vip,
            allowed: ALLOWED[usize::from(v6)],
            denied: denied(v6),
        }
    }

    fn send(&self, source: IpAddr, port: u16, number: u64) {
        let packet = packet::udp(SocketAddr::new(source, port), self.vip, &number.to_be_bytes());
        self.socket.send_to(&packet, (self.vip.ip(), 0)).unwrap();
    }

    /// Packets keep their order, so what was let through comes before the one that has to come.
    fn round(&self, round: u64) {
        let which = round as usize % self.denied.len();
        self.send(self.denied[which], FIRST_PORT + which as u16, u64::MAX);
        self.send(self.allowed, FIRST_PORT, round);
        let mut number = [0; 8];
        let received = self
            .server
            .recv(&mut number)
            .expect("a packet of the allowed source is lost");
        assert_eq!((received, u64::from_be_bytes(number)), (8, round), "somebody else's");
    }
}

impl Traffic {
    fn start(segment: &Segment) -> Self {
        let lanes = [false, true].map(|v6| Lane::new(segment, v6));
        let shared = Arc::new(Shared::default());
        let thread = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                while !shared.ended.load(Ordering::Relaxed) {
                    let round = shared.rounds.load(Ordering::Relaxed);
                    lanes.iter().for_each(|lane| lane.round(round));
                    shared.rounds.store(round + 1, Ordering::Relaxed);
                    thread::sleep(PAUSE);
                }
            }
        });
        Self { shared, thread }
    }

    /// It has gone on for some rounds since now.
    async fn goes_on(&self, node: &Node) {
        let before = self.shared.rounds.load(Ordering::Relaxed);
        let goes_on = |_: &Status| {
            assert!(!self.thread.is_finished(), "it has ended early");
            self.shared.rounds.load(Ordering::Relaxed) > before + 100
        };
        node.until("traffic goes on", goes_on).await;
    }

    /// Ends it: how many rounds there were.
    fn end(self) -> u64 {
        self.shared.ended.store(true, Ordering::Relaxed);
        self.thread.join().expect("a packet was not judged as it had to be");
        self.shared.rounds.load(Ordering::Relaxed)
    }
}

const fn host(number: u8, in_v6: bool) -> IpAddr {
    if in_v6 { v6(number as u16) } else { v4(number) }
}

/// What the daemon takes for a list.
struct Clock {
    pid: Pid,
    /// Its processor time when the lap began.
    since: Duration,
}

impl Clock {
    /// With a lap that began with the daemon.
    fn of(daemon: &Daemon) -> Self {
        Self {
            pid: Pid::from_raw(daemon.pid().cast_signed()),
            since: Duration::ZERO,
        }
    }

    fn now(&self) -> Duration {
        let clock = clock_getcpuclockid(self.pid).unwrap();
        clock_gettime(clock).unwrap().into()
    }

    fn begin(&mut self) {
        self.since = self.now();
    }

    /// Ends a lap, which has also taken the time since `began`.
    fn lap(&self, what: &str, began: Instant) {
        let took = self.now() - self.since;
        println!("{what}: {took:.1?} of a processor, within {:.1?}", began.elapsed());
        assert!(took < IN_FORCE, "{what} took {took:?}");
    }
}

/// What becomes of a source's flow.
async fn verdict(node: &Node, source: IpAddr) -> Verdict {
    let flow = FlowQuery {
        protocol: Protocol::Udp,
        source: SocketAddr::new(source, 4000),
        destination: SocketAddr::new(VIPS[usize::from(source.is_ipv6())], PORT),
    };
    node.client().explain(flow).await.unwrap().verdict
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_a_million_changes_under_traffic() {
    if gate::root() == Gate::Skip {
        return;
    }
    let segment = Segment::new(1).await;
    let node = &segment.node;
    let (text, prefixes) = whole(0);
    fs::write(node.path("deny.txt"), text).unwrap();
    let services = [false, true].map(|in_v6| {
        let vip = SocketAddr::new(VIPS[usize::from(in_v6)], PORT);
        let name = if in_v6 { "six" } else { "four" };
        let backend = SocketAddr::new(host(11, in_v6), PORT);
        service(name, "nat", &[vip]).udp().backend(backend).to_string()
    });
    let file = node.path("deny.txt").display().to_string();
    let protection = format!(
        "[protection]\nallow = {:?}\ndeny = [\"file:{file}\"]\n",
        ALLOWED.map(|ip| ip.to_string())
    );
    node.configure(&format!("{}{protection}{}", node.head("eth0"), services.concat()));
    let in_force = |wanted: u64| {
        move |status: &Status| {
            let prefixes = status.protection.as_ref().map(|protection| protection.prefixes);
            status.fault.is_none() && prefixes == Some(wanted)
        }
    };

    let began = Instant::now();
    let daemon = node.start().await;
    node.until_within(PATIENCE, "the list is in force", in_force(prefixes))
        .await;
    let mut clock = Clock::of(&daemon);
    clock.lap("start", began);
    let serve = |status: &Status| {
        let mut backends = status.services.iter().flat_map(|service| &service.backends);
        backends.all(|backend| backend.slots > 0 && backend.next_hop.is_some())
    };
    let before = node.until("both serve", serve).await.drops;
    let traffic = Traffic::start(&segment);
    traffic.goes_on(node).await;

    let socket = node.path("socket").display().to_string();
    let succeeds = |arguments: &[&str]| {
        let output = node.command(arguments).args(["--socket", &socket]).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && errors.is_empty(), "{arguments:?}: {errors}");
    };
    let is_refused = async |source: IpAddr| match verdict(node, source).await {
        Verdict::Refused { .. } => true,
        Verdict::Forwarded { .. } => false,
        other => panic!("{source}: {other:?}"),
    };
    for edition in 1..=2 {
        let (text, prefixes) = whole(edition);
        clock.begin();
        let began = Instant::now();
        replace(node, "deny.txt", &text);
        // By itself, or because somebody says so.
        if edition == 2 {
            daemon.signal(Signal::SIGHUP);
        }
        node.until_within(PATIENCE, "another list is in force", in_force(prefixes))
            .await;
        clock.lap("a reload", began);
        // Of either family, what only the one before had, and what only this one has.
        for number in [MANY - 2, MANY - 1] {
            assert!(!is_refused(one(number, edition - 1).ip).await);
            assert!(is_refused(one(number, edition).ip).await);
        }
        traffic.goes_on(node).await;
    }

    // Commands, which are answered within 10 s or not at all: with a million prefixes, a debug build needs most of that.
    let (text, prefixes) = quarter();
    replace(node, "deny.txt", &text);
    daemon.signal(Signal::SIGHUP);
    node.until_within(PATIENCE, "a shorter list is in force", in_force(prefixes))
        .await;
    traffic.goes_on(node).await;
    let other: IpAddr = [10, 99, 0, 1].into();
    for _ in 0..2 {
        clock.begin();
        let began = Instant::now();
        succeeds(&["deny", "add", "10.99.0.0/16"]);
        clock.lap("`deny add`", began);
        assert!(is_refused(other).await);
        traffic.goes_on(node).await;
        succeeds(&["deny", "remove", "10.99.0.0/16"]);
        assert!(!is_refused(other).await);
        traffic.goes_on(node).await;
    }

    // Nothing was dropped but what is denied, for that reason.
    let rounds = traffic.end();
    let mut expected = before;
    *expected.get_mut("denied").unwrap() += 2 * rounds;
    node.until("all is counted", |status| status.drops == expected).await;
}
