//! Virtual routers between this daemon and keepalived, and between two daemons.
//!
//! Past 500 lines: one stage, on which keepalived and the daemon take turns, and what is said on it.

#![allow(clippy::unwrap_used, reason = "what tests share may panic as they do")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lb_common::addr::Mac;
use lb_common::csum::fold;
use lb_tests::capture::Capture;
use lb_tests::executable;
use lb_tests::gate::{self, Gate};
use lb_tests::node::{DEADLINE, Node};
use lb_tests::pair::keepalived;
use lb_tests::segment::{Process, Segment, plug, v4, v6};
use lb_tests::toml::service;
use lb_user::api::types::{AdminState, BackendPatch, Status};
use lb_user::ha::packet::{Advertisement, GROUP_V4, PROTOCOL};
use lb_user::model::vrrp::VrrpVersion;
use lb_user::net::packet::PacketSocket;
use lb_user::net::{Namespace, Net};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A virtual router that both take part in.
#[derive(Clone, Copy, Debug)]
struct Shared {
    id: u8,
    version: u8,
    v6: bool,
    unicast: bool,
    /// Has the daemon the higher priority?
    ours: bool,
}

impl Shared {
    /// Every kind, both ways round.
    fn all() -> Vec<Self> {
        let kinds = [
            (2, false, false),
            (2, false, true),
            (3, false, false),
            (3, false, true),
            (3, true, false),
            (3, true, true),
        ];
        let each = kinds.into_iter().flat_map(|kind| [(kind, true), (kind, false)]);
        let shared = |(id, ((version, v6, unicast), ours))| Self {
            id,
            version,
            v6,
            unicast,
            ours,
        };
        (1..).zip(each).map(shared).collect()
    }

    fn address(&self) -> IpAddr {
        if self.v6 {
            v6(100 + u16::from(self.id))
        } else {
            v4(100 + self.id)
        }
    }

    fn host(&self, number: u8) -> IpAddr {
        if self.v6 { v6(number.into()) } else { v4(number) }
    }

    /// Seconds.
    fn interval(&self) -> f32 {
        if self.version == 2 { 1.0 } else { 0.1 }
    }

    fn priority(&self, ours: bool) -> u8 {
        if self.ours == ours { 150 } else { 90 }
    }

    /// For the daemon.
    fn toml(&self, node: u8, peer: u8, ours: bool) -> String {
        let Self { id, version, .. } = self;
        let peers = if self.unicast {
            // With its own: it is passed over.
            format!("peers = [\"{}\", \"{}\"]\n", self.host(node), self.host(peer))
        } else {
            String::new()
        };
        format!(
            "[[vrrp]]\nname = \"VI_{id}\"\ninterface = \"eth0\"\nrouter-id = {id}\nversion = {version}\npriority = {}\n\
             advertisement-interval = \"{}ms\"\naddresses = [\"{}\"]\n{peers}",
            self.priority(ours),
            self.interval() * 1_000.0,
            self.address(),
        )
    }

    /// For keepalived.
    fn conf(&self) -> String {
        let Self { id, version, .. } = self;
        let unicast = if self.unicast {
            format!(
                "unicast_src_ip {}\nunicast_peer {{\n{}\n}}\n",
                self.host(2),
                self.host(1)
            )
        } else {
            String::new()
        };
        format!(
            "vrrp_instance VI_{id} {{\nstate BACKUP\ninterface eth0\nvirtual_router_id {id}\nversion {version}\npriority {}\n\
             advert_int {}\n{unicast}virtual_ipaddress {{\n{}\n}}\n}}\n",
            self.priority(false),
            self.interval(),
            self.address(),
        )
    }
}

struct Keepalived {
    process: Process,
}

impl Keepalived {
    fn start(host: &Namespace, node: &Node, shared: &[Shared]) -> Self {
        let mut conf = "global_defs {\nrouter_id peer\nvrrp_garp_master_delay 1\n}\n".to_owned();
        shared.iter().for_each(|one| conf.push_str(&one.conf()));
        let file = node.path("keepalived.conf");
        fs::write(&file, conf).unwrap();
        let mut command = keepalived("keepalived", node);
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(node.path("keepalived.log"))
            .unwrap();
        command.stderr(Stdio::from(log));
        Self {
            process: Process::start(host, &mut command),
        }
    }

    fn end(mut self) {
        kill(Pid::from_raw(self.process.child.id().cast_signed()), Signal::SIGTERM).unwrap();
        self.process.child.wait().unwrap();
    }
}

/// Which of these addresses a host has.
async fn held(net: &Net, shared: &[Shared]) -> BTreeSet<u8> {
    let there: BTreeSet<IpAddr> = net.addresses().await.unwrap().into_iter().map(|a| a.ip).collect();
    shared
        .iter()
        .filter(|one| there.contains(&one.address()))
        .map(|one| one.id)
        .collect()
}

/// Waits until the first host has these addresses, the other the rest, and no two the same.
async fn until_held(
    what: &str,
    node: &Node,
    hosts: [&Net; 2],
    shared: &[Shared],
    first: impl Fn(&Shared) -> bool,
    rest: bool,
) {
    let here: BTreeSet<u8> = shared.iter().filter(|one| first(one)).map(|one| one.id).collect();
    let there: BTreeSet<u8> = shared
        .iter()
        .filter(|one| rest && !first(one))
        .map(|one| one.id)
        .collect();
    let deadline = Instant::now() + DEADLINE;
    loop {
        let seen = [held(hosts[0], shared).await, held(hosts[1], shared).await];
        if seen == [here.clone(), there.clone()] {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{what}: {seen:?}, and not {here:?} and {there:?}\n{}\n{}\n{}",
            refused(node),
            node.log(),
            fs::read_to_string(node.path("keepalived.log")).unwrap_or_default()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Advertisements that were not taken, as monitoring sees them.
fn refused(node: &Node) -> String {
    let socket = node.path("socket");
    let output = Command::new("curl")
        .args([
            "-s",
            "--unix-socket",
            &socket.to_string_lossy(),
            "http://fulcrum/metrics",
        ])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let refused = text
        .lines()
        .filter(|line| line.starts_with("fulcrum_vrrp_advertisements_refused") && !line.ends_with(" 0"));
    refused.collect::<Vec<_>>().join("\n")
}

fn roles(status: &Status, shared: &[Shared], role: impl Fn(&Shared) -> &'static str) -> bool {
    let mut both = shared.iter().zip(&status.virtual_routers);
    shared.len() == status.virtual_routers.len() && both.all(|(one, router)| router.role == role(one))
}

/// What tshark makes of advertisements: by VRID, who sent which priority, in order.
fn decoded(capture: Capture) -> BTreeMap<u8, Vec<(String, u8)>> {
    let fields = [
        "vrrp.virt_rtr_id",
        "ip.src",
        "ipv6.src",
        "vrrp.prio",
        "vrrp.checksum.status",
        "ip.checksum.status",
        "_ws.malformed",
    ];
    let mut sent = BTreeMap::<u8, Vec<(String, u8)>>::new();
    for packet in capture.fields("vrrp && !icmp && !icmpv6", fields) {
        let [id, from_v4, from_v6, priority, checksum, header, malformed] = &packet;
        // 1 is "good".
        let good = checksum == "1" && (header.is_empty() || header == "1") && malformed.is_empty();
        assert!(good, "{packet:?}");
        let from = format!("{from_v4}{from_v6}");
        sent.entry(id.parse().unwrap())
            .or_default()
            .push((from, priority.parse().unwrap()));
    }
    sent
}

/// How often another one is master than the one before: who is heard in turn with somebody else makes it many.
fn turns(sent: &[(String, u8)]) -> usize {
    let masters: Vec<&String> = sent
        .iter()
        .filter(|(_, priority)| *priority > 0)
        .map(|(from, _)| from)
        .collect();
    masters.windows(2).filter(|two| two[0] != two[1]).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn keepalived_and_this_are_of_one_mind() {
    if gate::root() == Gate::Skip {
        return;
    }
    let shared = Shared::all();
    let segment = Segment::new(0).await;
    let node = &segment.node;
    let peer = plug(node, "peer", 2).await;
    let (here, there) = (Net::inside(&node.namespace).unwrap(), Net::inside(&peer).unwrap());
    let hosts = [&here, &there];
    let mut text = node.head_with_seed("eth0");
    shared
        .iter()
        .for_each(|one| write!(text, "{}", one.toml(1, 2, true)).unwrap());
    node.configure(&text);
    let capture = Capture::start(&peer, &node.path("vrrp.pcapng"));

    let daemon = node.start().await;
    let keepalived = Keepalived::start(&peer, node, &shared);
    until_held("both are there", node, hosts, &shared, |one| one.ours, true).await;
    node.until("roles are those of addresses", |status| {
        roles(status, &shared, |one| if one.ours { "master" } else { "backup" })
    })
    .await;

    keepalived.end();
    until_held("keepalived has ended", node, hosts, &shared, |_| true, false).await;
    node.until("all are ours", |status| roles(status, &shared, |_| "master"))
        .await;

    let keepalived = Keepalived::start(&peer, node, &shared);
    until_held("keepalived is back", node, hosts, &shared, |one| one.ours, true).await;

    assert_eq!(daemon.end(Signal::SIGTERM), Some(0));
    assert_eq!(
        held(&here, &shared).await,
        BTreeSet::new(),
        "nothing is left at its end"
    );
    until_held("the daemon has ended", node, hosts, &shared, |_| false, true).await;

    let daemon = node.start().await;
    until_held("the daemon is back", node, hosts, &shared, |one| one.ours, true).await;

    // It is killed: the kernel lets its addresses go by itself.
    daemon.end(Signal::SIGKILL);
    until_held("the daemon was killed", node, hosts, &shared, |_| false, true).await;
    keepalived.end();

    let sent = decoded(capture);
    assert_eq!(sent.len(), shared.len());
    for one in &shared {
        let sent = &sent[&one.id];
        // Whoever has the higher priority loses it and gets it back: once or twice. Each time that the machine stands still
        // for longer than a master may be silent adds two turns; two who are master together make almost all of them.
        assert!(turns(sent) <= 6 + sent.len() / 10, "{one:?}: {sent:?}");
    }
}

/// A node that is alone, with one virtual router that is quick.
fn alone(node: &Node, interval: &str, more: &str) -> String {
    let router = format!(
        "[[vrrp]]\nname = \"VI_1\"\ninterface = \"eth0\"\nrouter-id = 1\npriority = 100\n\
         advertisement-interval = \"{interval}\"\naddresses = [\"{}\"]\n{more}",
        v4(100)
    );
    format!("{}{router}{}", node.head_with_seed("eth0"), web())
}

fn web() -> lb_tests::toml::Service {
    service("web", "dsr", &[SocketAddr::new(v4(100), 80)])
        .unprobed()
        .backend(SocketAddr::new(v4(11), 80))
}

/// For how long the kernel keeps the virtual address, in seconds; `None` where the node has none.
fn valid(node: &Node) -> Option<u64> {
    let mut ip = Command::new("ip");
    let output = node.namespace.confine(ip.args(["-j", "addr"])).output().unwrap();
    let links: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let addresses = links
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|link| link["addr_info"].as_array().unwrap());
    let address = v4(100).to_string();
    let mut found = addresses.filter(|a| a["local"] == *address);
    found.next().map(|a| a["valid_life_time"].as_u64().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_tracked_and_what_the_file_says_is_followed() {
    if gate::root_with(&["ip"]) == Gate::Skip {
        return;
    }
    let segment = Segment::new(1).await;
    let node = &segment.node;
    let (switch, told) = (node.path("maintenance"), node.path("told"));
    let program = node.path("program");
    let script = format!("#!/bin/sh\necho \"$*\" >> {}\n", told.display());
    executable::write(&program, script.as_bytes());
    let program = program.display();
    let more = format!(
        "notify = {{ master = \"{program}\", fault = \"{program}\", stop = \"{program}\" }}\n\
         [[vrrp.track]]\nfile = \"{}\"\n[[vrrp.track]]\nservice = \"web\"\nweight = -10\n\
         [[vrrp.track]]\nscript = \"true\"\nweight = 5\n",
        switch.display()
    );
    node.configure(&alone(node, "10ms", &more));
    let daemon = node.start().await;
    let is = |role: &'static str, priority: u8| {
        move |status: &Status| {
            let mut routers = status.virtual_routers.iter();
            routers.any(|router| router.role == role && router.priority == priority)
        }
    };
    node.until("it is master, and the script is up", is("master", 105))
        .await;
    // The kernel holds the address for some seconds only, and lets it go where they are not renewed in time.
    let for_seconds = async || valid(node).is_some_and(|seconds| seconds < 10);
    node.until_so("it is held for some seconds", for_seconds).await;

    // Somebody takes the node out.
    fs::write(&switch, "").unwrap();
    let status = node.until("it takes no part", is("fault", 105)).await;
    let router = &status.virtual_routers[0];
    assert!(router.reason.contains("maintenance is down"), "{router:?}");
    assert_eq!(router.down, [format!("file {}", switch.display())]);
    assert_eq!(valid(node), None);
    // Programs are told of the newest change alone.
    let are_told = async || fs::read_to_string(&told).unwrap_or_default().contains("VI_1 FAULT");
    node.until_so("they are told of the fault", are_told).await;
    fs::remove_file(&switch).unwrap();
    node.until("it takes part again", is("master", 105)).await;

    // A service without its quorum costs what its weight says.
    let down = BackendPatch {
        weight: None,
        state: Some(AdminState::Disabled),
    };
    node.client().patch("web", "10.8.0.11:80", down).await.unwrap();
    node.until("the service has no backend", is("master", 95)).await;

    // Another interval: it stays master.
    let transitions = node.client().status().await.unwrap().virtual_routers[0].transitions;
    assert_eq!(transitions, 2);
    node.configure(&alone(node, "20ms", &more));
    node.client().reload().await.unwrap();
    node.until("it is master still", is("master", 95)).await;
    node.until_so("it is held still", async || valid(node).is_some()).await;

    // The virtual router goes, and its address is an ordinary VIP.
    node.configure(&format!("{}{}", node.head_with_seed("eth0"), web()));
    node.client().reload().await.unwrap();
    node.until("it is gone", |status| status.virtual_routers.is_empty())
        .await;
    let forever = u64::from(u32::MAX);
    node.until_so("it is held for ever", async || valid(node) == Some(forever))
        .await;

    // And back.
    node.configure(&alone(node, "10ms", &more));
    node.client().reload().await.unwrap();
    node.until("it is master anew", is("master", 95)).await;
    node.until_so("it is held for some seconds again", for_seconds).await;
    assert_eq!(daemon.end(Signal::SIGTERM), Some(0));
    assert_eq!(valid(node), None);
    let told = fs::read_to_string(told).unwrap();
    for line in ["VI_1 MASTER", "VI_1 FAULT", "VI_1 STOP"] {
        assert!(told.contains(&format!("INSTANCE {line} ")), "{told}");
    }
}

/// An advertisement as it should be, in its packet.
fn packet(source: IpAddr, ttl: u8, change: impl FnOnce(&mut Advertisement)) -> Vec<u8> {
    let mut advertisement = Advertisement {
        version: VrrpVersion::V3,
        id: 1,
        priority: 200,
        interval: Duration::from_millis(10),
        addresses: vec![v4(100)],
        authentication: 0,
    };
    change(&mut advertisement);
    let group = IpAddr::V4(GROUP_V4);
    enclosed(source, GROUP_V4, ttl, &advertisement.encode(source, group))
}

fn enclosed(source: IpAddr, destination: Ipv4Addr, ttl: u8, message: &[u8]) -> Vec<u8> {
    let IpAddr::V4(source) = source else { panic!("{source}") };
    let length = 20 + message.len() as u16;
    let mut packet = vec![0x45, 0xc0, 0, 0, 0, 0, 0, 0, ttl, PROTOCOL, 0, 0];
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    packet.extend_from_slice(&source.octets());
    packet.extend_from_slice(&destination.octets());
    let sum = packet
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    let checksum = fold(sum);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet.extend_from_slice(message);
    packet
}

/// Of [`GROUP_V4`] (RFC 1112 §6.4).
const GROUP_MAC: Mac = Mac([1, 0, 0x5e, 0, 0, 0x12]);

/// What the client sends advertisements by, and its interface.
async fn speaker(segment: &Segment) -> (PacketSocket, u32) {
    let runtime = tokio::runtime::Handle::current();
    let open = || {
        let _runtime = runtime.enter();
        PacketSocket::open(false)
    };
    let socket = segment.client.run_inside(open).unwrap().unwrap();
    let eth0 = Net::inside(&segment.client).unwrap().index("eth0").await.unwrap();
    (socket, eth0)
}

/// The machine holds a backup up for longer than a master may be silent, while the master goes on to speak.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_was_held_up_hears_before_it_takes_over() {
    if gate::root() == Gate::Skip {
        return;
    }
    const INTERVAL: Duration = Duration::from_secs(1);
    let segment = Segment::new(1).await;
    let node = &segment.node;
    node.configure(&alone(node, "10ms", ""));
    let daemon = node.start().await;
    let is = |role: &'static str| {
        move |status: &Status| status.virtual_routers.first().is_some_and(|router| router.role == role)
    };
    node.until("it is master", is("master")).await;
    let (socket, eth0) = speaker(&segment).await;
    let advertisement = packet(v4(10), 255, |a| a.interval = INTERVAL);
    let speak = || socket.send(&advertisement, eth0, GROUP_MAC).unwrap();
    speak();
    let status = node.until("it is backup", is("backup")).await;

    let mut heard = status.virtual_routers[0].received;
    daemon.signal(Signal::SIGSTOP);
    let stopped = Instant::now();
    while stopped.elapsed() < 5 * INTERVAL {
        speak();
        heard += 1;
        tokio::time::sleep(INTERVAL / 4).await;
    }
    daemon.signal(Signal::SIGCONT);
    let status = node
        .until("it has heard all", |status| status.virtual_routers[0].received == heard)
        .await;
    let router = &status.virtual_routers[0];
    assert_eq!((&*router.role, router.transitions), ("backup", 1), "{}", node.log());
    assert_eq!(daemon.end(Signal::SIGTERM), Some(0));
}

/// Whatever comes that should not is counted by its cause, and the master stays master.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_counted_and_nothing_else() {
    if gate::root_with(&["curl"]) == Gate::Skip {
        return;
    }
    let segment = Segment::new(1).await;
    let node = &segment.node;
    let beside = format!(
        "sync-group = \"edge\"\n[[vrrp]]\nname = \"VI_3\"\ninterface = \"eth0\"\nrouter-id = 3\npriority = 100\n\
         advertisement-interval = \"10ms\"\naddresses = [\"{}\"]\nsync-group = \"edge\"\n",
        v4(103)
    );
    node.configure(&alone(node, "10ms", &beside));
    let daemon = node.start().await;
    let is_master = |status: &Status| {
        let mut routers = status.virtual_routers.iter();
        routers.len() == 2 && routers.all(|router| router.role == "master")
    };
    node.until("it is master", is_master).await;

    let (socket, eth0) = speaker(&segment).await;
    let peer = v4(10);
    let good = || packet(peer, 255, |_| {});
    let flipped = |place: usize, bits: u8| {
        let mut packet = good();
        packet[place] ^= bits;
        packet
    };
    let to_node = |message: &[u8]| {
        let IpAddr::V4(node) = v4(1) else { panic!("IPv4") };
        enclosed(peer, node, 255, message)
    };
    // What seems to come from the node itself, its kernel drops.
    let cases: [(&str, Vec<u8>); 10] = [
        ("ttl", packet(peer, 254, |_| {})),
        ("truncated", enclosed(peer, GROUP_V4, 255, &good()[20..27])),
        ("version", flipped(20, 0x70)),
        (
            "version",
            packet(peer, 255, |a| {
                (a.version, a.interval) = (VrrpVersion::V2, Duration::from_secs(1));
            }),
        ),
        ("type", flipped(20, 0x03)),
        ("checksum", flipped(22, 1)),
        (
            "length",
            enclosed(peer, GROUP_V4, 255, &[&good()[20..], &[0; 4]].concat()),
        ),
        ("unknown_router", packet(peer, 255, |a| a.id = 2)),
        ("addresses", packet(peer, 255, |a| a.addresses = vec![v4(101)])),
        (
            "stranger",
            to_node(
                &Advertisement::decode(&good()[20..], peer, GROUP_V4.into())
                    .unwrap()
                    .encode(peer, v4(1)),
            ),
        ),
    ];
    let mut counts = BTreeMap::<&str, u64>::new();
    for (cause, packet) in &cases {
        socket.send(packet, eth0, GROUP_MAC).unwrap();
        *counts.entry(cause).or_default() += 1;
        let line = format!(
            "fulcrum_vrrp_advertisements_refused_total{{interface=\"eth0\",cause=\"{cause}\"}} {}",
            counts[cause]
        );
        let deadline = Instant::now() + DEADLINE;
        while !refused(node).lines().any(|seen| seen == line) {
            assert!(Instant::now() < deadline, "{cause}:\n{}\n{}", refused(node), node.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    // A good one is taken.
    socket.send(&good(), eth0, GROUP_MAC).unwrap();
    node.until(
        "it is backup with the other of its group, and both are master again",
        |status| {
            status
                .virtual_routers
                .iter()
                .all(|router| router.role == "master" && router.transitions == 2)
        },
    )
    .await;
    // More than anybody could mean, of what would be taken one by one, and makes a rival for three of its intervals.
    let lower = packet(peer, 255, |a| (a.priority, a.interval) = (1, Duration::from_secs(30)));
    let deadline = Instant::now() + DEADLINE;
    while !refused(node).contains("cause=\"flood\"") {
        (0..500).for_each(|_| socket.send(&lower, eth0, GROUP_MAC).unwrap());
        assert!(Instant::now() < deadline, "{}", refused(node));
    }
    let has_rival = |status: &Status| status.virtual_routers[0].rival;
    let status = node.until("another one is master, too", has_rival).await;
    let router = &status.virtual_routers[0];
    assert_eq!((&*router.role, router.transitions), ("master", 2), "{}", node.log());
    assert_eq!(daemon.end(Signal::SIGTERM), Some(0));
}
