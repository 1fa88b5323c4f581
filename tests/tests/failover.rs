//! Two nodes that stand in for each other: connections and downloads go on when the master is killed, when it is started
//! again, and when it is told to end.

#![allow(clippy::unwrap_used, reason = "what tests share may panic as they do")]

use std::net::SocketAddr;
use std::time::Duration;

use lb_tests::backing::{VIPS, hold};
use lb_tests::download::Download;
use lb_tests::gate::{self, Gate};
use lb_tests::node::{DEADLINE, Node};
use lb_tests::open::{Open, Server};
use lb_tests::pair::is;
use lb_tests::segment::{Segment, v4, v6};
use lb_tests::toml::service;
use lb_user::api::types::{NodePatch, Status};
use lb_user::net::wire;
use nix::sys::signal::Signal;

const PORT: u16 = 80;
const LONG: u16 = 8080;

/// Longer than the test.
const LENGTH: u64 = 400_000_000;

/// One file for both nodes.
fn configure(node: &Node, name: &str) {
    let head = node.head_with_seed("eth0");
    let mut text = head.replacen("name = \"lb1\"", &format!("name = \"{name}\""), 1);
    for (name, port) in [("web", PORT), ("long", LONG)] {
        for (family, host) in [("4", v4 as fn(u8) -> _), ("6", |number| v6(number.into()))] {
            let vip = SocketAddr::new(host(100), port);
            let mut service = service(&format!("{name}{family}"), "dsr", &[vip]);
            for number in 1..=3 {
                service = service.backend(SocketAddr::new(host(10 + number), port));
            }
            text.push_str(&service.to_string());
        }
    }
    for (id, address) in (41..).zip(VIPS) {
        text.push_str(&format!(
            "[[vrrp]]\nname = \"VI_{id}\"\ninterface = \"eth0\"\nrouter-id = {id}\npriority = {{ lb1 = 110, lb2 = 100 }}\n\
             advertisement-interval = \"50ms\"\naddresses = [\"{address}\"]\nsync-group = \"edge\"\n"
        ));
    }
    node.configure(&text);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_notice_nothing_of_a_failover() {
    if gate::root_with(&["curl"]) == Gate::Skip {
        return;
    }
    let segment = Segment::new(3).await;
    wire::sysctl(&segment.client, Download::BOUNDS.0, Download::BOUNDS.1).unwrap();
    let mut servers = Vec::new();
    let mut long = Vec::new();
    for (index, host) in segment.backends.iter().enumerate() {
        hold(host, &VIPS).await;
        let number = index as u8 + 1;
        for vip in VIPS {
            servers.push(Server::start(host, SocketAddr::new(vip, PORT), number));
        }
        for address in [v4(10 + number), v6(10 + u16::from(number))] {
            servers.push(Server::start(host, SocketAddr::new(address, PORT), number));
        }
        let listen = [VIPS[0], VIPS[1], v4(10 + number), v6(10 + u16::from(number))];
        long.push(segment.serve(index, &listen.map(|ip| SocketAddr::new(ip, LONG).to_string())));
    }
    let (first, second) = (&segment.node, segment.another_node(2).await);
    configure(first, "lb1");
    configure(&second, "lb2");
    let daemon = first.start().await;
    let _second = second.start().await;
    first.until("the first is master", is("master")).await;
    second.until("the second is backup", is("backup")).await;

    let open = VIPS.map(|vip| {
        Open::start(
            &segment.client,
            SocketAddr::new(vip, PORT),
            100,
            Duration::from_millis(50),
        )
    });
    let downloads =
        VIPS.map(|vip| Download::start("a download", &segment.client, 0, SocketAddr::new(vip, LONG), LENGTH));
    let go_on = async |what: &str| {
        for (open, download) in open.iter().zip(&downloads) {
            open.go_on(3, DEADLINE, what).await;
            download.goes_on(what).await;
            assert_eq!(open.lost(), [], "{what}");
        }
    };
    go_on("all is well").await;

    daemon.end(Signal::SIGKILL);
    second.until("the second is master", is("master")).await;
    go_on("the master was killed").await;

    let daemon = first.start().await;
    first.until("the first is back", is("master")).await;
    second.until("the second is backup again", is("backup")).await;
    go_on("the master is back").await;

    // Maintenance: it gives away what it holds, and holds nothing when it is started again.
    let drain = first
        .command(&["node", "drain", "--wait", "--timeout", "60s", "--socket"])
        .arg(first.path("socket"))
        .output();
    let drain = drain.unwrap();
    let said = String::from_utf8_lossy(&drain.stdout).into_owned() + &String::from_utf8_lossy(&drain.stderr);
    assert!(drain.status.success() && !said.contains("warning"), "{said}");
    second.until("the second is master meanwhile", is("master")).await;
    go_on("the first drains").await;
    assert_eq!(daemon.end(Signal::SIGTERM), Some(0));
    let daemon = first.start().await;
    let drains = |status: &Status| {
        let mut routers = status.virtual_routers.iter();
        status.draining && routers.all(|router| router.role == "fault" && router.reason.contains("the node drains"))
    };
    first.until("it takes no part still", drains).await;
    first.client().patch_node(NodePatch { draining: false }).await.unwrap();
    first.until("the first is master once more", is("master")).await;
    second.until("the second is backup once more", is("backup")).await;
    go_on("the first takes part again").await;

    assert_eq!(daemon.end(Signal::SIGTERM), Some(0));
    second.until("the second takes over", is("master")).await;
    go_on("the master has ended").await;
    downloads.into_iter().for_each(Download::finish);
}
