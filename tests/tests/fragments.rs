//! Datagrams that are too long for a frame, and so travel in real fragments, through every mode and in both families.

#![allow(clippy::unwrap_used, reason = "what tests share may panic as they do")]

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use lb_tests::backing::{VIPS, decap, hold};
use lb_tests::gate::{self, Gate};
use lb_tests::netns::TestNamespace;
use lb_tests::node::DEADLINE;
use lb_tests::segment::{Segment, v4, v6};
use lb_tests::toml;
use lb_user::api::types::Status;
use nix::libc;

const BACKENDS: u8 = 3;

/// Ports of the VIPs by mode, and that of the backends of `nat`.
const DSR: u16 = 7001;
const TUNNEL: u16 = 7002;
const TUNNEL_V6: u16 = 7003;
const NAT: u16 = 7004;
const BACKEND: u16 = 8007;

/// Three fragments and more.
const LONG: usize = 5000;

fn services() -> String {
    let mut text = String::new();
    let mut service = |name: &str, mode: &str, vips: &[IpAddr], port: u16, backends: &dyn Fn(u8) -> SocketAddr| {
        let vips: Vec<_> = vips.iter().map(|&vip| SocketAddr::new(vip, port)).collect();
        let service = toml::service(name, mode, &vips).udp().with("table-size = 1024");
        text += &service.backends((11..11 + BACKENDS).map(backends)).to_string();
    };
    service("dsr", "dsr", &VIPS, DSR, &|n| SocketAddr::new(v4(n), DSR));
    service("tunnel", "tunnel", &VIPS, TUNNEL, &|n| SocketAddr::new(v4(n), TUNNEL));
    service("tunnel6", "tunnel", &VIPS, TUNNEL_V6, &|n| {
        SocketAddr::new(v6(n.into()), TUNNEL_V6)
    });
    service("nat4", "nat", &VIPS[..1], NAT, &|n| SocketAddr::new(v4(n), BACKEND));
    service("nat6", "nat", &VIPS[1..], NAT, &|n| {
        SocketAddr::new(v6(n.into()), BACKEND)
    });
    text
}

/// Sends back what comes, and who it is, until the test ends.
fn echo(host: &TestNamespace, number: u8, address: SocketAddr) {
    let socket = host.run_inside(|| UdpSocket::bind(address)).unwrap().unwrap();
    thread::spawn(move || {
        let mut datagram = [0; 1 << 16];
        while let Ok((length, client)) = socket.recv_from(&mut datagram) {
            datagram[length] = number;
            // Its client notices when this fails.
            let _ = socket.send_to(&datagram[..=length], client);
        }
    });
}

/// Who answers a long datagram from a new port. It is sent again while there is no answer: the first one may be what tells the
/// client how long the fragments may be.
fn ask(client: &TestNamespace, server: SocketAddr, mark: u8) -> u8 {
    let any: IpAddr = if server.is_ipv4() {
        [0; 4].into()
    } else {
        [0; 16].into()
    };
    let socket = client.run_inside(|| UdpSocket::bind((any, 0))).unwrap().unwrap();
    client.run_inside(|| socket.connect(server)).unwrap().unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let question: Vec<u8> = (0..LONG).map(|at| (at % 251) as u8 ^ mark).collect();
    let deadline = Instant::now() + DEADLINE;
    let mut answer = [0; 1 << 16];
    loop {
        match socket.send(&question).and_then(|_| socket.recv(&mut answer)) {
            Ok(length) => {
                assert!(
                    length == LONG + 1 && answer[..LONG] == question,
                    "{server}: {length} bytes"
                );
                return answer[LONG];
            }
            // "Message too long" is what the client's kernel makes of the answer to a fragment that does not fit.
            Err(error) if error.kind() == ErrorKind::WouldBlock || error.raw_os_error() == Some(libc::EMSGSIZE) => {
                assert!(Instant::now() < deadline, "{server} does not answer");
            }
            Err(error) => panic!("{server}: {error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fragments_reach_the_backend_of_their_datagram() {
    if gate::root() == Gate::Skip {
        return;
    }
    let segment = Segment::new(BACKENDS).await;
    let mut opened = Vec::new();
    for (number, web) in (11..).zip(&segment.backends) {
        hold(web, &VIPS).await;
        opened.push(decap(web, &[], "native"));
        let at_vips = VIPS
            .into_iter()
            .flat_map(|vip| [DSR, TUNNEL, TUNNEL_V6].map(|port| SocketAddr::new(vip, port)));
        let at_own = [v4(number), v6(number.into())].map(|own| SocketAddr::new(own, BACKEND));
        for address in at_vips.chain(at_own) {
            echo(web, number, address);
        }
    }
    let node = &segment.node;
    node.configure(&format!("{}{}", node.head("eth0"), services()));
    let _daemon = node.start().await;
    let reached = |s: &Status| {
        let mut all = s.services.iter().flat_map(|s| &s.backends);
        all.all(|b| b.slots > 0 && b.next_hop.is_some())
    };
    node.until("all backends are reached", reached).await;
    for port in [DSR, TUNNEL, TUNNEL_V6, NAT] {
        for vip in VIPS {
            let server = SocketAddr::new(vip, port);
            let mut answers: Vec<u8> = (0..60).map(|mark| ask(&segment.client, server, mark)).collect();
            answers.sort_unstable();
            answers.dedup();
            assert_eq!(
                answers,
                [11, 12, 13],
                "{server}: all backends have answered\n{}",
                node.log()
            );
        }
    }
}
