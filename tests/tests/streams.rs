//! More people at the dashboard than there are places: streams of events are few, and cost the daemon little.

#![allow(clippy::unwrap_used, reason = "what tests share may panic as they do")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Instant;

use lb_tests::gate::{self, Gate};
use lb_tests::node::{DEADLINE, Daemon, Node};
use lb_tests::toml::service;
use lb_user::api::live::MAX_STREAMS;
use lb_user::net::wire;

/// Clients that come at once.
const CROWD: usize = 1000;

/// Services, of [`BACKENDS`] backends each: a state is about 1 MB of text, of which a stream with copies of its own would
/// need two.
const SERVICES: u8 = 200;
const BACKENDS: u8 = 10;

/// Most that the daemon may have grown by while they look, in kB. Copies for each of them would be four times as much.
const GROWTH: u64 = 32 << 10;

/// Asks for `path` at the daemon's TCP port, and does not wait for the answer.
fn ask(node: &Node, path: &str) -> TcpStream {
    let port = (Ipv4Addr::LOCALHOST, 9465);
    let stream = node.namespace.run_inside(|| TcpStream::connect(port)).unwrap();
    let mut stream = stream.unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    stream
}

/// As [`ask`], with more patience: many ask at once, and the first answers have a state each to be made.
fn events(node: &Node) -> TcpStream {
    let stream = ask(node, "/api/v1/events");
    stream.set_read_timeout(Some(5 * DEADLINE)).unwrap();
    stream
}

/// The status code of an answer, with which every answer begins.
fn code(stream: &mut TcpStream) -> u16 {
    let mut begin = *b"HTTP/1.1 503";
    stream.read_exact(&mut begin).unwrap();
    let code = std::str::from_utf8(&begin).unwrap().strip_prefix("HTTP/1.1 ");
    code.unwrap().parse().unwrap()
}

/// The rest of an answer that ends.
fn rest(mut stream: TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// Reads a stream until there is a state.
fn read_a_state(stream: &mut TcpStream) {
    let (mut text, mut part) = (Vec::new(), vec![0; 1 << 16]);
    while !String::from_utf8_lossy(&text).contains("event: status\n") {
        let read = stream.read(&mut part).unwrap();
        assert!(read > 0, "it ends");
        text.extend_from_slice(&part[..read]);
    }
}

/// Numbers, and the state over the Unix socket.
async fn expect_answers(node: &Node) {
    let mut metrics = ask(node, "/metrics");
    assert_eq!(code(&mut metrics), 200);
    assert!(rest(metrics).contains("fulcrum_backend_up{service=\"s199\""));
    let status = node.client().status().await.unwrap();
    assert_eq!((status.services.len(), status.fault), (usize::from(SERVICES), None));
}

/// Memory that the daemon has, in kB.
fn memory(daemon: &Daemon) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kilobytes.unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_who_look_take_their_places_and_no_more() {
    if gate::root() == Gate::Skip {
        return;
    }
    let node = Node::new().await;
    // The kernel takes little of what nobody reads: the rest is the daemon's to keep, or not.
    for (key, sizes) in [
        ("ipv4/tcp_wmem", "4096 16384 65536"),
        ("ipv4/tcp_rmem", "4096 16384 65536"),
    ] {
        wire::sysctl(&node.namespace, key, sizes).unwrap();
    }
    let services = (0..SERVICES).map(|s| {
        let service = service(&format!("s{s}"), "dsr", &[format!("10.9.1.{s}:80")]).unprobed();
        let backends = (1..=BACKENDS).map(|b| format!("10.10.{s}.{b}:80"));
        service.backends(backends).to_string()
    });
    node.configure(&(node.head("eth0") + &services.collect::<String>()));
    let daemon = node.start().await;
    // What the first one costs is not counted.
    let mut first = events(&node);
    assert_eq!(code(&mut first), 200);
    read_a_state(&mut first);
    expect_answers(&node).await;
    let before = memory(&daemon);

    // All of them ask before any of them is listened to. Those who have a place read nothing more.
    let crowd: Vec<_> = (0..CROWD).map(|_| events(&node)).collect();
    let mut looking = vec![first];
    for mut stream in crowd {
        match code(&mut stream) {
            200 => looking.push(stream),
            503 => {
                let problem = rest(stream);
                assert!(problem.contains("64 others look already"), "{problem}");
            }
            other => panic!("{other}: {}", rest(stream)),
        }
    }
    assert_eq!(looking.len(), MAX_STREAMS);
    // The one who reads gets what is new, and so do others who ask for something else.
    for _ in 0..3 {
        read_a_state(&mut looking[0]);
    }
    expect_answers(&node).await;
    let after = memory(&daemon);
    println!("{before} kB, with {MAX_STREAMS} streams {after} kB");
    assert!(
        after.saturating_sub(before) < GROWTH,
        "{before} kB have become {after} kB"
    );

    // As soon as the daemon has noticed that they are gone, there is room again for as many.
    drop(looking);
    let deadline = Instant::now() + DEADLINE;
    let mut others = Vec::new();
    while others.len() < MAX_STREAMS {
        let mut stream = events(&node);
        if code(&mut stream) == 200 {
            others.push(stream);
        }
        assert!(Instant::now() < deadline, "{} places\n{}", others.len(), node.log());
    }
}
