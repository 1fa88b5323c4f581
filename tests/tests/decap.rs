//! `fulcrum decap` on a backend: what it opens, what it says, and how it ends.

#![allow(clippy::unwrap_used, reason = "what tests share may panic as they do")]

use std::io::Read as _;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::thread;

use lb_tests::backing::{VIPS, decap, hold};
use lb_tests::executable::fulcrum_as_nobody;
use lb_tests::gate::{self, Gate};
use lb_tests::lab::fulcrum;
use lb_tests::netns::TestNamespace;
use lb_tests::node::{DEADLINE, refused};
use lb_tests::segment::{Process, Segment, v4, v6};
use lb_user::api::types::{BackendStatus, Status};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Ports of services whose outer packets come from where they do by default, and from elsewhere; for each, one for a
/// backend with an IPv4 address, and one for IPv6.
const PLAIN: [u16; 2] = [7001, 7002];
const ELSEWHERE: [u16; 2] = [7003, 7004];

fn services() -> String {
    let mut text = String::new();
    for (ports, tunnel) in [
        (PLAIN, ""),
        (ELSEWHERE, "source = [\"10.255.0.0/16\", \"2001:db8:ff::/96\"]"),
    ] {
        for (port, backend) in ports.into_iter().zip([v4(11), v6(11)]) {
            let vips = VIPS.map(|vip| SocketAddr::new(vip, port).to_string());
            let backend = SocketAddr::new(backend, port);
            text += &format!(
                "[[service]]\nname = \"echo{port}\"\naddress = {vips:?}\nprotocol = \"udp\"\nmode = \"tunnel\"\n\
                 table-size = 64\n[service.tunnel]\n{tunnel}\n[service.health]\nkind = \"none\"\n\
                 [[service.backend]]\naddress = \"{backend}\"\n"
            );
        }
    }
    text
}

/// Sends back what comes, until the test ends.
fn echo(host: &TestNamespace, address: SocketAddr) {
    let socket = host.run_inside(|| UdpSocket::bind(address)).unwrap().unwrap();
    thread::spawn(move || {
        let mut datagram = [0; 2048];
        while let Ok((length, client)) = socket.recv_from(&mut datagram) {
            socket.send_to(&datagram[..length], client).unwrap();
        }
    });
}

/// A socket of the client's.
fn socket(client: &TestNamespace, vip: IpAddr, port: u16) -> UdpSocket {
    let any: IpAddr = if vip.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
    let socket = client.run_inside(|| UdpSocket::bind((any, 0))).unwrap().unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    client.run_inside(|| socket.connect((vip, port))).unwrap().unwrap();
    socket
}

/// Sends a datagram to each VIP that is echoed.
fn is_echoed(client: &TestNamespace, port: u16) {
    for vip in VIPS {
        let socket = socket(client, vip, port);
        socket.send(b"hello").unwrap();
        let mut answer = [0; 10];
        assert_eq!(socket.recv(&mut answer).unwrap(), 5);
        assert_eq!(&answer[..5], b"hello");
    }
}

/// Ends it, and returns what it still says.
fn end(mut decap: Process, signal: Signal) -> String {
    kill(Pid::from_raw(decap.child.id().cast_signed()), signal).unwrap();
    let mut rest = String::new();
    decap.take_output().read_to_string(&mut rest).unwrap();
    let code = decap.child.wait().unwrap().code();
    let expected = if signal == Signal::SIGKILL { None } else { Some(0) };
    assert_eq!(code, expected, "{rest}");
    rest
}

#[tokio::test(flavor = "multi_thread")]
async fn tunnels_are_opened_until_it_ends_and_only_those_that_are_wanted() {
    if gate::root() == Gate::Skip {
        return;
    }
    let segment = Segment::new(1).await;
    let (node, web) = (&segment.node, &segment.backends[0]);
    hold(web, &VIPS).await;
    for vip in VIPS {
        for port in PLAIN.into_iter().chain(ELSEWHERE) {
            echo(web, SocketAddr::new(vip, port));
        }
    }
    node.configure(&format!("{}{}", node.head("eth0"), services()));
    let _daemon = node.start().await;
    let reached = |backend: &BackendStatus| backend.next_hop.is_some() && backend.slots > 0;
    let reached = |s: &Status| s.services.iter().all(|s| reached(&s.backends[0]));
    node.until("the backend is reached", reached).await;

    for (arguments, mode) in [(&[][..], "native"), (&["--mode", "generic"], "generic")] {
        // By any of the two signals.
        for (signal, ports) in [(Signal::SIGTERM, PLAIN), (Signal::SIGINT, ELSEWHERE)] {
            let opened = decap(web, arguments, mode);
            for port in ports {
                is_echoed(&segment.client, port);
            }
            assert_eq!(end(opened, signal), "eth0: taken off, 4 packets decapsulated\n");
        }
    }
    // A second one can attach, so the first one has left.
    assert_eq!(end(decap(web, &[], "native"), Signal::SIGKILL), "");
    let from = ["--from", "10.255.0.0/16", "--from", "2001:db8:ff::/96"];
    let opened = decap(web, &from, "native");
    for port in PLAIN {
        for vip in VIPS {
            socket(&segment.client, vip, port).send(b"hello").unwrap();
        }
    }
    // They take the same way, and come later.
    for port in ELSEWHERE {
        is_echoed(&segment.client, port);
    }
    assert_eq!(
        end(opened, Signal::SIGTERM),
        "eth0: taken off, 4 packets decapsulated\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_cannot_do_is_refused_in_one_message() {
    if gate::root() == Gate::Skip {
        return;
    }
    let segment = Segment::new(1).await;
    let web = &segment.backends[0];
    let decap_on = |arguments: &[&str]| {
        let mut command = fulcrum();
        web.confine(&mut command)
            .arg("decap")
            .args(arguments)
            .env("NO_COLOR", "1");
        command
    };
    assert_eq!(
        refused(&mut decap_on(&["-i", "eth7"])),
        "error: there is no interface `eth7`; `ip link` shows those that there are\n"
    );
    assert_eq!(
        refused(&mut decap_on(&["-i", "eth0", "-i", "eth0"])),
        "error: `eth0` is given twice\n"
    );
    let _opened = decap(web, &[], "native");
    for mode in ["auto", "native", "generic"] {
        let text = refused(&mut decap_on(&["-i", "eth0", "--mode", mode]));
        assert!(
            text.starts_with("error: cannot attach to eth0 in ") && text.contains("another XDP program"),
            "{mode}: {text}"
        );
    }
    let folder = tempfile::tempdir().unwrap();
    let text = refused(fulcrum_as_nobody(folder.path()).args(["decap", "-i", "lo"]));
    assert!(
        text.starts_with("error: missing CAP_NET_ADMIN") && text.contains("run as root"),
        "{text}"
    );
    for usage in [
        &[][..],
        &["-i"],
        &["-i", "eth0", "--from", "10.0.0"],
        &["-i", "eth0", "--mode", "fast"],
    ] {
        let output = decap_on(usage).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{usage:?}");
    }
}
