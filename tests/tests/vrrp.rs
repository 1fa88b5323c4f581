//! Virtual routers between this daemon and keepalived, and between two daemons.

#![allow(clippy::unwrap_used, reason = "what tests share may panic as they do")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lb_tests::capture::Capture;
use lb_tests::gate::{self, Gate};
use lb_tests::netns::TestNamespace;
use lb_tests::node::{DEADLINE, Node};
use lb_tests::segment::{Process, Segment, plug, v4, v6};
use lb_user::api::types::Status;
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

fn head(node: &Node) -> String {
    fs::write(node.path("seed"), [7; 16]).unwrap();
    let seed = format!("[node]\nhash-seed-file = \"{}\"\n", node.path("seed").display());
    node.head("eth0").replacen("[node]\n", &seed, 1)
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
        let mut command = Command::new("keepalived");
        command
            .args([
                "--dont-fork",
                "--log-console",
                "--log-detail",
                "--vrrp",
                "--dont-respawn",
                "-f",
            ])
            .arg(file);
        command
            .arg("-p")
            .arg(node.path("keepalived.pid"))
            .arg("-r")
            .arg(node.path("vrrp.pid"));
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
    let mut text = head(node);
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
        // Whoever has the higher priority loses it and gets it back: once or twice.
        assert!(turns(sent) <= 6, "{one:?}: {sent:?}");
    }
}
