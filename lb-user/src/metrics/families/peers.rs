//! Families of peers.

use super::{Family, Kind, Source, Value, truth};
use crate::model::peers::{PeerStatus, Taken};
use crate::model::status::Status;

const PEER: &[&str] = &["peer"];

/// See the module.
pub(super) const FAMILIES: &[Family] = &[
    Family {
        name: "fulcrum_peer_connected",
        kind: Kind::Gauge,
        unit: None,
        labels: &["peer", "direction"],
        help: "Whether flows go to and fro between the node and a peer (1), by direction: sent (the peer takes what it is \
               told) or received (it tells)",
        source: Source::Own(|status, put| {
            each(status, |peer| {
                put(&[&peer.name, "sent"], truth(peer.connected.is_ok()))?;
                put(&[&peer.name, "received"], truth(peer.heard))
            })
        }),
    },
    Family {
        name: "fulcrum_peer_lag_seconds",
        kind: Kind::Gauge,
        unit: Some("seconds"),
        labels: PEER,
        help: "Age of what a peer has been told of flows and has not taken in yet; 0 when it has all of it",
        source: Source::Own(|status, put| each(status, |peer| put(&[&peer.name], Value::Real(peer.lag.as_secs_f64())))),
    },
    Family {
        name: "fulcrum_peer_flows_sent_total",
        kind: Kind::Counter,
        unit: None,
        labels: PEER,
        help: "Flows that a peer was told of, once for each time that there was something to tell of one",
        source: Source::Own(|status, put| each(status, |peer| put(&[&peer.name], Value::Whole(peer.sent)))),
    },
    Family {
        name: "fulcrum_peer_flows_received_total",
        kind: Kind::Counter,
        unit: None,
        labels: &["peer", "outcome"],
        help: "Flows that a peer told of, by what came of them: taken, foreign (the node has no such service or backend, or \
               serves it in another way), or no_room",
        source: Source::Own(|status, put| {
            each(status, |peer| {
                let Taken {
                    taken,
                    foreign,
                    no_room,
                } = peer.received;
                let mut all = [("taken", taken), ("foreign", foreign), ("no_room", no_room)].into_iter();
                all.try_for_each(|(outcome, count)| put(&[&peer.name, outcome], Value::Whole(count)))
            })
        }),
    },
    Family {
        name: "fulcrum_peer_syncs_total",
        kind: Kind::Counter,
        unit: None,
        labels: PEER,
        help: "Times that a peer was told everything, since it was new, or too slow",
        source: Source::Own(|status, put| each(status, |peer| put(&[&peer.name], Value::Whole(peer.syncs)))),
    },
    Family {
        name: "fulcrum_peer_refused_total",
        kind: Kind::Counter,
        unit: None,
        labels: &["cause"],
        help: "Connections of peers that were refused, by cause: stranger (no peer has the address), crowd (too many at \
               once), version, key (it has another key), replayed, malformed, or silent",
        source: Source::Own(|status, put| {
            let mut refused = status.peers.refused.iter();
            refused.try_for_each(|(cause, count)| put(&[cause], Value::Whole(*count)))
        }),
    },
];

fn each(status: &Status, put: impl FnMut(&PeerStatus) -> std::fmt::Result) -> std::fmt::Result {
    status.peers.peers.iter().try_for_each(put)
}
