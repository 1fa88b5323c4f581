//! VIPs that the site's routing daemon announces, and nodes that are emptied: addresses on lo, and what real ExaBGP and BIRD
//! make of them.

#![allow(clippy::unwrap_used, reason = "what tests share may panic as they do")]

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lb_tests::gate::{self, Gate};
use lb_tests::lab::fulcrum;
use lb_tests::node::{DEADLINE, Node, Successor};
use lb_tests::segment::{Process, Segment, v4, v6};
use lb_tests::toml::{Service, service};
use lb_user::api::types::{AdminState, BackendPatch, NodePatch, Status};
use lb_user::net::{LOOPBACK, Net};
use nix::sys::signal::{Signal, kill};

/// Of no network here, and of the segment's.
const ROUTED: &str = "192.0.2.10";
const NEAR: IpAddr = v4(100);

fn vips() -> [IpAddr; 3] {
    [ROUTED.parse().unwrap(), NEAR, "2001:db8::10".parse().unwrap()]
}

/// Two services, both at all VIPs.
fn services() -> [Service; 2] {
    [("web", 80), ("api", 81)].map(|(name, port)| {
        let vips = vips().map(|vip| SocketAddr::new(vip, port));
        let service = service(name, "tunnel", &vips).unprobed();
        service.backend(SocketAddr::new(v4(11), port))
    })
}

fn file(node: &Node, announce: &str) -> String {
    let [web, api] = services();
    format!("{}{web}{api}{announce}", node.head_with_seed("eth0"))
}

const ALL: &str = "[bgp]\nannounce = \"all\"\n";

/// Which VIPs are on lo.
async fn on_lo(net: &Net) -> Vec<IpAddr> {
    let addresses = net.addresses().await.unwrap();
    let there = |vip: &IpAddr| addresses.iter().any(|a| a.ip == *vip && a.interface == LOOPBACK);
    vips().into_iter().filter(there).collect()
}

fn announced(status: &Status) -> bool {
    status.announcements.len() == vips().len() && status.announcements.iter().all(|vip| vip.announced)
}

fn withdrawn<'a>(why: &'a str) -> impl Fn(&Status) -> bool + 'a {
    move |status| {
        let fine = |vip: &lb_user::api::types::Announcement| !vip.announced && vip.reason.contains(why);
        status.announcements.len() == vips().len() && status.announcements.iter().all(fine)
    }
}

/// Runs `fulcrum node VERB ...`, which has to end well, and returns what it prints.
fn command(node: &Node, arguments: &[&str]) -> String {
    let socket = node.path("socket");
    let mut command = node.command(&["node"]);
    let output = command.args(arguments).arg("--socket").arg(socket).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{said}{}\n{}",
        String::from_utf8_lossy(&output.stderr),
        node.log()
    );
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_are_on_lo_while_this_node_can_serve_them() {
    if gate::root_with(&["ip", "curl"]) == Gate::Skip {
        return;
    }
    let segment = Segment::new(1).await;
    let node = &segment.node;
    let net = Net::inside(&node.namespace).unwrap();
    let eth0 = net.index("eth0").await.unwrap();
    let on_eth0 = async || {
        net.addresses()
            .await
            .unwrap()
            .iter()
            .any(|a| (a.ip, a.interface) == (NEAR, eth0))
    };

    // Ordinary VIPs are there for good, one of them on the interface whose subnet holds it.
    node.configure(&file(node, ""));
    let daemon = node.start().await;
    node.until_so("the VIPs are there", async || {
        on_lo(&net).await.len() == 2 && on_eth0().await
    })
    .await;
    // They are announced now: on lo, and nowhere else.
    node.configure(&file(node, ALL));
    node.client().reload().await.unwrap();
    node.until("all are announced", announced).await;
    node.until_so("all are on lo", async || {
        on_lo(&net).await == vips() && !on_eth0().await
    })
    .await;
    let status = node.client().status().await.unwrap();
    let exclusive = status
        .services
        .iter()
        .flat_map(|service| &service.vips)
        .all(|vip| vip.exclusive);
    assert!(exclusive, "{status:#?}");
    // The kernel holds them for some seconds only.
    let mut ip = Command::new("ip");
    let output = node
        .namespace
        .confine(ip.args(["-j", "addr", "show", "lo"]))
        .output()
        .unwrap();
    let links: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let addresses = links[0]["addr_info"].as_array().unwrap();
    let lives = |vip: &IpAddr| {
        let mut found = addresses.iter().filter(|a| a["local"] == vip.to_string());
        found.next().and_then(|a| a["valid_life_time"].as_u64()).unwrap()
    };
    assert!(vips().iter().all(|vip| lives(vip) <= 5), "{addresses:?}");

    // One of the services has no backend any more.
    let state = |state| BackendPatch {
        state: Some(state),
        weight: None,
    };
    let backend = "10.8.0.11:81";
    node.client()
        .patch("api", backend, state(AdminState::Disabled))
        .await
        .unwrap();
    node.until("nothing is announced", withdrawn("api has no quorum")).await;
    node.until_so("nothing is on lo", async || on_lo(&net).await.is_empty())
        .await;
    node.client()
        .patch("api", backend, state(AdminState::Active))
        .await
        .unwrap();
    node.until("all are announced again", announced).await;

    // Maintenance, over a restart.
    let said = command(node, &["drain", "--wait", "--timeout", "60s"]);
    assert!(
        said.ends_with("lb1: no address is left, and nothing comes for its services any more\n"),
        "{said}"
    );
    assert!(on_lo(&net).await.is_empty());
    let get = |path: &str| {
        let mut curl = Command::new("curl");
        let url = format!("http://127.0.0.1:9465{path}");
        let output = node
            .namespace
            .confine(curl.args(["-s", "-m", "10", &url]))
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(get("/readyz").contains("the node drains"));
    assert!(get("/metrics").contains("\nfulcrum_node_draining 1\n"));
    assert!(get("/metrics").contains("\nfulcrum_bgp_announced{address=\"192.0.2.10\"} 0\n"));
    assert_eq!(daemon.end(Signal::SIGTERM), Some(0));
    let daemon = node.start().await;
    node.until("it drains still", withdrawn("the node drains")).await;
    let status = command(node, &["enable", "--json"]);
    assert!(status.contains("\"draining\": false"), "{status}");
    node.until("all are announced once more", announced).await;

    // An upgrade hands them on: at no time are they gone, nor when the file has them no more.
    let changes = node.path("changes");
    let line = format!("exec ip monitor address > {}", changes.display());
    let mut monitor = Process::start(&node.namespace, Command::new("sh").args(["-c", &line]));
    // Every second there is one.
    node.until_so("changes are seen", async || {
        fs::metadata(&changes).is_ok_and(|file| file.len() > 0)
    })
    .await;
    daemon.signal(Signal::SIGUSR2);
    assert_eq!(daemon.wait(), Some(0));
    let successor = Successor::of(&node.log());
    node.until("the next one announces", announced).await;
    node.configure(&file(node, "").replace("10.8.0.100", "192.0.2.100"));
    node.client().reload().await.unwrap();
    node.until("nothing is announced by it", |status| status.announcements.is_empty())
        .await;
    node.until_so("others are", async || {
        let addresses = net.addresses().await.unwrap();
        addresses.iter().any(|a| a.ip == IpAddr::from([192, 0, 2, 100]))
    })
    .await;
    let text = || fs::read_to_string(&changes).unwrap();
    let gone = |vip: IpAddr| {
        text()
            .lines()
            .any(|line| line.starts_with("Deleted") && line.contains(&vip.to_string()))
    };
    let [routed, near, v6] = vips();
    // It is told in order: what went before this one is there too.
    node.until_so("the monitor has seen it", async || gone(near)).await;
    monitor.child.kill().unwrap();
    monitor.child.wait().unwrap();
    assert!(!gone(routed) && !gone(v6), "{}", text());
    assert_eq!(on_lo(&net).await, [routed, v6]);

    // Somebody has to look after them: whoever kills the daemon ends that.
    node.configure(&file(node, ALL));
    node.client().reload().await.unwrap();
    node.until("all are announced at last", announced).await;
    kill(successor.pid(), Signal::SIGKILL).unwrap();
    node.until_so("the kernel lets them go", async || on_lo(&net).await.is_empty())
        .await;
}

/// What an interface has by itself stays as it is, and is not announced.
#[tokio::test(flavor = "multi_thread")]
async fn the_node_s_own_addresses_are_left_alone() {
    if gate::root() == Gate::Skip {
        return;
    }
    let segment = Segment::new(1).await;
    let node = &segment.node;
    let net = Net::inside(&node.namespace).unwrap();
    let eth0 = net.index("eth0").await.unwrap();
    // As some clouds give it.
    net.add_address(eth0, NEAR, 32).await.unwrap();
    // And as somebody has put it there who announced it before.
    let [routed, _, v6] = vips();
    net.add_address(LOOPBACK, routed, 32).await.unwrap();
    node.configure(&file(node, ALL));
    let daemon = node.start().await;
    let status = node
        .until("the others are announced", |status| {
            let announced = status.announcements.iter().filter(|vip| vip.announced);
            announced.map(|vip| vip.address).collect::<Vec<_>>() == [routed, v6]
        })
        .await;
    let near = status.announcements.iter().find(|vip| vip.address == NEAR).unwrap();
    assert!(near.reason.contains("by itself"), "{near:?}");
    let vips = status.services.iter().flat_map(|service| &service.vips);
    for vip in vips {
        assert_eq!(vip.exclusive, vip.address.ip != NEAR, "{vip:?}");
    }
    assert_eq!(daemon.end(Signal::SIGTERM), Some(0));
    let left = net.addresses().await.unwrap();
    let left: Vec<IpAddr> = self::vips()
        .into_iter()
        .filter(|vip| left.iter().any(|a| a.ip == *vip))
        .collect();
    assert_eq!(left, [NEAR]);
}

/// ExaBGP on the node, whose process is `fulcrum announce`, and BIRD as the router.
#[tokio::test(flavor = "multi_thread")]
async fn exabgp_announces_what_it_is_told() {
    if gate::root_with(&["bird", "birdc", "exabgp"]) == Gate::Skip {
        return;
    }
    let segment = Segment::new(1).await;
    let node = &segment.node;
    node.configure(&file(node, ALL));
    let daemon = node.start().await;
    node.until("all are announced", announced).await;

    let (control, bird_conf) = (node.path("bird.ctl"), node.path("bird.conf"));
    let sessions: String = [(v4(1), "ipv4", 4), (v6(1), "ipv6", 6)]
        .iter()
        .map(|(peer, family, number)| {
            format!(
                "protocol bgp node{number} {{ local as 65000; neighbor {peer} as 65001; passive on; {family} {{ import all; export none; }}; }}\n"
            )
        })
        .collect();
    fs::write(
        &bird_conf,
        format!("router id 10.8.0.10;\nprotocol device {{ }}\n{sessions}"),
    )
    .unwrap();
    let mut bird = Command::new("bird");
    bird.args(["-f", "-c"]).arg(&bird_conf).arg("-s").arg(&control);
    let _bird = Process::start(&segment.client, bird.stderr(Stdio::null()));
    let routes = async || {
        let mut birdc = Command::new("birdc");
        let output = birdc
            .arg("-r")
            .arg("-s")
            .arg(&control)
            .args(["show", "route"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut routes: Vec<IpAddr> = said
            .lines()
            .filter_map(|line| line.split('/').next()?.parse().ok())
            .collect();
        routes.sort();
        routes
    };
    let mut all = vips();
    all.sort();

    let conf = node.path("exabgp.conf");
    let neighbors: String = [(v4(10), v4(1), "ipv4"), (v6(10), v6(1), "ipv6")]
        .iter()
        .map(|(peer, own, family)| {
            format!(
                "neighbor {peer} {{\nrouter-id 10.8.0.1;\nlocal-address {own};\nlocal-as 65001;\npeer-as 65000;\n\
                 family {{ {family} unicast; }}\napi {{ processes [ fulcrum ]; }}\n}}\n"
            )
        })
        .collect();
    let run = format!("{} announce --listen 127.0.0.1:9465", fulcrum().get_program().display());
    fs::write(
        &conf,
        format!("process fulcrum {{\nrun {run};\nencoder text;\n}}\n{neighbors}"),
    )
    .unwrap();
    let line = format!(
        "exec exabgp {} > {} 2>&1",
        conf.display(),
        node.path("exabgp.log").display()
    );
    let mut exabgp = Command::new("sh");
    exabgp
        .args(["-c", &line])
        .env("exabgp.daemon.user", "root")
        .env("exabgp.log.destination", "stdout");
    let mut exabgp = Process::start(&node.namespace, &mut exabgp);
    let log = || fs::read_to_string(node.path("exabgp.log")).unwrap_or_default();
    let until_routes = async |what: &str, expected: &[IpAddr]| {
        let deadline = Instant::now() + DEADLINE * 2;
        loop {
            let seen = routes().await;
            if seen == expected {
                return;
            }
            assert!(Instant::now() < deadline, "{what}: {seen:?}\n{}\n{}", log(), node.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    until_routes("all are announced", &all).await;
    node.client().patch_node(NodePatch { draining: true }).await.unwrap();
    until_routes("the node drains", &[]).await;
    node.client().patch_node(NodePatch { draining: false }).await.unwrap();
    until_routes("it takes part again", &all).await;
    daemon.end(Signal::SIGKILL);
    until_routes("the daemon was killed", &[]).await;
    let daemon = node.start().await;
    until_routes("it is back", &all).await;
    assert_eq!(daemon.end(Signal::SIGTERM), Some(0));
    until_routes("it has ended", &[]).await;
    exabgp.child.kill().unwrap();
    exabgp.child.wait().unwrap();
}
