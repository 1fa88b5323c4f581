//! 60,000 connections through `nat` at the same time: none is mixed up with another, and their ports come back.

#![allow(clippy::unwrap_used, reason = "what tests share may panic as they do")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lb_tests::gate::{self, Gate, gate};
use lb_tests::node::DEADLINE;
use lb_tests::segment::{Process, Segment, v4};
use lb_user::api::types::Status;
use lb_user::net::{Namespace, Net, wire};
use nix::sys::resource::{Resource, getrlimit};

const BACKENDS: u8 = 4;

/// Addresses of the client: one does not have ports enough.
const CLIENTS: u8 = 4;

const EACH: usize = 15_000;

/// More than opening all of them takes, on a slow machine too: they are silent until the last one is open. Closed ones rest for a
/// minute at most, however long it is.
const IDLE: Duration = Duration::from_secs(120);

/// A backend has room for a third more than its share.
const PORTS: (u16, u16) = (10_000, 29_999);

fn crowd(namespace: &Namespace, arguments: &[&str]) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_crowd"));
    Process::start(namespace, command.args(arguments).stdin(Stdio::piped()))
}

/// Tells all clients to go on, and waits until all have.
fn go_on(clients: &mut [Process], what: &str) {
    for client in &mut *clients {
        client.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }
    for client in clients {
        assert_eq!(client.line(), format!("{what}\n"));
    }
}

fn config(backends: impl Iterator<Item = u8>) -> String {
    let mut text = format!(
        "[[service]]\nname = \"web\"\naddress = \"{}:80\"\nmode = \"nat\"\nidle-timeout = \"{}s\"\n\
         [service.nat]\nports = \"{}-{}\"\n[service.health]\nkind = \"none\"\n",
        v4(100),
        IDLE.as_secs(),
        PORTS.0,
        PORTS.1
    );
    for number in backends {
        text += &format!(
            "[[service.backend]]\nname = \"web{number}\"\naddress = \"{}:8080\"\n",
            v4(10 + number)
        );
    }
    text
}

/// The flows of all backends: opening, established, half closed, closed.
fn flows(status: &Status) -> [u32; 4] {
    let mut sum = [0; 4];
    for nat in status.services[0].backends.iter().filter_map(|b| b.nat) {
        let phases = [nat.opening, nat.established, nat.half_closed, nat.closed];
        sum.iter_mut().zip(phases).for_each(|(sum, count)| *sum += count);
    }
    sum
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_connections_is_kept_apart_and_leaves_no_port_behind() {
    // One process per client and backend holds its connections.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let few = most < EACH as u64 * 5 / 4;
    if gate::root() == Gate::Skip || gate(few.then_some("needs 18,750 open files, see `ulimit -Hn`")) == Gate::Skip {
        return;
    }
    let segment = Segment::new(BACKENDS).await;
    let node = &segment.node;
    let mut servers: Vec<_> = (1..=BACKENDS)
        .map(|number| {
            let listen = format!("{}:8080", v4(10 + number));
            crowd(
                &segment.backends[usize::from(number) - 1],
                &["serve", &format!("web{number}"), &listen],
            )
        })
        .collect();
    for server in &mut servers {
        assert_eq!(server.line(), "ready\n");
    }
    // The kernel looks for a port among half of these first, and long when they run out.
    wire::sysctl(&segment.client, "ipv4/ip_local_port_range", "1024 65535").unwrap();
    let net = Net::inside(&segment.client).unwrap();
    let eth0 = net.index("eth0").await.unwrap();
    for number in 0..CLIENTS {
        net.add_address(eth0, v4(50 + number), 24).await.unwrap();
    }
    node.configure(&format!("{}{}", node.head("eth0"), config(1..=BACKENDS)));
    let _daemon = node.start().await;
    let serves = |s: &Status| s.services[0].backends.iter().all(|b| b.slots > 0);
    node.until("all backends serve", serves).await;

    let begun = Instant::now();
    let (vip, each) = (format!("{}:80", v4(100)), EACH.to_string());
    let mut clients: Vec<_> = (0..CLIENTS)
        .map(|number| crowd(&segment.client, &["connect", &v4(50 + number).to_string(), &vip, &each]))
        .collect();
    let mut seen: BTreeMap<String, BTreeSet<u16>> = BTreeMap::new();
    for client in &mut clients {
        for _ in 0..EACH {
            let line = client.line();
            let (backend, port) = line.trim_end().split_once(' ').unwrap_or_else(|| panic!("{line:?}"));
            let fresh = seen
                .entry(backend.to_owned())
                .or_default()
                .insert(port.parse().unwrap());
            assert!(fresh, "{backend} sees port {port} twice");
        }
        assert_eq!(client.line(), "open\n");
    }
    eprintln!("open after {:?}", begun.elapsed());
    go_on(&mut clients, "spoken");
    eprintln!("spoken after {:?}", begun.elapsed());
    assert_eq!(seen.len(), usize::from(BACKENDS));
    assert!(seen.values().flatten().all(|port| (PORTS.0..=PORTS.1).contains(port)));
    let all = u32::from(CLIENTS) * EACH as u32;
    node.until("all are counted", |s| flows(s) == [0, all, 0, 0]).await;
    eprintln!("counted after {:?}", begun.elapsed());

    go_on(&mut clients, "closed");
    eprintln!("closed after {:?}", begun.elapsed());
    node.until("all are closed", |s| flows(s)[..3] == [0; 3]).await;
    node.until_within(IDLE + DEADLINE, "all ports are free", |s| flows(s) == [0; 4])
        .await;
    eprintln!("free after {:?}", begun.elapsed());
    let status = node.client().status().await.unwrap();
    assert!(
        status
            .drops
            .iter()
            .all(|(reason, count)| !reason.starts_with("nat_") || *count == 0),
        "{:?}",
        status.drops
    );
}
