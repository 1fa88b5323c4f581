//! Backends that the file names by host: found by the machine's own resolver, followed to another address, and kept when
//! nobody answers.

#![allow(clippy::unwrap_used, reason = "what tests share may panic as they do")]

use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use lb_tests::backing::VIPS;
use lb_tests::gate::{self, Gate};
use lb_tests::netns::TestNamespace;
use lb_tests::node::DEADLINE;
use lb_tests::open::{Open, Server};
use lb_tests::segment::{Segment, v4};
use lb_tests::toml::service;
use lb_user::api::types::{AdminState, BackendPatch, Status};
use lb_user::net::{LOOPBACK, Net};
use nix::sys::signal::Signal;
use tokio::net::UdpSocket;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

const PORT: u16 = 8080;

/// A name server (RFC 1035) for a few names, at the address where this machine's resolver asks.
struct NameServer {
    names: Arc<Mutex<HashMap<String, Vec<Ipv4Addr>>>>,
    server: Option<JoinHandle<()>>,
}

impl NameServer {
    async fn start(host: &TestNamespace) -> Self {
        let resolv = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        let named = resolv.lines().filter_map(|line| line.strip_prefix("nameserver"));
        let ip: IpAddr = named
            .filter_map(|ip| ip.trim().parse().ok())
            .next()
            .unwrap_or([127, 0, 0, 1].into());
        if !ip.is_loopback() {
            let prefix = if ip.is_ipv4() { 32 } else { 128 };
            let net = Net::inside(host).unwrap();
            net.add_address(LOOPBACK, ip, prefix).await.unwrap();
        }
        let runtime = Handle::current();
        let socket = host.run_inside(|| {
            let _runtime = runtime.enter();
            UdpSocket::from_std(std::net::UdpSocket::bind((ip, 53)).and_then(|s| s.set_nonblocking(true).map(|()| s))?)
        });
        let socket = socket.unwrap().unwrap();
        let names: Arc<Mutex<HashMap<String, Vec<Ipv4Addr>>>> = Arc::default();
        let known = Arc::clone(&names);
        let server = tokio::spawn(async move {
            let mut question = [0; 512];
            while let Ok((length, asker)) = socket.recv_from(&mut question).await {
                let answer = answer(&question[..length], &known.lock().unwrap());
                if let Some(answer) = answer {
                    socket.send_to(&answer, asker).await.unwrap();
                }
            }
        });
        Self {
            names,
            server: Some(server),
        }
    }

    fn say(&self, name: &str, numbers: &[u8]) {
        let ips = numbers.iter().map(|&number| match v4(number) {
            IpAddr::V4(ip) => ip,
            IpAddr::V6(_) => panic!("IPv4"),
        });
        self.names.lock().unwrap().insert(name.to_owned(), ips.collect());
    }

    /// From now on, nobody answers.
    fn stop(&mut self) {
        self.server.take().unwrap().abort();
    }
}

/// The addresses of the name that is asked for, or that there is no such name.
fn answer(question: &[u8], known: &HashMap<String, Vec<Ipv4Addr>>) -> Option<Vec<u8>> {
    let mut name = Vec::new();
    let mut at = 12;
    while let length @ 1.. = usize::from(*question.get(at)?) {
        name.push(String::from_utf8(question.get(at + 1..=at + length)?.to_vec()).ok()?);
        at += 1 + length;
    }
    let end = at + 5;
    let is_a = question.get(at + 1..at + 3)? == [0, 1];
    let found = known.get(&name.join("."));
    let addresses = found.filter(|_| is_a).map_or(&[][..], |ips| ips);
    let mut answer = question.get(..end)?.to_vec();
    // A response, authoritative; NOERROR or NXDOMAIN; one question, and no other sections than answers.
    (answer[2], answer[3]) = (0x84 | question[2] & 1, if found.is_some() { 0 } else { 3 });
    answer[4..12].copy_from_slice(&[0, 1, 0, u8::try_from(addresses.len()).ok()?, 0, 0, 0, 0]);
    for ip in addresses {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        answer.extend(ip.octets());
    }
    Some(answer)
}

/// Address and slots of the first service's backends, and names of those without an address.
fn shown(status: &Status) -> (Vec<(SocketAddr, bool)>, Vec<&str>) {
    let service = &status.services[0];
    let backends = service.backends.iter().filter(|backend| !backend.leaving);
    let lack = service.unresolved.iter().map(|backend| &*backend.name);
    (backends.map(|b| (b.address, b.slots > 0)).collect(), lack.collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_is_followed_to_its_address_and_keeps_it_when_nobody_answers() {
    if gate::root() == Gate::Skip {
        return;
    }
    let segment = Segment::new(3).await;
    let node = &segment.node;
    let mut names = NameServer::start(&node.namespace).await;
    let at = |number: u8| SocketAddr::new(v4(number), PORT);
    let _servers: Vec<_> = (11..)
        .zip(&segment.backends)
        .map(|(n, host)| Server::start(host, at(n), n - 10))
        .collect();
    names.say("web1.fulcrum.test", &[11]);
    let web = |hosts: &[&str]| {
        let web = service("web", "nat", &[SocketAddr::new(VIPS[0], 80)]).with("table-size = 1024");
        hosts.iter().fold(web, |web, host| {
            web.backend_with(format_args!("{host}:{PORT}"), format_args!("name = {host:?}"))
        })
    };
    let hosts = ["web1.fulcrum.test", "web2.fulcrum.test"];
    let configure = |hosts: &[&str]| node.configure(&format!("{}{}", node.head("eth0"), web(hosts)));
    configure(&hosts);
    let daemon = node.start().await;
    // One that nobody knows yet keeps nobody from serving.
    let serves = |wanted: &[u8], lack: &[&str]| {
        let wanted: Vec<_> = wanted.iter().map(|&number| (at(number), true)).collect();
        let lack: Vec<String> = lack.iter().map(|&name| name.to_owned()).collect();
        move |status: &Status| shown(status) == (wanted.clone(), lack.iter().map(String::as_str).collect())
    };
    let status = node
        .until("the first serves", serves(&[11], &["web2.fulcrum.test"]))
        .await;
    // What follows is of each look, and of how long it took.
    let unknown = "web2.fulcrum.test cannot be looked up: ";
    let reason = &status.services[0].unresolved[0].reason;
    assert!(reason.starts_with(unknown), "{reason}");
    let said = node
        .command(&["status", "-c", &node.path("fulcrum.toml").to_string_lossy()])
        .output()
        .unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    assert!(
        said.contains(&format!("NO ADDRESS for web2.fulcrum.test: {unknown}")),
        "{said}"
    );

    let doctor = String::from_utf8(node.run("doctor").stdout).unwrap();
    assert!(
        doctor.contains(&format!("warn  web/web2.fulcrum.test: {unknown}")),
        "{doctor}"
    );

    // Its address becomes known.
    names.say("web2.fulcrum.test", &[12]);
    node.client().reload().await.unwrap();
    node.until("both serve", serves(&[11, 12], &[])).await;
    let open = Open::start(
        &segment.client,
        SocketAddr::new(VIPS[0], 80),
        60,
        std::time::Duration::from_millis(100),
    );
    open.go_on(1, DEADLINE, "they open").await;
    assert!(open.of(1) > 5 && open.of(2) > 5);

    // A command has said something of it, and it moves: what was said goes along, and connections go on.
    let patch = BackendPatch {
        weight: Some(3),
        state: Some(AdminState::Active),
    };
    node.client().patch("web", hosts[0], patch).await.unwrap();
    names.say("web1.fulcrum.test", &[13]);
    node.client().reload().await.unwrap();
    let status = node.until("it is elsewhere", serves(&[13, 12], &[])).await;
    let moved = &status.services[0].backends[0];
    assert_eq!(
        (moved.weight, moved.weight_in_file, moved.host.as_deref()),
        (3, Some(1), Some(hosts[0]))
    );
    open.go_on(3, DEADLINE, "it is elsewhere").await;
    assert_eq!(open.lost(), []);
    assert!(open.of(1) > 5, "they finish where they began");

    // Nobody answers any more, not even at the next start.
    names.stop();
    node.client().reload().await.unwrap();
    node.until("it stays", serves(&[13, 12], &[])).await;
    assert_eq!(daemon.end(Signal::SIGTERM), Some(0));
    let _daemon = node.start().await;
    node.until("what was known is remembered", serves(&[13, 12], &[])).await;
    open.go_on(1, DEADLINE, "after the restart").await;
    assert_eq!(open.lost(), []);
}
