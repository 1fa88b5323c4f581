//! SYN cookies with real clients: while SYNs come from everywhere, those of the clients are answered, and the kernel takes the
//! connections that they open. Connections that are there already go on, with cookies and without.

#![allow(clippy::unwrap_used, reason = "what tests share may panic as they do")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::Command;
use std::time::{Duration, Instant};

use lb_tests::backing::VIPS;
use lb_tests::flood::Flood;
use lb_tests::gate::{self, Gate};
use lb_tests::node::{DEADLINE, Node, Successor};
use lb_tests::open::Open;
use lb_tests::peers::{ended, output};
use lb_tests::pinned::Pinned;
use lb_tests::proxied::Proxied;
use lb_tests::segment::v4;
use lb_tests::toml::{Service, service};
use lb_user::dataplane::kernel::{measure_run_time, run_time};
use nix::sys::signal::Signal;
use nix::time::{ClockId, clock_gettime};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

/// Connections that a client tries to open through the flood, one after the other.
const TRIES: usize = 100;

/// Connections that are open before the flood, and stay so. Each asks for something in each period.
const OPEN: usize = 20;
const PERIOD: Duration = Duration::from_millis(200);

/// SYNs over which the program's time is measured.
const MEASURED: u64 = 20_000;

fn shop() -> Service {
    let vips = VIPS.map(|ip| SocketAddr::new(ip, 80));
    service("shop", "proxy", &vips)
        .unprobed()
        .backend(SocketAddr::new(v4(11), 8080))
}

fn setting(node: &Node, name: &str) -> String {
    let mut cat = Command::new("cat");
    cat.arg(format!("/proc/sys/net/ipv4/{name}"));
    output(&node.namespace, &mut cat).trim().to_owned()
}

fn set(node: &Node, name: &str, value: &str) {
    let write = format!("echo {value} > /proc/sys/net/ipv4/{name}");
    output(&node.namespace, Command::new("sh").args(["-c", &write]));
}

/// Seconds that a connection may take which shall come through, on a machine with much else to do.
const PATIENT: u8 = 30;

/// How many of so many connections come through, each within so many seconds.
fn connect(lab: &Proxied, vip: SocketAddr, tries: usize, seconds: u8) -> usize {
    let asks = |_: &usize| {
        let (most, url) = (seconds.to_string(), format!("http://{vip}/"));
        let mut curl = lab.curl(&["-m", &most, "-o", "/dev/null", &url]);
        ended(&lab.segment.client, &mut curl).status.success()
    };
    (0..tries).filter(asks).count()
}

/// What a packet of a flood costs in the program, as the kernel measures it, while next to nothing else comes. It is of this
/// machine at this moment, so it is said, and nothing is made of it.
async fn say_cost(lab: &Proxied, flood: &Flood, what: &str) {
    let node = &lab.segment.node;
    let _measured = measure_run_time().unwrap();
    let seen = || run_time(&node.path("bpf")).unwrap();
    let (before, sent) = (seen(), flood.sent());
    node.until("the flood goes on", |_| flood.sent() >= sent + MEASURED)
        .await;
    let (after, sent) = (seen(), flood.sent() - sent);
    let (time, runs) = (after.time - before.time, after.runs - before.runs);
    assert!(runs >= sent / 2, "the program has seen {runs} packets of {sent}");
    println!(
        "{what}: {} ns in the program for each of {runs} packets, {sent} of them the flood's",
        time.as_nanos() / u128::from(runs)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_come_through_a_flood() {
    if gate::root_with(&["curl", "ip"]) == Gate::Skip {
        return;
    }
    let lab = Proxied::new(1).await;
    let node = &lab.segment.node;
    let _server = lab.segment.serve(0, &[SocketAddr::new(v4(11), 8080).to_string()]);
    // Answers to the flood have a way, as they have on a real node; else the kernel forgets its SYNs at once.
    let client = v4(10).to_string();
    output(
        &node.namespace,
        Command::new("ip").args(["route", "add", "10.66.0.0/16", "via", &client]),
    );
    set(node, "tcp_syncookies", "0");
    set(node, "../core/somaxconn", "128");
    set(node, "tcp_timestamps", "1");
    let vip = SocketAddr::new(VIPS[0], 80);
    let daemon = lab.segment.start(shop()).await;
    assert_eq!(connect(&lab, vip, 3, PATIENT), 3);
    let open = Open::start_http(&lab.segment.client, vip, OPEN, PERIOD);
    open.go_on(1, DEADLINE, "before the flood").await;

    // Nothing protects the service: its listener has no room for anybody.
    let flood = Flood::start(&lab.segment.client, vip);
    lab.segment
        .node
        .until("the flood is there", |_| flood.sent() > 2_000)
        .await;
    let without = connect(&lab, vip, 5, 2);
    assert!(without <= 1, "{without} of 5: the flood is none");
    open.go_on(2, DEADLINE, "without cookies").await;
    say_cost(&lab, &flood, "without cookies").await;

    // The same flood goes on.
    let cookies = shop().table("protection", "syn-cookies = { above = 100 }");
    node.configure(&format!("{}{cookies}", node.head("eth0")));
    assert!(node.run("reload").status.success());
    assert_eq!(
        ["tcp_syncookies", "tcp_timestamps"].map(|name| setting(node, name)),
        ["2", "2"]
    );
    let begun = Instant::now();
    let with = connect(&lab, vip, TRIES, PATIENT);
    assert!(with * 100 >= TRIES * 99, "{with} of {TRIES}");
    // A SYN that nobody answers is sent again after a second: had each needed that, it would have taken longer.
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(TRIES as u64), "{TRIES} in {took:?}");
    open.go_on(2, DEADLINE, "with cookies").await;
    say_cost(&lab, &flood, "with cookies").await;
    drop(flood);
    open.go_on(1, DEADLINE, "after the flood").await;
    assert_eq!(open.lost(), []);
    let refused = node.client().status().await.unwrap().services[0]
        .protection
        .clone()
        .unwrap()
        .refused;
    assert!(refused.cookies_answered > 1_000, "{refused:?}");

    // Cookies alone, over both families, and windows that are scaled as both sides believe.
    let always = shop().table("protection", "syn-cookies = { above = 0 }");
    node.configure(&format!("{}{always}", node.head("eth0")));
    assert!(node.run("reload").status.success());
    for ip in VIPS {
        assert_eq!(connect(&lab, SocketAddr::new(ip, 80), 20, PATIENT), 20);
    }
    let status = node.client().status().await.unwrap();
    let after = status.services[0].protection.clone().unwrap().refused;
    assert!(after.cookies_accepted >= refused.cookies_accepted + 36, "{after:?}");

    // What was there is put back.
    node.configure(&format!("{}{}", node.head("eth0"), shop()));
    assert!(node.run("reload").status.success());
    assert_eq!(
        ["tcp_syncookies", "tcp_timestamps"].map(|name| setting(node, name)),
        ["0", "1"]
    );
    node.configure(&format!("{}{always}", node.head("eth0")));
    assert!(node.run("reload").status.success());
    assert_eq!(setting(node, "tcp_syncookies"), "2");
    assert_eq!(daemon.end(Signal::SIGTERM), Some(0));
    assert_eq!(setting(node, "tcp_syncookies"), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kernel_takes_cookies_after_an_upgrade() {
    if gate::root_with(&["curl"]) == Gate::Skip {
        return;
    }
    let lab = Proxied::new(1).await;
    let node = &lab.segment.node;
    let _server = lab.segment.serve(0, &[SocketAddr::new(v4(11), 8080).to_string()]);
    set(node, "tcp_syncookies", "1");
    set(node, "tcp_timestamps", "1");
    let settings = || ["tcp_syncookies", "tcp_timestamps"].map(|name| setting(node, name));
    let vip = SocketAddr::new(VIPS[0], 80);
    let always = shop().table("protection", "syn-cookies = { above = 0 }");
    let daemon = lab.segment.start(&always).await;
    assert_eq!(settings(), ["2", "2"]);
    assert_eq!(connect(&lab, vip, 5, PATIENT), 5);

    // The old daemon puts nothing back that the new one needs, when it ends after it has begun.
    daemon.signal(Signal::SIGUSR2);
    assert_eq!(daemon.wait(), Some(0), "{}", node.log());
    let _successor = Successor::of(&node.log());
    assert_eq!(settings(), ["2", "2"]);
    assert_eq!(connect(&lab, vip, 20, PATIENT), 20);

    // The new one knows what was there before the old one.
    node.configure(&format!("{}{}", node.head("eth0"), shop()));
    assert!(node.run("reload").status.success());
    assert_eq!(settings(), ["1", "1"]);
}

/// One request from port 4000, which the balancer ends. The answer.
async fn ask_once(lab: &Proxied, vip: SocketAddr) -> std::io::Result<String> {
    let (any, socket): (IpAddr, _) = if vip.is_ipv4() {
        (
            Ipv4Addr::UNSPECIFIED.into(),
            lab.segment.client.run_inside(TcpSocket::new_v4),
        )
    } else {
        (
            Ipv6Addr::UNSPECIFIED.into(),
            lab.segment.client.run_inside(TcpSocket::new_v6),
        )
    };
    let socket = socket??;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::new(any, 4000))?;
    let asked = async {
        let mut stream = socket.connect(vip).await?;
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n")
            .await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    };
    tokio::time::timeout(DEADLINE, asked).await?
}

/// Waits until the client's kernel has forgotten its connection from that port: it has to hear that its end was heard.
async fn until_forgotten(lab: &Proxied) {
    let is_known = || {
        let all = ["tcp", "tcp6"].map(|table| std::fs::read_to_string(format!("/proc/thread-self/net/{table}")));
        all.into_iter().any(|table| table.unwrap().contains(":0FA0 "))
    };
    let gone = async {
        while lab.segment.client.run_inside(is_known).unwrap() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, gone).await.unwrap();
}

/// The balancer has closed the connection, so its kernel keeps it for a minute yet (TIME_WAIT), and it alone can tell whether the
/// next SYN from there begins another one. It is asked whether the program believes its stamps or not.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_comes_back_from_the_same_port() {
    if gate::root() == Gate::Skip {
        return;
    }
    let lab = Proxied::new(1).await;
    let _server = lab.segment.serve(0, &[SocketAddr::new(v4(11), 8080).to_string()]);
    let always = shop().table("protection", "syn-cookies = { above = 0 }");
    let _daemon = lab.segment.start(always).await;
    // The first word of it says from when on.
    let cookies = Pinned::<u64>::open(&lab.segment.node.path("bpf"), "COOKIES", 1).unwrap();
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap();
    assert!(u128::from(cookies.get(0)) > Duration::from(now).as_nanos());
    for from in [0, 1] {
        cookies.set(0, from);
        for ip in VIPS {
            let vip = SocketAddr::new(ip, 80);
            for time in 1..=5 {
                let answer = ask_once(&lab, vip).await;
                let answer = answer.unwrap_or_else(|error| panic!("{vip}, {time}, from {from}: {error}"));
                assert!(answer.contains("web1 saw client"), "{answer}");
                until_forgotten(&lab).await;
            }
        }
    }
}
