//! What is measured.

use super::load::{self, Load};

/// One of them.
#[derive(Debug)]
pub(super) struct Case {
    /// As in rows.
    pub(super) name: &'static str,
    pub(super) unit: &'static str,
    pub(super) kind: Kind,
}

/// How it is measured.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// Processor time under this load.
    Load(Load),
    /// Memory of connections that idle.
    Idle,
    /// How long answers take at a fixed rate.
    Latency,
}

pub(super) const ALL: [Case; 7] = [
    Case {
        name: "TLS, HTTP/1.1 with keep-alive",
        unit: "us/request",
        kind: Kind::Load(load::TLS_HTTP1),
    },
    Case {
        name: "TLS, HTTP/2",
        unit: "us/request",
        kind: Kind::Load(load::TLS_HTTP2),
    },
    Case {
        name: "TLS, full handshakes",
        unit: "us/handshake",
        kind: Kind::Load(load::HANDSHAKES),
    },
    Case {
        name: "plain, HTTP/1.1 with keep-alive",
        unit: "us/request",
        kind: Kind::Load(load::PLAIN_HTTP1),
    },
    Case {
        name: "TLS, HTTP/1.1, bodies of 1 MB",
        unit: "us/request",
        kind: Kind::Load(load::BODIES),
    },
    Case {
        name: "TLS, HTTP/1.1 at a fixed rate",
        unit: "us",
        kind: Kind::Latency,
    },
    Case {
        name: "TLS, idle connections",
        unit: "bytes/connection",
        kind: Kind::Idle,
    },
];
