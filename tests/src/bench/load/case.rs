//! What is measured.

use super::client::{self, Client};

/// One of them.
#[derive(Debug)]
pub(super) struct Case {
    /// As in rows.
    pub(super) name: &'static str,
    pub(super) scheme: &'static str,
    pub(super) fulcrum: Client,
    /// The other program.
    pub(super) reference: &'static str,
    pub(super) other: Client,
}

pub(super) const ALL: [Case; 4] = [
    Case {
        name: "plain, HTTP/1.1 with keep-alive",
        scheme: "http",
        fulcrum: client::fulcrum(&["--connections", "50"]),
        reference: "wrk",
        other: client::wrk(&["-t1", "-c50"]),
    },
    Case {
        name: "TLS, HTTP/1.1 with keep-alive",
        scheme: "https",
        fulcrum: client::fulcrum(&["--connections", "50"]),
        reference: "wrk",
        other: client::wrk(&["-t1", "-c50"]),
    },
    Case {
        name: "plain, HTTP/1.1, new connections",
        scheme: "http",
        fulcrum: client::fulcrum(&["--connections", "50", "--new-connections"]),
        reference: "wrk",
        other: client::wrk(&["-t1", "-c50", "-H", "Connection: close"]),
    },
    Case {
        name: "TLS, HTTP/2",
        scheme: "https",
        fulcrum: client::fulcrum(&["--connections", "10", "--http2", "--streams", "10"]),
        reference: "h2load",
        other: client::h2load(&["-c10", "-m10"]),
    },
];
