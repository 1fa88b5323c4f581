//! Packets past the kernel: what comes for a reserved port is heard, and the kernel answers nothing to it.

#![allow(clippy::unwrap_used, reason = "what tests share may panic as they do")]

use std::collections::BTreeSet;
use std::fs;
use std::net::{SocketAddr, UdpSocket};

use lb_common::addr::Mac;
use lb_tests::backing::{VIPS, hold};
use lb_tests::gate::{self, Gate};
use lb_tests::netns::TestNamespace;
use lb_tests::packet;
use lb_tests::segment::{Segment, v4, v6};
use lb_user::model::Protocol;
use lb_user::net::packet::{PacketSocket, Reservation};
use lb_user::net::{Net, wire};
use tokio::runtime::Handle;

const SYN: u8 = 2;

/// Resets, and ICMP errors about destinations, that the kernel of a namespace has sent.
fn answers(host: &TestNamespace) -> u64 {
    let read = |file: &str| host.run_inside(|| fs::read_to_string(format!("/proc/thread-self/net/{file}")));
    let (snmp, snmp6) = (read("snmp").unwrap().unwrap(), read("snmp6").unwrap().unwrap());
    let v4 = |group: &str, name: &str| -> u64 {
        let mut lines = snmp.lines().filter(|line| line.starts_with(group));
        let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
        let place = names.split(' ').position(|known| known == name).unwrap();
        values.split(' ').nth(place).unwrap().parse().unwrap()
    };
    let v6 = snmp6.lines().find_map(|line| line.strip_prefix("Icmp6OutDestUnreachs"));
    // Resets of both families are counted as one.
    v4("Tcp:", "OutRsts") + v4("Icmp:", "OutDestUnreachs") + v6.unwrap().trim().parse::<u64>().unwrap()
}

/// Waits for a packet to this address, and passes over what comes for others.
async fn comes_for(socket: &PacketSocket, address: SocketAddr) {
    let mut packet = [0; 2048];
    loop {
        let length = socket.receive(&mut packet).await.unwrap();
        let packet = &packet[..length];
        let v6 = packet[0] >> 4 == 6;
        assert_eq!(v6, address.is_ipv6());
        let header = if v6 { 40 } else { 20 };
        if packet[header + 2..header + 4] == address.port().to_be_bytes() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kernel_is_silent_at_a_reserved_port() {
    if gate::root() == Gate::Skip {
        return;
    }
    let segment = Segment::new(1).await;
    let (node, web) = (&segment.node.namespace, &segment.backends[0]);
    // The node does not hold them, so what it sends to them leaves.
    hold(web, &VIPS).await;
    // A SYN is answered once: an answer that came again when its port is no longer reserved, the node's kernel would reset.
    wire::sysctl(web, "ipv4/tcp_synack_retries", "0").unwrap();
    let addresses = VIPS.map(|vip| SocketAddr::new(vip, 80));
    let _server = segment.serve(0, &addresses.map(|address| address.to_string()));
    let net = Net::inside(web).unwrap();
    let mac: Mac = net.link("eth0").await.unwrap().unwrap().mac.unwrap();
    let net = Net::inside(node).unwrap();
    let eth0 = net.index("eth0").await.unwrap();
    // Nobody answers for the VIPs.
    for (vip, router) in VIPS.into_iter().zip([v4(11), v6(11)]) {
        net.add_route(vip, if vip.is_ipv4() { 32 } else { 128 }, router)
            .await
            .unwrap();
    }

    for (own, vip) in [(v4(1), addresses[0]), (v6(1), addresses[1])] {
        let runtime = Handle::current();
        let open = || {
            let _runtime = runtime.enter();
            PacketSocket::open(own.is_ipv6())
        };
        let socket = node.run_inside(open).unwrap().unwrap();
        // Others are not heard: they would end the test.
        socket.listen_to(&BTreeSet::from([v4(99), v6(99)])).unwrap();
        socket.listen_to(&VIPS.into()).unwrap();
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let take = || Reservation::take(protocol, own).unwrap();
            for silent in [true, false] {
                let reserved = node.run_inside(take).unwrap();
                let port = reserved.address();
                assert_eq!(port.ip(), own);
                let _reserved = silent.then_some(reserved);
                let packet = match protocol {
                    Protocol::Tcp => packet::tcp(port, vip, SYN, &[]),
                    Protocol::Udp => packet::udp(port, vip, b"who?"),
                };
                let before = answers(node);
                socket.send(&packet, eth0, mac).unwrap();
                comes_for(&socket, port).await;
                // What the kernel says to an answer it says before anything else that it is asked.
                let marker = node.run_inside(|| UdpSocket::bind((own, 0))).unwrap().unwrap();
                marker.send_to(b"marker", vip).unwrap();
                comes_for(&socket, marker.local_addr().unwrap()).await;
                assert_eq!(answers(node) == before, silent, "{protocol:?} {own}");
            }
        }
    }
}
