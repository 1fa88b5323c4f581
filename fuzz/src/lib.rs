//! What no input may break: one module for each fuzz target, each with a `check` that panics when one does.
//!
//! The targets in `fuzz_targets` hand it what libFuzzer makes up, `tests/replay.rs` the corpus and what it makes of that.
//! Where there is something to compare with, `check` has the plainest way to say the same: slow, and without the tricks of
//! what it checks. Nothing here reads clocks, files or chance, so an input that fails once fails always.

pub mod config;
pub mod csum;
mod http;
pub mod http_body;
pub mod http_head;
mod input;
pub mod parse;
pub mod peers;
pub mod ports;
pub mod prefixes;
pub mod proxy_protocol;
pub mod slot;
pub mod vrrp_packet;

// For lb-user's own `written.rs`, which `config` shares.
use lb_user::model;

/// A fuzz target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Of the target and of its folder in `corpus`.
    pub name: &'static str,
    /// Panics at an input that breaks something.
    pub check: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 11] = [
    Target {
        name: "config",
        check: config::check,
    },
    Target {
        name: "csum",
        check: csum::check,
    },
    Target {
        name: "http_body",
        check: http_body::check,
    },
    Target {
        name: "http_head",
        check: http_head::check,
    },
    Target {
        name: "parse",
        check: parse::check,
    },
    Target {
        name: "peers",
        check: peers::check,
    },
    Target {
        name: "ports",
        check: ports::check,
    },
    Target {
        name: "prefixes",
        check: prefixes::check,
    },
    Target {
        name: "proxy_protocol",
        check: proxy_protocol::check,
    },
    Target {
        name: "slot",
        check: slot::check,
    },
    Target {
        name: "vrrp_packet",
        check: vrrp_packet::check,
    },
];
