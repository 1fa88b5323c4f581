//! Much data through every mode and family, over links of 1500 bytes, in both directions; and over links of 9000.

#![allow(clippy::unwrap_used, reason = "what tests share may panic as they do")]

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use lb_tests::backing::{VIPS, decap, hold};
use lb_tests::bulk;
use lb_tests::gate::{self, Gate};
use lb_tests::node::Daemon;
use lb_tests::segment::{Segment, v4, v6};
use lb_tests::toml;
use lb_user::api::types::{Status, XdpMode};
use lb_user::net::Net;

const GIGABYTE: u64 = 1 << 30;

/// Port of the VIPs by mode, and the port of a backend of `nat`.
const DSR: u16 = 80;
const TUNNEL: u16 = 81;
const TUNNEL_V6: u16 = 82;
const NAT: u16 = 83;
const BACKEND: u16 = 8080;

const OWN: [IpAddr; 2] = [v4(11), v6(11)];

/// Every mode in both families, and tunnels of both, with one backend.
fn services() -> String {
    let mut text = String::new();
    let mut service = |name: &str, mode: &str, vips: &[IpAddr], port: u16, backend: SocketAddr| {
        let vips: Vec<_> = vips.iter().map(|&vip| SocketAddr::new(vip, port)).collect();
        let service = toml::service(name, mode, &vips).with("table-size = 64").unprobed();
        text += &service.backend(backend).to_string();
    };
    service("dsr", "dsr", &VIPS, DSR, SocketAddr::new(OWN[0], DSR));
    service("tunnel", "tunnel", &VIPS, TUNNEL, SocketAddr::new(OWN[0], TUNNEL));
    service(
        "tunnel6",
        "tunnel",
        &VIPS,
        TUNNEL_V6,
        SocketAddr::new(OWN[1], TUNNEL_V6),
    );
    for (family, (vip, own)) in ["nat4", "nat6"].into_iter().zip(VIPS.into_iter().zip(OWN)) {
        service(family, "nat", &[vip], NAT, SocketAddr::new(own, BACKEND));
    }
    text
}

/// A segment whose backend serves all of them.
async fn segment() -> Segment {
    let segment = Segment::new(1).await;
    hold(&segment.backends[0], &VIPS).await;
    let at_vips = VIPS
        .into_iter()
        .flat_map(|vip| [DSR, TUNNEL, TUNNEL_V6].map(|port| SocketAddr::new(vip, port)));
    let at_own = OWN.map(|own| SocketAddr::new(own, BACKEND));
    bulk::serve(&segment.backends[0], &at_vips.chain(at_own).collect::<Vec<_>>());
    segment
}

async fn start(segment: &Segment, mode: &str) -> Daemon {
    let head = segment.node.head("eth0");
    let head = head.replace("[\"eth0\"]", &format!("[\"eth0\"]\nxdp-mode = \"{mode}\""));
    segment.node.configure(&format!("{head}{}", services()));
    let daemon = segment.node.start().await;
    let serves = |s: &Status| {
        let served =
            |s: &lb_user::api::types::ServiceStatus| s.backends[0].slots > 0 && s.backends[0].next_hop.is_some();
        s.services.iter().all(served)
    };
    segment.node.until("all backends serve", serves).await;
    daemon
}

/// Both ways through a service on `port`, in both families. The first packet that is too long for a tunnel says how long
/// one may be.
async fn carry(segment: &Segment, port: u16, length: u64, overhead: u32, mtu: u32) {
    for vip in VIPS {
        let begun = Instant::now();
        let carried = bulk::both_ways(&segment.client, SocketAddr::new(vip, port), length);
        let known = match carried {
            Ok(known) => known,
            Err(error) => panic!("{vip} port {port}: {error}\n{}", segment.node.log()),
        };
        eprintln!("{vip} port {port}: {length} bytes both ways in {:?}", begun.elapsed());
        assert_eq!(known, mtu - overhead, "{vip} port {port}");
    }
}

/// 1 GiB in each direction, of each mode and family: 40 s on two cores.
#[tokio::test(flavor = "multi_thread")]
async fn every_byte_arrives_through_every_mode() {
    if gate::root() == Gate::Skip {
        return;
    }
    let segment = segment().await;
    // A client remembers how long a packet to a VIP may be, so the longer outer headers come later.
    for (mode, ports, length) in [
        (XdpMode::Native, &[(DSR, 0), (NAT, 0), (TUNNEL, 20)][..], GIGABYTE),
        (XdpMode::Generic, &[(TUNNEL_V6, 40)], GIGABYTE / 4),
        (XdpMode::Native, &[(TUNNEL_V6, 40)], GIGABYTE),
    ] {
        let name = if mode == XdpMode::Native { "native" } else { "generic" };
        let _daemon = start(&segment, name).await;
        let status = segment.node.client().status().await.unwrap();
        assert_eq!(status.interfaces[0].mode, mode);
        let _opened = decap(&segment.backends[0], &["--mode", name], name);
        for &(port, overhead) in ports {
            carry(&segment, port, length, overhead, 1500).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn long_frames_are_carried_in_pieces() {
    if gate::root() == Gate::Skip {
        return;
    }
    let segment = segment().await;
    let inside = [&segment.node.namespace, &segment.client, &segment.backends[0]];
    for host in inside {
        let net = Net::inside(host).unwrap();
        net.set_mtu(net.index("eth0").await.unwrap(), 9000).await.unwrap();
    }
    let switch = Net::inside(&segment.node.outside).unwrap();
    for port in ["eth0", "client", "web1", "br0"] {
        switch.set_mtu(switch.index(port).await.unwrap(), 9000).await.unwrap();
    }
    let _daemon = start(&segment, "native").await;
    for port in [DSR, NAT] {
        carry(&segment, port, GIGABYTE / 4, 0, 9000).await;
    }
}
