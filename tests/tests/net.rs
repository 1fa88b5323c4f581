//! Namespaces, wires, addresses and next hops, against the kernel.
//!
//! Past 500 lines: one host with its wires and neighbours, and one history after the other in it.

#![allow(clippy::unwrap_used, reason = "a helper of tests may panic as they do")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use lb_common::addr::Mac;
use lb_tests::gate::{Gate, root};
use lb_tests::netns::TestNamespace;
use lb_user::model::{Interface, NextHop, NextHopState, PortRange};
use lb_user::net::neighbour::Key;
use lb_user::net::next_hop::Means;
use lb_user::net::watch as interfaces;
use lb_user::net::{Address, LOOPBACK, Namespace, Net, ReservedPorts, namespace, next_hop, ports, wire};
use nix::errno::Errno;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

/// Nothing here takes longer than the kernel's three unanswered ARP requests, a second each.
const DEADLINE: Duration = Duration::from_secs(20);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Two namespaces with a wire between them: `left` and `right`, interface `eth0` in each.
struct Pair {
    left: TestNamespace,
    right: TestNamespace,
    left_net: Net,
    right_net: Net,
}

impl Pair {
    async fn new() -> Self {
        let (left, right) = (TestNamespace::new("left"), TestNamespace::new("right"));
        let (left_net, right_net) = (Net::inside(&left).unwrap(), Net::inside(&right).unwrap());
        left_net.add_veth("eth0", "eth0", &right).await.unwrap();
        for (net, last) in [(&left_net, "1"), (&right_net, "2")] {
            let eth0 = net.index("eth0").await.unwrap();
            net.set_up(LOOPBACK).await.unwrap();
            net.set_up(eth0).await.unwrap();
            net.add_address(eth0, ip(&format!("10.99.0.{last}")), 24).await.unwrap();
            net.add_address(eth0, ip(&format!("fd99::{last}")), 64).await.unwrap();
        }
        Self {
            left,
            right,
            left_net,
            right_net,
        }
    }
}

#[test]
fn a_namespace_has_a_name_until_it_is_deleted() {
    if root() == Gate::Skip {
        return;
    }
    let here = Namespace::current().unwrap().id().unwrap();
    let made = TestNamespace::new("life");
    let id = made.id().unwrap();
    assert_ne!(id, here);
    assert_eq!(Namespace::open(made.name()).unwrap().id().unwrap(), id);
    assert!(Namespace::names().unwrap().iter().any(|name| name == made.name()));
    assert_eq!(Namespace::create(made.name()).unwrap_err().errno(), Some(Errno::EEXIST));

    let inside = made.run_inside(|| Namespace::current().unwrap().id().unwrap()).unwrap();
    assert_eq!(inside, id);
    assert_eq!(
        Namespace::current().unwrap().id().unwrap(),
        here,
        "the caller stays where it was"
    );
    let child = made
        .confine(Command::new("readlink").arg("/proc/self/ns/net"))
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8(child.stdout).unwrap().trim(),
        format!("net:[{}]", id.1)
    );

    assert!(Namespace::delete(made.name()).unwrap());
    assert!(!Namespace::delete(made.name()).unwrap(), "deleting twice is fine");
    assert!(!Namespace::exists(made.name()));
    assert_eq!(Namespace::open(made.name()).unwrap_err().errno(), Some(Errno::ENOENT));
    std::fs::write(format!("{}/{}", namespace::FOLDER, made.name()), "").unwrap();
    assert!(Namespace::delete(made.name()).unwrap(), "what a crash left is removed");
    for name in ["", ".", "..", "a/b"] {
        assert!(Namespace::create(name).is_err(), "{name:?}");
    }
}

#[tokio::test]
async fn a_vip_is_local_and_never_a_source() {
    if root() == Gate::Skip {
        return;
    }
    let pair = Pair::new().await;
    let net = &pair.left_net;
    let eth0 = net.index("eth0").await.unwrap();
    for (vip, prefix) in [(ip("10.99.0.100"), 32), (ip("fd99::100"), 128)] {
        let target = if vip.is_ipv4() { "10.99.0.2:9" } else { "[fd99::2]:9" };
        for interface in [eth0, LOOPBACK] {
            net.add_vip(interface, vip).await.unwrap();
            net.add_vip(interface, vip).await.unwrap();
            let there = Address {
                interface,
                ip: vip,
                prefix,
            };
            assert!(net.addresses().await.unwrap().contains(&there));
            let source = pair.left.run_inside(|| {
                UdpSocket::bind((vip, 0)).expect("a server can listen on the VIP at once");
                let client = UdpSocket::bind(if vip.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }).unwrap();
                client.connect(target).unwrap();
                client.local_addr().unwrap().ip()
            });
            assert_eq!(
                source.unwrap(),
                if vip.is_ipv4() { ip("10.99.0.1") } else { ip("fd99::1") }
            );
            net.remove_vip(interface, vip).await.unwrap();
            net.remove_vip(interface, vip).await.unwrap();
            assert!(!net.addresses().await.unwrap().contains(&there));
        }
    }
    let refused = net.add_vip(4711, ip("10.99.0.100")).await.unwrap_err();
    assert_eq!(refused.errno(), Some(Errno::ENODEV));
    assert_eq!(refused.to_string(), "adding VIP 10.99.0.100 to interface 4711");
    net.remove_vip(4711, ip("10.99.0.100")).await.unwrap();
}

#[tokio::test]
async fn wires_do_as_they_are_told() {
    if root() == Gate::Skip {
        return;
    }
    let pair = Pair::new().await;
    let net = &pair.left_net;
    let eth0 = net.index("eth0").await.unwrap();
    net.set_mtu(eth0, 1400).await.unwrap();
    net.set_mac(eth0, Mac([2, 0, 0, 0, 0, 9])).await.unwrap();
    let bridge = net.add_bridge("br0").await.unwrap();
    net.set_master(eth0, bridge).await.unwrap();
    let link = net.link("eth0").await.unwrap().unwrap();
    assert_eq!(
        (link.mtu, link.mac, link.master, link.up),
        (1400, Some(Mac([2, 0, 0, 0, 0, 9])), Some(bridge), true)
    );
    assert_eq!(net.link("nothing").await.unwrap(), None);
    assert_eq!(net.link_at(4711).await.unwrap(), None);
    assert_eq!(net.link("lo").await.unwrap().unwrap().mac, None, "lo is no Ethernet");
    assert_eq!(net.index("nothing").await.unwrap_err().errno(), Some(Errno::ENODEV));
    net.set_down(eth0).await.unwrap();
    assert!(!net.link("eth0").await.unwrap().unwrap().up);

    wire::set_tx_checksum(&pair.left, "eth0", false).unwrap();
    wire::set_tx_checksum(&pair.left, "eth0", true).unwrap();
    assert!(!wire::merges(&pair.left, "eth0").unwrap() && wire::merges(&pair.left, "nothing").is_err());
    let refused = wire::set_tx_checksum(&pair.left, "nothing", false).unwrap_err();
    assert_eq!(refused.to_string(), "switching checksum offload of nothing off");
    wire::sysctl(&pair.left, "ipv4/conf/all/arp_ignore", "1").unwrap();
    let read = |namespace: &Namespace| {
        namespace
            .run_inside(|| std::fs::read_to_string("/proc/sys/net/ipv4/conf/all/arp_ignore").unwrap())
            .unwrap()
    };
    assert_eq!(
        (read(&pair.left).trim(), read(&pair.right).trim()),
        ("1", "0"),
        "of one namespace only"
    );
}

/// The resolver at work on `left`.
struct Resolver {
    targets: watch::Sender<BTreeSet<IpAddr>>,
    states: mpsc::Receiver<(IpAddr, NextHopState)>,
    /// What was told last of each.
    told: BTreeMap<IpAddr, NextHopState>,
    task: tokio::task::JoinHandle<()>,
}

impl Resolver {
    fn start(net: &Net, targets: &[&str]) -> Self {
        Self::with(net, Means::default(), targets)
    }

    fn with(net: &Net, means: Means, targets: &[&str]) -> Self {
        let (targets, watched) = watch::channel(targets.iter().map(|text| ip(text)).collect());
        let (out, states) = mpsc::channel(1);
        Self {
            targets,
            states,
            told: BTreeMap::new(),
            task: tokio::spawn(next_hop::drive(net.clone(), means, watched, out)),
        }
    }

    /// The next thing told.
    async fn next(&mut self) -> (IpAddr, NextHopState) {
        let (target, state) = self.states.recv().await.expect("the resolver lives");
        self.told.insert(target, state.clone());
        (target, state)
    }

    /// Waits until what was told last of `target` is a state that `wanted` accepts.
    async fn until(&mut self, target: &str, wanted: impl Fn(&NextHopState) -> bool) -> NextHopState {
        let target = ip(target);
        let mut seen = Vec::new();
        let wait = async {
            loop {
                match self.told.get(&target) {
                    Some(state) if wanted(state) => return state.clone(),
                    _ => seen.push(self.next().await),
                }
            }
        };
        timeout(DEADLINE, wait)
            .await
            .unwrap_or_else(|_| panic!("{target} never got there; seen: {seen:#?}"))
    }

    async fn until_reason(&mut self, target: &str, reason: &str) {
        self.until(
            target,
            |state| matches!(state, NextHopState::Unresolved(why) | NextHopState::Pending(why) if why == reason),
        )
        .await;
    }
}

#[test]
fn ports_are_kept_from_the_kernel() {
    const LIST: &str = "ipv4/ip_local_reserved_ports";
    if root() == Gate::Skip {
        return;
    }
    let here = fs::read_to_string(Path::new("/proc/sys/net").join(LIST)).unwrap();
    let there = TestNamespace::new("ports");
    let listed = || {
        let read = || Command::new("cat").arg(Path::new("/proc/sys/net").join(LIST)).output();
        let output = there.run_inside(read).unwrap().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let range = |first, last| PortRange::new(first, last).unwrap();
    wire::sysctl(&there, LIST, "80,20005").unwrap();
    let mut reserved = ReservedPorts::new(there.clone());
    reserved.keep([]).unwrap();
    assert_eq!(listed(), "80,20005");
    reserved
        .keep([range(20_000, 20_009), range(20_000, 20_009), range(20_010, 20_010)])
        .unwrap();
    assert_eq!(listed(), "80,20000-20010");
    reserved.keep([range(7, 7)]).unwrap();
    assert_eq!(listed(), "7,80,20005", "what was there before stays");
    reserved.keep([]).unwrap();
    assert_eq!(listed(), "80,20005");
    // Longer than a page, which is what the kernel takes at once, and than what it gives to a small buffer.
    let scattered: Vec<PortRange> = (1..20_000).step_by(2).map(|port| range(port, port)).collect();
    reserved.keep(scattered).unwrap();
    let mut list = listed();
    assert!(
        list.len() > 50_000 && list.ends_with(",19997,19999,20005"),
        "{} bytes",
        list.len()
    );
    reserved.keep([range(65_535, 65_535)]).unwrap();
    assert_eq!(listed(), "80,20005,65535");
    // A list becomes empty, too.
    wire::sysctl(&there, LIST, "65535").unwrap();
    reserved.keep([]).unwrap();
    list = listed();
    assert_eq!(list, "");

    wire::sysctl(&there, "ipv4/ip_local_port_range", "40000 50001").unwrap();
    assert_eq!(ports::ephemeral(&there).unwrap(), range(40_000, 50_001));
    // The kernel keeps to it: of two ports it is left one.
    wire::sysctl(&there, "ipv4/ip_local_port_range", "40000 40001").unwrap();
    reserved.keep([range(40_001, 40_001)]).unwrap();
    let bound = there.run_inside(|| {
        let first = UdpSocket::bind("127.0.0.1:0").unwrap();
        (
            first.local_addr().unwrap().port(),
            UdpSocket::bind("127.0.0.1:0").is_err(),
        )
    });
    assert_eq!(bound.unwrap(), (40_000, true));
    let after = fs::read_to_string(Path::new("/proc/sys/net").join(LIST)).unwrap();
    assert_eq!(after, here, "other namespaces are none of its business");
}

#[tokio::test]
async fn next_hops_are_found_and_followed() {
    if root() == Gate::Skip {
        return;
    }
    let pair = Pair::new().await;
    let eth0 = pair.left_net.index("eth0").await.unwrap();
    let far = pair.right_net.index("eth0").await.unwrap();
    let mac = |link: Option<lb_user::net::Link>| link.unwrap().mac.unwrap();
    let local = mac(pair.left_net.link("eth0").await.unwrap());
    let remote = mac(pair.right_net.link("eth0").await.unwrap());
    let by = |mac, router: Option<&str>, source: &str| {
        NextHopState::Resolved(NextHop {
            mac,
            local,
            interface: eth0,
            router: router.map(ip),
            source: Some(ip(source)),
            mtu: 1500,
        })
    };
    let hop = |mac| by(mac, None, "10.99.0.1");

    let targets = [
        "10.99.0.2",
        "fd99::2",
        "10.99.0.1",
        "10.99.0.3",
        "203.0.113.5",
        "127.0.0.9",
    ];
    let mut resolver = Resolver::start(&pair.left_net, &targets);
    let mut settled = BTreeSet::new();
    while settled.len() < targets.len() {
        let (target, state) = timeout(DEADLINE, resolver.next()).await.unwrap();
        let text = target.to_string();
        match state {
            NextHopState::Resolved(_) => {
                assert!(["10.99.0.2", "fd99::2"].contains(&text.as_str()), "{text}: {state:?}");
                let source = if target.is_ipv4() { "10.99.0.1" } else { "fd99::1" };
                assert_eq!(state, by(remote, None, source), "{text}");
            }
            NextHopState::Pending(why) => {
                assert!(why.contains("has not answered yet"), "{text}: {why}");
                continue;
            }
            NextHopState::Unresolved(why) => match text.as_str() {
                "10.99.0.1" | "127.0.0.9" => assert_eq!(why, format!("{text} is this node itself")),
                "203.0.113.5" => assert_eq!(why, "no route to 203.0.113.5"),
                _ => assert_eq!(why, "10.99.0.3 does not answer to ARP on eth0"),
            },
        }
        settled.insert(target);
    }
    for target in ["10.99.0.2", "fd99::2"] {
        let entry = pair
            .left_net
            .neighbour(Key {
                interface: eth0,
                ip: ip(target),
            })
            .await
            .unwrap()
            .unwrap();
        assert!(entry.managed, "{target}: {entry:?}");
    }

    // The backend's card is exchanged; a gratuitous ARP says so.
    wire::sysctl(&pair.right, "ipv4/conf/eth0/arp_notify", "1").unwrap();
    let exchanged = Mac([2, 0, 0, 0, 0, 7]);
    pair.right_net.set_mac(far, exchanged).await.unwrap();
    resolver.until("10.99.0.2", |state| *state == hop(exchanged)).await;

    // A host appears that was asked for in vain.
    pair.right_net.add_address(far, ip("10.99.0.3"), 24).await.unwrap();
    resolver.until("10.99.0.3", |state| *state == hop(exchanged)).await;

    // A route appears, and the way is by its router; the route goes with its interface.
    pair.left_net
        .add_route(ip("0.0.0.0"), 0, ip("10.99.0.2"))
        .await
        .unwrap();
    let routed = by(exchanged, Some("10.99.0.2"), "10.99.0.1");
    resolver.until("203.0.113.5", |state| *state == routed).await;
    pair.left_net.set_down(eth0).await.unwrap();
    resolver.until_reason("203.0.113.5", "no route to 203.0.113.5").await;
    // Not before this is told: a way that is lost and found between two looks is not told again.
    resolver
        .until("10.99.0.2", |state| !matches!(state, NextHopState::Resolved(_)))
        .await;
    pair.left_net.set_up(eth0).await.unwrap();
    resolver.until("10.99.0.2", |state| *state == hop(exchanged)).await;

    // What leaves the targets leaves the table; what stays, stays.
    resolver.targets.send_replace(["10.99.0.2".parse().unwrap()].into());
    let key = |target| Key {
        interface: eth0,
        ip: ip(target),
    };
    let gone = |target: &'static str| {
        let net = pair.left_net.clone();
        async move {
            while net
                .neighbour(key(target))
                .await
                .unwrap()
                .is_some_and(|entry| entry.managed)
            {
                tokio::task::yield_now().await;
            }
        }
    };
    timeout(DEADLINE, gone("10.99.0.3")).await.unwrap();
    assert!(
        pair.left_net
            .neighbour(key("10.99.0.2"))
            .await
            .unwrap()
            .unwrap()
            .managed
    );
    let Resolver {
        targets, task, states, ..
    } = resolver;
    drop(targets);
    timeout(DEADLINE, task).await.unwrap().unwrap();
    drop(states);
    timeout(DEADLINE, gone("10.99.0.2")).await.unwrap();
}

/// Where no message of the kernel arrives, and where it manages no neighbours, the sweep alone finds what changed.
#[tokio::test]
async fn a_sweep_makes_up_for_what_the_kernel_does_not_do() {
    if root() == Gate::Skip {
        return;
    }
    for managed in [true, false] {
        let pair = Pair::new().await;
        let eth0 = pair.left_net.index("eth0").await.unwrap();
        let far = pair.right_net.index("eth0").await.unwrap();
        // An entry grows old in moments, and is asked for again when it is used, and only then.
        for (key, value) in [
            ("base_reachable_time_ms", "100"),
            ("delay_first_probe_time", "0"),
            ("retrans_time_ms", "50"),
            ("ucast_solicit", "1"),
        ] {
            wire::sysctl(&pair.left, &format!("ipv4/neigh/eth0/{key}"), value).unwrap();
        }
        let means = Means {
            sweep: Duration::from_millis(200),
            events: false,
            managed,
        };
        let mut resolver = Resolver::with(&pair.left_net, means, &["10.99.0.2", "203.0.113.5"]);
        let via = |mac| move |state: &NextHopState| matches!(state, NextHopState::Resolved(hop) if hop.mac == mac);
        let remote = pair.right_net.link("eth0").await.unwrap().unwrap().mac.unwrap();
        resolver.until("10.99.0.2", via(remote)).await;
        resolver.until_reason("203.0.113.5", "no route to 203.0.113.5").await;
        let entry = pair.left_net.neighbour(Key {
            interface: eth0,
            ip: ip("10.99.0.2"),
        });
        assert_eq!(entry.await.unwrap().unwrap().managed, managed);

        // A route appears.
        pair.left_net
            .add_route(ip("0.0.0.0"), 0, ip("10.99.0.2"))
            .await
            .unwrap();
        resolver.until("203.0.113.5", via(remote)).await;

        // The backend's card is exchanged, and it says nothing.
        let exchanged = Mac([2, 0, 0, 0, 0, 7]);
        pair.right_net.set_mac(far, exchanged).await.unwrap();
        resolver.until("10.99.0.2", via(exchanged)).await;
    }
}

/// Interfaces come, change, go and come back, each seen before the next; with messages, and by looking alone.
#[tokio::test(flavor = "multi_thread")]
async fn interfaces_are_watched() {
    if root() == Gate::Skip {
        return;
    }
    let alone = interfaces::Means {
        sweep: Duration::from_millis(20),
        events: false,
    };
    let told = interfaces::Means {
        sweep: Duration::from_secs(3600),
        events: true,
    };
    for means in [told, alone] {
        let (node, far) = (TestNamespace::new("node"), TestNamespace::new("far"));
        let net = Net::inside(&node).unwrap();
        let (out, mut seen) = watch::channel(Vec::new());
        let names = ["eth1", "eth0"].map(str::to_owned).to_vec();
        let task = tokio::spawn(interfaces::drive(net.clone(), means, names, out));
        let mut until = async |wanted: &dyn Fn(&[Interface]) -> bool| {
            let found = timeout(DEADLINE, seen.wait_for(|seen| wanted(seen))).await;
            found.unwrap().unwrap().clone()
        };
        net.add_veth("eth0", "far0", &far).await.unwrap();
        let found = until(&|seen| seen.len() == 1).await;
        let index = net.index("eth0").await.unwrap();
        assert_eq!((found[0].name.as_str(), found[0].index), ("eth0", index));
        // In the order of the names.
        net.add_veth("eth1", "far1", &far).await.unwrap();
        let found = until(&|seen| seen.len() == 2).await;
        assert_eq!(found[0].name, "eth1");
        let mac = Mac([2, 0, 0, 0, 0, 9]);
        net.set_mac(index, mac).await.unwrap();
        until(&|seen| seen[1].mac == mac).await;
        net.add_address(index, ip("10.98.0.1"), 24).await.unwrap();
        net.add_vip(index, ip("10.98.0.100")).await.unwrap();
        until(&|seen| seen[1].addresses == [(ip("10.98.0.1"), 24)].into()).await;
        net.rename(index, "eth7").await.unwrap();
        until(&|seen| seen.len() == 1 && seen[0].name == "eth1").await;
        net.rename(index, "eth0").await.unwrap();
        until(&|seen| seen.len() == 2).await;
        net.remove_link(index).await.unwrap();
        until(&|seen| seen.len() == 1).await;
        net.add_veth("eth0", "far0", &far).await.unwrap();
        until(&|seen| seen.len() == 2 && seen[1].index != index).await;
        drop(seen);
        timeout(DEADLINE, task).await.unwrap().unwrap();
    }
}
