//! `via = "service"`: probes that take the way of the service's packets find what others do not, and `fulcrum doctor` says
//! what it is.

#![allow(clippy::unwrap_used, reason = "what tests share may panic as they do")]

use std::net::{IpAddr, SocketAddr};

use lb_tests::backing::{VIPS, hold};
use lb_tests::gate::{self, Gate};
use lb_tests::segment::{Segment, v4, v6};
use lb_tests::toml::service;
use lb_user::api::types::{BackendStatus, Health, Status};
use lb_user::net::{LOOPBACK, Net};

const PORT: u16 = 80;

/// The only backend of a service.
fn backend<'s>(status: &'s Status, name: &str) -> &'s BackendStatus {
    let service = status.services.iter().find(|service| service.name == name);
    &service.expect("a service").backends[0]
}

fn is(status: &Status, name: &str, health: Health, reason: &str) -> bool {
    let backend = backend(status, name);
    backend.health == health && backend.health_reason.contains(reason)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_vip_is_found() {
    if gate::root() == Gate::Skip {
        return;
    }
    let segment = Segment::new(1).await;
    let (node, web) = (&segment.node, &segment.backends[0]);
    hold(web, &VIPS).await;
    let own: [IpAddr; 2] = [v4(11), v6(11)];
    let all = own.into_iter().chain(VIPS);
    let listen: Vec<_> = all.map(|ip| SocketAddr::new(ip, PORT).to_string()).collect();
    let _server = segment.serve(0, &listen);
    let mut config = node.head("eth0");
    for (i, family) in ["v4", "v6"].into_iter().enumerate() {
        let via = |name: &str, port: u16, via: &str| {
            service(name, "dsr", &[SocketAddr::new(VIPS[i], port)])
                .with("table-size = 64")
                .table(
                    "health",
                    format_args!("kind = \"tcp\"\nvia = \"{via}\"\ninterval = \"100ms\"\nfall = 1\nrise = 1"),
                )
                .backend(SocketAddr::new(own[i], port))
        };
        config += &via(family, PORT, "service").to_string();
    }
    node.configure(&config);
    let _daemon = node.start().await;
    let up = |s: &Status| ["v4", "v6"].iter().all(|name| is(s, name, Health::Up, "connected in "));
    node.until("both are up", up).await;
    let net = Net::inside(web).unwrap();
    for vip in VIPS {
        net.remove_vip(LOOPBACK, vip).await.unwrap();
    }
    let down = |s: &Status| {
        ["v4", "v6"].iter().all(|name| {
            is(
                s,
                name,
                Health::Down,
                "through the service: timed out after 100ms while connecting",
            )
        })
    };
    node.until("both are down", down).await;
    hold(web, &VIPS).await;
    node.until("both are up again", up).await;
}
