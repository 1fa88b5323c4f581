//! Flows that are new, as the program names them to the manager: each once, another time when it is confirmed, and only where
//! there are peers to be told.

#![allow(clippy::unwrap_used, reason = "what tests share may panic as they do")]

use lb_common::nat::NatKey;
use lb_tests::gate::{self, Gate};
use lb_tests::nat::{Flow, Node};
use lb_tests::node::DEADLINE;
use lb_tests::packet::{ACK, SYN};
use lb_tests::rig::{CLIENT, config, reconfigure};
use lb_user::dataplane::Dataplane as _;
use tokio::sync::mpsc;
use tokio::time::timeout;

const PEERS: &str = "[peers]\nnodes = { lb1 = \"10.0.0.251:8473\", lb2 = \"10.0.0.252:8473\" }\nkey-file = \"/key\"\n";

/// A service for each table of flows.
fn file(drains: &str, peers: &str) -> String {
    let service = |name: &str, port: u16, keys: &str| {
        let backends = ["10.0.0.11", "10.0.0.12"].map(|ip| {
            let state = if ip.ends_with("11") { drains } else { "" };
            format!("[[service.backend]]\naddress = \"{ip}:{port}\"\n{state}")
        });
        format!(
            "[[service]]\nname = \"{name}\"\naddress = \"192.0.2.10:{port}\"\n{keys}\ntable-size = 64\n\
             health = {{ kind = \"none\" }}\n{}",
            backends.concat()
        )
    };
    let services = [
        service("nat", 80, "mode = \"nat\""),
        service("turn", 81, "mode = \"dsr\"\nbalance = \"round-robin\""),
        service("moves", 82, "mode = \"dsr\""),
    ];
    format!(
        "[node]\nname = \"lb1\"\ninterfaces = [\"eth0\"]\n{}{peers}",
        services.concat()
    )
}

/// What has been named by now, after a flow that surely is.
async fn named(node: &mut Node, news: &mut mpsc::Receiver<Vec<NatKey>>, last: Flow) -> Vec<NatKey> {
    node.send(&last.frame(CLIENT, SYN, b""));
    let mut all = Vec::new();
    while all.last() != Some(&last.key()) {
        let more = timeout(DEADLINE, news.recv()).await;
        all.extend(more.expect("nothing is named").unwrap());
    }
    all.pop();
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn new_flows_are_named_once() {
    if gate::root() == Gate::Skip {
        return;
    }
    let mut node = Node::with(config(&file("", PEERS))).await;
    let mut news = node.kernel().news().unwrap();
    let flow = |from: u16, port: u16| Flow::tcp(&format!("198.51.100.7:{from}"), &format!("192.0.2.10:{port}"));
    let mut lasts = (50_000..).map(|from| flow(from, 80));
    for port in [80, 81] {
        for _ in 0..2 {
            node.send(&flow(1_000, port).frame(CLIENT, SYN, b""));
            node.send(&flow(1_000, port).frame(CLIENT, ACK, b"more"));
        }
        let last = lasts.next().unwrap();
        assert_eq!(
            named(&mut node, &mut news, last).await,
            [flow(1_000, port).key()],
            "{port}"
        );
    }
    // Of stable slots nothing is written down.
    node.send(&flow(1_000, 82).frame(CLIENT, SYN, b""));
    let last = lasts.next().unwrap();
    assert_eq!(named(&mut node, &mut news, last).await, []);

    reconfigure(&mut node.rig, config(&file("state = \"drain\"\n", PEERS))).await;
    // Some of these are of slots that move: new ones by their SYN, and again when that is confirmed.
    for from in 1_000..1_064 {
        node.send(&flow(from, 82).frame(CLIENT, SYN, b""));
        node.send(&flow(from, 82).frame(CLIENT, ACK, b""));
        node.send(&flow(from, 82).frame(CLIENT, ACK, b"more"));
    }
    let last = lasts.next().unwrap();
    let named_now = named(&mut node, &mut news, last).await;
    assert!(!named_now.is_empty() && named_now.len() < 128, "{}", named_now.len());
    assert!(named_now.chunks(2).all(|pair| pair[0] == pair[1]), "{named_now:?}");

    // Nobody wants to know.
    reconfigure(&mut node.rig, config(&file("", ""))).await;
    node.send(&flow(2_000, 80).frame(CLIENT, SYN, b""));
    reconfigure(&mut node.rig, config(&file("", PEERS))).await;
    let last = lasts.next().unwrap();
    assert_eq!(named(&mut node, &mut news, last).await, []);
}
