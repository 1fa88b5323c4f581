//! `via = "service"`: probes that take the way of the service's packets find what others do not, and `fulcrum doctor` says
//! what it is.

#![allow(clippy::unwrap_used, reason = "what tests share may panic as they do")]

use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::process::{Command, Stdio};
use std::thread;

use lb_tests::backing::{VIPS, decap, hold};
use lb_tests::capture::Capture;
use lb_tests::gate::{self, Gate};
use lb_tests::netns::TestNamespace;
use lb_tests::node::Node;
use lb_tests::segment::{Process, Segment, v4, v6};
use lb_tests::toml::{Service, service};
use lb_user::api::types::{BackendStatus, Health, Status};
use lb_user::net::{LOOPBACK, Net, wire};
use serde_json::Value;

/// Addresses of the first backend.
const OWN: [IpAddr; 2] = [v4(11), v6(11)];

/// As long as `fulcrum doctor` waits at most, so that neither gives up on a machine with much else to do; and quick to notice
/// for that.
const TIMING: &str = "interval = \"2s\"\ntimeout = \"2s\"\nrise = 1\nfall = 2";

/// Of those that stay up: nobody waits for anything but their first probe.
const UNHURRIED: &str = "interval = \"10s\"\ntimeout = \"10s\"\nrise = 1\nfall = 2";

/// A service of these VIPs whose backend is probed so; at its own address it never goes down here.
fn probed(name: &str, mode: &str, vips: &[IpAddr], backend: SocketAddr, health: &str) -> Service {
    let vips: Vec<_> = vips.iter().map(|&ip| SocketAddr::new(ip, backend.port())).collect();
    let through = health.contains("via = \"service\"");
    let timing = if through { TIMING } else { UNHURRIED };
    service(name, mode, &vips)
        .with("table-size = 64")
        .table("health", format_args!("{timing}\n{health}"))
        .backend_with(backend, "name = \"web1\"")
}

/// A backend of a service.
fn backend<'s>(status: &'s Status, service: &str, name: &str) -> &'s BackendStatus {
    let service = status.services.iter().find(|s| s.name == service).expect("a service");
    service.backends.iter().find(|b| b.name == name).expect("a backend")
}

/// Waits until the backends of these services have this health, for a reason that contains this.
async fn until(node: &Node, services: &[&str], health: Health, reason: &str) {
    let what = format!("{services:?} are {health:?}: {reason}");
    node.until(&what, |status| {
        services.iter().all(|service| {
            let backend = backend(status, service, "web1");
            backend.health == health && backend.health_reason.contains(reason)
        })
    })
    .await;
}

/// Are they still up whose probes go elsewhere?
async fn are_up(node: &Node, services: &[&str]) {
    let status = node.client().status().await.unwrap();
    for service in services {
        assert_eq!(backend(&status, service, "web1").health, Health::Up, "{service}");
    }
}

/// Exit code, and the findings that are failures or warnings: subject, and cause and remedy in one.
fn doctor(node: &Node) -> (Option<i32>, Vec<(String, String)>) {
    let config = node.path("fulcrum.toml");
    let output = node
        .command(&["doctor", "--json", "-c", &config.to_string_lossy()])
        .output()
        .unwrap();
    let findings: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let of = |finding: &Value, field: &str| finding[field].as_str().unwrap().to_owned();
    // Who keeps the clock, and how large packets in tunnels may be, is no matter here.
    let others = |f: &Value| f["subject"] == "clock" || f["subject"] == "eth0";
    let bad = |f: &&Value| (f["level"] == "failure" || f["level"] == "warning") && !others(f);
    let bad = findings.as_array().unwrap().iter().filter(bad);
    let bad = bad.map(|f| (of(f, "subject"), of(f, "cause") + " / " + &of(f, "remedy")));
    (output.status.code(), bad.collect())
}

/// The one finding about a subject.
#[track_caller]
fn finding<'f>(found: &'f [(String, String)], subject: &str) -> &'f str {
    let mut about = found.iter().filter(|(about, _)| about == subject);
    let (Some((_, text)), None) = (about.next(), about.next()) else {
        panic!("not one finding about {subject}: {found:#?}");
    };
    text
}

async fn take_off(host: &TestNamespace, vips: &[IpAddr]) {
    let net = Net::inside(host).unwrap();
    for &vip in vips {
        net.remove_vip(LOOPBACK, vip).await.unwrap();
    }
}

/// `fulcrum lab serve` on a backend, at these addresses and ports.
fn serve(segment: &Segment, index: usize, ips: &[IpAddr], ports: &[u16]) -> Process {
    let each = ips
        .iter()
        .flat_map(|&ip| ports.iter().map(move |&port| SocketAddr::new(ip, port)));
    segment.serve(index, &each.map(|address| address.to_string()).collect::<Vec<_>>())
}

fn configure(node: &Node, services: &[Service]) {
    let services: String = services.iter().map(Service::to_string).collect();
    node.configure(&format!("{}{services}", node.head("eth0")));
}

/// Probes at VIPs of both families; each is found down when its VIP is gone, and those that go to the
/// backend's own address are not.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_vip_is_found_and_named() {
    if gate::root_with(&["dumpcap", "tshark"]) == Gate::Skip {
        return;
    }
    let segment = Segment::new(1).await;
    let (node, web) = (&segment.node, &segment.backends[0]);
    hold(web, &VIPS).await;
    let _server = serve(&segment, 0, &[OWN[0], OWN[1], VIPS[0], VIPS[1]], &[80, 81, 82, 83, 84]);
    let at = |port| SocketAddr::new(OWN[0], port);
    let services = [
        probed("v4", "dsr", &VIPS[..1], at(80), "kind = \"tcp\"\nvia = \"service\""),
        probed(
            "v6",
            "dsr",
            &VIPS[1..],
            SocketAddr::new(OWN[1], 80),
            "kind = \"http\"\nvia = \"service\"",
        ),
        probed(
            "both",
            "dsr",
            &VIPS,
            at(81),
            "kind = \"http\"\nexpect-body = \"web1 saw client \"\nvia = \"service\"",
        ),
        probed(
            "udp",
            "dsr",
            &VIPS,
            at(82),
            "kind = \"udp\"\npayload = \"who?\"\nexpect = \"web1 saw client\"\nvia = \"service\"",
        )
        .with("protocol = \"udp\""),
        probed("twin", "dsr", &VIPS, at(83), "kind = \"http\""),
    ];
    configure(node, &services);
    let capture = Capture::start(web, &node.path("web1.pcap"));
    let _daemon = node.start().await;
    let through = ["v4", "v6", "both", "udp"];
    until(node, &through, Health::Up, " in ").await;
    until(node, &["twin"], Health::Up, "status 200 in ").await;
    assert_eq!(doctor(node), (Some(0), Vec::new()));

    // One VIP of two.
    take_off(web, &VIPS[1..]).await;
    until(
        node,
        &["v6", "both"],
        Health::Down,
        "through the service: timed out after 2s while connecting",
    )
    .await;
    until(node, &["both"], Health::Down, "[fd08::100]:81 through").await;
    until(
        node,
        &["udp"],
        Health::Down,
        "[fd08::100]:82 through the service: timed out",
    )
    .await;
    are_up(node, &["v4", "twin"]).await;
    let (code, found) = doctor(node);
    assert_eq!(code, Some(1), "{found:?}");
    // It serves, and its probes see nothing of it.
    let twin = finding(&found, "twin/web1");
    assert!(
        twin.contains("is fd08::100 missing on it?") && twin.contains("ip addr add fd08::100/128 dev lo"),
        "{twin}"
    );

    take_off(web, &VIPS[..1]).await;
    until(
        node,
        &["v4"],
        Health::Down,
        "10.8.0.100:80 through the service: timed out",
    )
    .await;
    are_up(node, &["twin"]).await;
    let (code, found) = doctor(node);
    let v4 = finding(&found, "v4/web1");
    assert!(
        code == Some(1) && v4.contains("arp_ignore=1") && v4.contains("ip addr add 10.8.0.100/32 dev lo"),
        "{found:?}"
    );
    hold(web, &VIPS).await;
    until(node, &through, Health::Up, " in ").await;

    // What the probes have sent: from the node's own address, right in every checksum, and with a hop limit that nothing
    // of the kernel's has.
    let sent = "(ip.src == 10.8.0.1 && ip.dst == 10.8.0.100) || (ipv6.src == fd08::1 && ipv6.dst == fd08::100)";
    let fields = [
        "ip.ttl",
        "ipv6.hlim",
        "tcp.checksum.status",
        "udp.checksum.status",
        "tcp.flags.reset",
    ];
    let packets = capture.fields(sent, fields);
    assert!(packets.len() > 20, "{packets:?}");
    for [ttl, hops, tcp, udp, _] in &packets {
        assert_eq!(
            (format!("{ttl}{hops}"), format!("{tcp}{udp}")),
            ("1".to_owned(), "1".to_owned())
        );
    }
    assert!(
        packets.iter().any(|packet| packet[4] == "1" || packet[4] == "True"),
        "{packets:?}"
    );
}

/// What greets as a MySQL server does: version 10 of the protocol, 4.1, and nothing more.
const GREETING: &[u8] = b"\x0a5.7.0\0\x01\0\0\0abcdefgh\0\0\x82\x21\x02\0\0\0\x15\0\0\0\0\0\0\0\0\0\0ijklmnopqrst\0";

/// Answers every question with no records, as a name server may.
fn name_server(host: &TestNamespace, address: SocketAddr) {
    let socket = host.run_inside(|| UdpSocket::bind(address)).unwrap().unwrap();
    thread::spawn(move || {
        let mut message = [0; 512];
        while let Ok((length, client)) = socket.recv_from(&mut message) {
            message[2] |= 0x80;
            socket.send_to(&message[..length], client).unwrap();
        }
    });
}

fn greeter(host: &TestNamespace, address: SocketAddr) {
    let listener = host.run_inside(|| TcpListener::bind(address)).unwrap().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            // Whoever has left already is nobody's problem.
            let _ = (&stream).write_all(&[&[GREETING.len() as u8, 0, 0, 0], GREETING].concat());
        }
    });
}

/// OpenSSL's server, which answers any request with a page.
fn tls_server(node: &Node, host: &TestNamespace, address: SocketAddr) -> Process {
    let made = rcgen::generate_simple_self_signed([VIPS[0].to_string()]).unwrap();
    let files = ["certificate.pem", "key.pem"].map(|name| node.path(name));
    fs::write(&files[0], made.cert.pem()).unwrap();
    fs::write(&files[1], made.signing_key.serialize_pem()).unwrap();
    let mut command = Command::new("openssl");
    command.args(["s_server", "-www", "-accept", &address.to_string(), "-cert"]);
    command
        .arg(&files[0])
        .arg("-key")
        .arg(&files[1])
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    let mut server = Process::start(host, &mut command);
    while !server.line().starts_with("ACCEPT") {}
    server
}

/// Each kind works over connections that the kernel knows nothing of; a body fills the window many times; and a port where
/// nobody listens is said to be one.
#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_probe_takes_the_path() {
    if gate::root_with(&["openssl"]) == Gate::Skip {
        return;
    }
    let segment = Segment::new(1).await;
    let (node, web) = (&segment.node, &segment.backends[0]);
    hold(web, &VIPS).await;
    let vip = |port| SocketAddr::new(VIPS[0], port);
    let _server = serve(&segment, 0, &VIPS, &[80]);
    let _tls = tls_server(node, web, vip(443));
    name_server(web, vip(53));
    greeter(web, vip(3306));
    let ca = format!("ca = \"{}\"", node.path("certificate.pem").display());
    let probe = |name: &str, port, health: &str| {
        let backend = SocketAddr::new(OWN[0], port);
        probed(
            name,
            "dsr",
            &VIPS[..1],
            backend,
            &format!("via = \"service\"\nkind = {health}"),
        )
    };
    let udp = |name: &str, port, health| probe(name, port, health).with("protocol = \"udp\"");
    configure(
        node,
        &[
            // The name of the certificate is the VIP's.
            probe("https", 443, &format!("\"https\"\n{ca}")),
            udp("dns", 53, "\"dns\"\nname = \"www.example.com\""),
            probe("mysql", 3306, "\"mysql\""),
            probe(
                "large",
                80,
                "\"http\"\npath = \"/bytes/200000\"\nexpect-body = \"not in it\"",
            ),
            probe("refused", 81, "\"tcp\""),
            udp("unreachable", 82, "\"udp\"\npayload = \"x\"\nexpect-answer = false"),
        ],
    );
    let _daemon = node.start().await;
    until(node, &["https"], Health::Up, "status 200 in ").await;
    until(node, &["dns"], Health::Up, "NOERROR in ").await;
    until(node, &["mysql"], Health::Up, "MySQL greeting in ").await;
    until(
        node,
        &["large"],
        Health::Down,
        "10.8.0.100:80 through the service: status 200, but the body",
    )
    .await;
    until(
        node,
        &["refused"],
        Health::Down,
        "10.8.0.100:81 through the service: connection refused",
    )
    .await;
    until(
        node,
        &["unreachable"],
        Health::Down,
        "10.8.0.100:82 through the service: port unreachable",
    )
    .await;
    let (_, found) = doctor(node);
    let refused = finding(&found, "refused/web1");
    assert!(
        refused.contains("packets to 10.8.0.100:81 reach it, and nobody listens there"),
        "{refused}"
    );

    // The host itself goes, so there is no next hop any more.
    let net = Net::inside(web).unwrap();
    net.set_down(net.index("eth0").await.unwrap()).await.unwrap();
    until(node, &["https", "dns"], Health::Down, "").await;
}

/// A backend that forwards packets and has lost the VIP: what comes for the VIP goes back to the node, which would give it to
/// the other backend.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_backend_hands_on_is_not_its_own() {
    if gate::root() == Gate::Skip {
        return;
    }
    let segment = Segment::new(2).await;
    let node = &segment.node;
    for host in &segment.backends {
        hold(host, &VIPS).await;
        wire::sysctl(host, "ipv4/ip_forward", "1").unwrap();
        wire::sysctl(host, "ipv6/conf/all/forwarding", "1").unwrap();
        // Every error is sent, and not one a second.
        wire::sysctl(host, "ipv4/icmp_ratelimit", "0").unwrap();
        wire::sysctl(host, "ipv6/icmp/ratelimit", "0").unwrap();
    }
    let _web1 = serve(&segment, 0, &VIPS, &[80, 81]);
    let _web2 = serve(&segment, 1, &VIPS, &[80, 81]);
    let two = |name, family: usize, port| {
        let other = SocketAddr::new([v4(12), v6(12)][family], port);
        probed(
            name,
            "dsr",
            &VIPS[family..=family],
            SocketAddr::new(OWN[family], port),
            "kind = \"tcp\"\nvia = \"service\"",
        )
        .backend_with(other, "name = \"web2\"")
    };
    configure(node, &[two("v4", 0, 80), two("v6", 1, 81)]);
    let _daemon = node.start().await;
    until(node, &["v4", "v6"], Health::Up, "connected in ").await;
    take_off(&segment.backends[0], &VIPS).await;
    until(node, &["v4", "v6"], Health::Down, "it hands packets to this address on").await;
    let status = node.client().status().await.unwrap();
    for service in ["v4", "v6"] {
        assert_eq!(backend(&status, service, "web2").health, Health::Up);
    }
    let (code, found) = doctor(node);
    let text = finding(&found, "v4/web1");
    assert!(text.contains("it does not hold 10.8.0.100"), "{found:?}");
    // The other one serves all.
    assert_eq!(code, Some(0), "{found:?}");
}

/// Tunnels of every pair of families: open, closed and open again; from the sources that the file gives.
#[tokio::test(flavor = "multi_thread")]
async fn a_closed_tunnel_is_found_and_named() {
    if gate::root() == Gate::Skip {
        return;
    }
    let segment = Segment::new(1).await;
    let (node, web) = (&segment.node, &segment.backends[0]);
    hold(web, &VIPS).await;
    let _server = serve(&segment, 0, &[OWN[0], OWN[1], VIPS[0], VIPS[1]], &[80, 81, 82, 83, 84]);
    let names = ["v4-in-v4", "v4-in-v6", "v6-in-v4", "v6-in-v6"];
    let service = |name: &str, vip: usize, own: usize, port: u16, via: &str| {
        let health = format!("kind = \"http\"\nvia = \"{via}\"");
        probed(
            name,
            "tunnel",
            &VIPS[vip..=vip],
            SocketAddr::new(OWN[own], port),
            &health,
        )
        .table("tunnel", "source = [\"10.255.0.0/16\", \"2001:db8:ff::/96\"]")
    };
    configure(
        node,
        &[
            service(names[0], 0, 0, 80, "service"),
            service(names[1], 0, 1, 81, "service"),
            service(names[2], 1, 0, 82, "service"),
            service(names[3], 1, 1, 83, "service"),
            service("twin", 0, 0, 84, "address"),
        ],
    );
    let from = ["--from", "10.255.0.0/16", "--from", "2001:db8:ff::/96"];
    let opened = decap(web, &from, "native");
    let _daemon = node.start().await;
    until(node, &names, Health::Up, "status 200 in ").await;
    until(node, &["twin"], Health::Up, "status 200 in ").await;
    assert_eq!(doctor(node), (Some(0), Vec::new()));

    drop(opened);
    until(
        node,
        &names,
        Health::Down,
        "through the service: timed out after 2s while connecting",
    )
    .await;
    are_up(node, &["twin"]).await;
    let (code, found) = doctor(node);
    let twin = finding(&found, "twin/web1");
    assert!(
        code == Some(1)
            && twin.contains("no answer comes from 10.8.0.100:84 through the tunnel")
            && twin.contains("fulcrum decap -i"),
        "{found:?}"
    );
    let _opened = decap(web, &from, "native");
    until(node, &names, Health::Up, "status 200 in ").await;

    // Open, and without the VIP.
    take_off(web, &VIPS[..1]).await;
    until(node, &names[..2], Health::Down, "through the service: timed out").await;
    are_up(node, &[names[2], names[3], "twin"]).await;
}
