//! How far flows of `nat` have come: what the entries say of TCP's flags, and when a SYN begins anew.

use lb_common::nat::Phase;
use lb_tests::gate::{self, Gate};
use lb_tests::nat::{DNS, Flow, Node, WEB, WEB6, with_ports};
use lb_tests::packet::{ACK, FIN, RST, SYN};
use lb_tests::rig::mac_of;

/// Flows that all services have opened.
fn new_flows(node: &Node) -> u64 {
    let status = node.rig.status();
    let backends = status.services.iter().flat_map(|s| &s.backends);
    backends.map(|b| b.counters.new_flows).sum()
}

/// What the entries say of a flow, step by step. C: the client's packet, B: the backend's.
#[tokio::test(flavor = "multi_thread")]
async fn entries_follow_the_flags() {
    use Phase::{Closed, Established, HalfClosed, Opening};
    if gate::root() == Gate::Skip {
        return;
    }
    let stories: &[&[(char, u8, Phase)]] = &[
        &[
            ('C', SYN, Opening),
            ('C', SYN, Opening),
            ('B', SYN | ACK, Opening),
            ('C', ACK, Established),
        ],
        // The client's data may come first, and the backend's SYN again.
        &[
            ('C', SYN, Opening),
            ('C', ACK, Opening),
            ('B', SYN | ACK, Established),
            ('B', SYN | ACK, Established),
        ],
        &[('C', SYN, Opening), ('B', RST | ACK, Closed)],
        &[('C', SYN, Opening), ('C', RST, Closed)],
        &[('C', SYN, Opening), ('B', SYN | ACK, Opening), ('C', RST, Closed)],
        &[
            ('C', SYN, Opening),
            ('B', SYN | ACK, Opening),
            ('C', ACK, Established),
            ('C', RST | ACK, Closed),
        ],
        // The client closes first, and still acknowledges.
        &[
            ('C', SYN, Opening),
            ('B', SYN | ACK, Opening),
            ('C', ACK, Established),
            ('C', FIN | ACK, HalfClosed),
            ('B', ACK, HalfClosed),
            ('C', FIN | ACK, HalfClosed),
            ('B', FIN | ACK, Closed),
            ('C', ACK, Closed),
            ('B', FIN | ACK, Closed),
        ],
        // The backend closes first.
        &[
            ('C', SYN, Opening),
            ('B', SYN | ACK, Opening),
            ('C', ACK, Established),
            ('B', FIN | ACK, HalfClosed),
            ('C', ACK, HalfClosed),
            ('C', FIN | ACK, Closed),
        ],
        // Who sends on after a RST did not mean it.
        &[
            ('C', SYN, Opening),
            ('B', SYN | ACK, Opening),
            ('C', ACK, Established),
            ('B', RST, Closed),
            ('C', ACK, Closed),
            ('B', ACK, Established),
            ('C', RST, Closed),
            ('C', ACK, Established),
        ],
        // A backend that keeps an older connection of that port in TIME-WAIT answers for that. The client resets it, and
        // its next SYN is welcome, so the port stays.
        &[
            ('C', SYN, Opening),
            ('B', ACK, Opening),
            ('C', RST, Closed),
            ('C', SYN, Opening),
            ('B', SYN | ACK, Opening),
            ('C', ACK, Established),
        ],
        // A client that has forgotten its connection: the backend tells it, and it resets.
        &[
            ('C', SYN, Opening),
            ('B', SYN | ACK, Opening),
            ('C', ACK, Established),
            ('C', SYN, Established),
            ('B', ACK, Established),
            ('C', RST, Closed),
        ],
    ];
    let mut node = Node::with(with_ports(1000)).await;
    for flow_of in [WEB, WEB6] {
        for (number, story) in stories.iter().enumerate() {
            let flow = flow_of(1024 + number as u16);
            let there = node.forwards(flow, story[0].1, b"");
            for (step, &(side, flags, phase)) in story.iter().enumerate() {
                if side == 'B' {
                    node.answers(there, flow, flags, b"");
                } else if step > 0 {
                    assert_eq!(node.forwards(flow, flags, b""), there, "story {number}, step {step}");
                }
                assert_eq!(node.phase(there), phase, "story {number}, step {step}");
            }
        }
    }
    let flow = DNS(1024);
    let there = node.forwards(flow, 0, b"question");
    assert_eq!(node.phase(there), Phase::Opening);
    node.answers(there, flow, 0, b"answer");
    assert_eq!(
        node.phase(there),
        Phase::Opening,
        "a question and its answer are no conversation"
    );
    node.forwards(flow, 0, b"question");
    assert_eq!(node.phase(there), Phase::Established);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_syn_on_a_closed_flow_opens_another() {
    if gate::root() == Gate::Skip {
        return;
    }
    let mut node = Node::with(with_ports(1000)).await;
    for flow_of in [WEB, WEB6] {
        let ways: [fn(&mut Node, Flow, Flow); 3] = [
            |node, there, flow| {
                node.forwards(flow, FIN | ACK, b"");
                node.answers(there, flow, FIN | ACK, b"");
                node.forwards(flow, ACK, b"");
            },
            |node, _, flow| assert_ne!(node.forwards(flow, RST, b"").source.port(), 0),
            |node, there, flow| node.answers(there, flow, RST, b""),
        ];
        for (number, close) in ways.iter().enumerate() {
            let flow = flow_of(2000 + number as u16);
            let there = node.forwards(flow, SYN, b"");
            node.bring(flow, there, Phase::Established);
            let known = node.flows();
            assert_eq!(node.forwards(flow, SYN, b""), there, "a living flow keeps its port");
            close(&mut node, there, flow);
            assert_eq!(node.phase(there), Phase::Closed);
            let before = new_flows(&node);
            let again = node.forwards(flow, SYN, b"");
            assert_ne!(again.source, there.source);
            assert_eq!(node.lease(there), None, "the old lease is gone");
            assert_eq!(node.phase(again), Phase::Opening);
            assert_eq!(node.flows(), known);
            assert_eq!(new_flows(&node), before + 1);
            // Repeated, it stays where it is.
            assert_eq!(node.forwards(flow, SYN, b""), again);
            // What the backend still sends of the old one is of no flow.
            node.passes(&there.reversed().frame(mac_of(there.destination.ip()), FIN | ACK, b""));
        }
    }
}
