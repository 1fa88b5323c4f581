//! Which keys stand in which table.

use super::health;
use super::proxy::schema as proxy;

/// A kind of table.
#[derive(Debug)]
pub(super) struct Shape {
    /// As it is written: `[node]`, `[[service]]`.
    pub(super) name: &'static str,
    /// Its keys.
    pub(super) keys: &'static [&'static str],
}

/// The file itself.
pub(super) static ROOT: Shape = Shape {
    name: "the file",
    keys: &["node", "admin", "service", "pool", "vrrp", "bgp", "peers", "protection"],
};

pub(super) static NODE: Shape = Shape {
    name: "[node]",
    keys: &[
        "name",
        "interfaces",
        "xdp-mode",
        "hash-seed-file",
        "state-dir",
        "pin-dir",
        "flow-table-size",
        "proxy-threads",
        "script-user",
    ],
};

pub(super) static ADMIN: Shape = Shape {
    name: "[admin]",
    keys: &["socket", "listen", "token-file"],
};

pub(super) static SERVICE: Shape = Shape {
    name: "[[service]]",
    keys: &[
        "name",
        "address",
        "protocol",
        "mode",
        "balance",
        "table-size",
        "drain-timeout",
        "idle-timeout",
        "track",
        "undeclared",
        "steer-challenges",
        "nat",
        "tunnel",
        "protection",
        "health",
        "tls",
        "http",
        "upstream",
        "route",
        "backend",
    ],
};

pub(super) static NAT: Shape = Shape {
    name: "[service.nat]",
    keys: &["source", "ports"],
};

pub(super) static TUNNEL: Shape = Shape {
    name: "[service.tunnel]",
    keys: &["source"],
};

pub(super) static HEALTH: Shape = Shape {
    name: "[service.health]",
    keys: &health::KEYS,
};

pub(super) static BACKEND: Shape = Shape {
    name: "[[service.backend]]",
    keys: &["name", "address", "weight", "state", "role"],
};

pub(super) static POOL: Shape = Shape {
    name: "[[pool]]",
    keys: &[
        "name",
        "balance",
        "table-size",
        "drain-timeout",
        "health",
        "upstream",
        "backend",
    ],
};

pub(super) static POOL_HEALTH: Shape = Shape {
    name: "[pool.health]",
    ..HEALTH
};

pub(super) static POOL_BACKEND: Shape = Shape {
    name: "[[pool.backend]]",
    ..BACKEND
};

pub(super) static VRRP: Shape = Shape {
    name: "[[vrrp]]",
    keys: &[
        "name",
        "interface",
        "router-id",
        "version",
        "priority",
        "advertisement-interval",
        "peers",
        "source-address",
        "addresses",
        "preempt",
        "preempt-delay",
        "start-delay",
        "sync-group",
        "notify",
        "track",
    ],
};

pub(super) static VRRP_TRACK: Shape = Shape {
    name: "[[vrrp.track]]",
    keys: &[
        "script",
        "interface",
        "service",
        "file",
        "interval",
        "timeout",
        "rise",
        "fall",
        "weight",
    ],
};

pub(super) static BGP: Shape = Shape {
    name: "[bgp]",
    keys: &["announce"],
};

pub(super) static PEERS: Shape = Shape {
    name: "[peers]",
    keys: &["nodes", "key-file"],
};

pub(super) static PROTECTION: Shape = Shape {
    name: "[protection]",
    keys: &[
        "enforcement",
        "malformed",
        "bogons",
        "allow",
        "deny",
        "exempt",
        "connections-per-second",
        "packets-per-second",
        "icmp-per-second",
        "syn-cookies",
    ],
};

pub(super) static SERVICE_PROTECTION: Shape = Shape {
    name: "[service.protection]",
    keys: &[
        "enforcement",
        "allow",
        "deny",
        "exempt",
        "connections-per-second",
        "packets-per-second",
        "syn-cookies",
    ],
};

/// Tables of limits have the same keys, whatever is counted and whose it is.
pub(super) static CONNECTIONS: Shape = Shape {
    name: "[protection.connections-per-second]",
    keys: &["limit", "burst", "per", "per-ipv6"],
};

pub(super) static PACKETS: Shape = Shape {
    name: "[protection.packets-per-second]",
    ..CONNECTIONS
};

pub(super) static ICMP: Shape = Shape {
    name: "[protection.icmp-per-second]",
    ..CONNECTIONS
};

pub(super) static SERVICE_CONNECTIONS: Shape = Shape {
    name: "[service.protection.connections-per-second]",
    ..CONNECTIONS
};

pub(super) static SERVICE_PACKETS: Shape = Shape {
    name: "[service.protection.packets-per-second]",
    ..CONNECTIONS
};

pub(super) static SYN_COOKIES: Shape = Shape {
    name: "[protection.syn-cookies]",
    keys: &["above"],
};

pub(super) static SERVICE_SYN_COOKIES: Shape = Shape {
    name: "[service.protection.syn-cookies]",
    ..SYN_COOKIES
};

/// All of them; a key that is unknown in one may have been meant for another, and the first that has it is named.
pub(super) static ALL: [&Shape; 36] = [
    &ROOT,
    &NODE,
    &ADMIN,
    &SERVICE,
    &NAT,
    &TUNNEL,
    &HEALTH,
    &BACKEND,
    &proxy::TLS,
    &proxy::CERTIFICATE,
    &proxy::ACME,
    &proxy::EXTERNAL_ACCOUNT,
    &proxy::HSTS,
    &proxy::HTTP,
    &proxy::STICKY_COOKIE,
    &proxy::HEADER_RULE,
    &proxy::ACCESS_LOG,
    &proxy::TIMEOUTS,
    &proxy::LIMITS,
    &proxy::RETRY,
    &proxy::EJECT,
    &proxy::QUEUE,
    &proxy::UPSTREAM,
    &proxy::UPSTREAM_TLS,
    &proxy::ROUTE,
    &proxy::ROUTE_HEADER,
    &POOL,
    &POOL_HEALTH,
    &VRRP,
    &VRRP_TRACK,
    &BGP,
    &PEERS,
    &PROTECTION,
    &SERVICE_PROTECTION,
    &CONNECTIONS,
    &SYN_COOKIES,
];
