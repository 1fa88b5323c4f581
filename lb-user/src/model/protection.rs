//! `[protection]` and `[service.protection]`: what is kept from services before they see it, and how much of it.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::SystemTime;

use super::Prefix;

/// `[protection]`: of every service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protection {
    /// What becomes of what is refused.
    pub enforcement: Enforcement,
    /// Refuse TCP flags that no sender means, and packets from the address that they are sent to.
    pub malformed: bool,
    /// Refuse sources that no client can have: see [`BOGONS`].
    pub bogons: bool,
    /// Who may come at all.
    pub lists: Lists,
    /// How much of each source.
    pub limits: Limits,
    /// Most ICMP and ICMPv6 messages to VIPs that Fulcrum put on the node, in a second from one source.
    pub icmp: Option<Limit>,
    /// Of the services of the proxy.
    pub syn_cookies: Option<SynCookies>,
}

impl Default for Protection {
    /// What an empty table says.
    fn default() -> Self {
        Self {
            enforcement: Enforcement::default(),
            malformed: true,
            bogons: false,
            lists: Lists::default(),
            limits: Limits::default(),
            icmp: None,
            syn_cookies: None,
        }
    }
}

/// `[service.protection]`: of one service, beside [`Protection`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceProtection {
    /// In place of that of all.
    pub enforcement: Option<Enforcement>,
    /// Beside those of all: who is denied by either is denied.
    pub lists: Lists,
    /// Each in place of that of all, with a count of its own.
    pub limits: Limits,
    /// In place of that of all; only in [`Mode::Proxy`](super::Mode::Proxy).
    pub syn_cookies: Option<SynCookies>,
}

/// What becomes of packets that are refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Enforcement {
    /// They are dropped, and counted.
    #[default]
    Enforce,
    /// They are counted only.
    Observe,
}

impl Enforcement {
    /// As in the file.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Observe => "observe",
        }
    }
}

/// Who may come. The longest prefix that holds a source decides; a source that none holds is allowed. No prefix is in two
/// of the first two.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lists {
    /// Allowed; of use within what is denied.
    pub allow: Arc<[Prefix]>,
    /// Denied.
    pub deny: Arc<[Prefix]>,
    /// Never limited. Whether they are allowed, the other two say.
    pub exempt: Arc<[Prefix]>,
}

impl Lists {
    /// Nobody is in there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.allow.is_empty() && self.deny.is_empty() && self.exempt.is_empty()
    }
}

/// How much of each source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// TCP: connections that it opens, by their SYN, repeated ones included.
    pub connections: Option<Limit>,
    /// Packets of every kind.
    pub packets: Option<Limit>,
}

/// A token bucket for each source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// So many in a second, 1 to [`Limit::MOST`].
    pub rate: NonZeroU32,
    /// So many at once, after a pause, 1 to [`Limit::MOST`].
    pub burst: NonZeroU32,
    /// IPv4 sources that share one begin with so many equal bits: 0 to 32.
    pub per_v4: u8,
    /// IPv6 sources likewise: 0 to 64, or 128.
    pub per_v6: u8,
}

impl Limit {
    /// The most of either: 10 million.
    pub const MOST: u32 = 10_000_000;

    /// A source is a single address of IPv4.
    pub const PER_V4: u8 = 32;

    /// A source is a network of IPv6, as one host has all of it.
    pub const PER_V6: u8 = 64;
}

/// SYNs are answered by the program, and nothing is kept of them, while there are many (RFC 4987 §3.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SynCookies {
    /// From so many SYNs of a service in a second; 0 for always. At most [`Limit::MOST`].
    pub above: u32,
}

/// Sources that no client can have: networks that RFC 6890 gives to no source beyond a link, multicast (RFC 5771, RFC 4291
/// §2.7) and what is reserved (RFC 1112 §4). Private networks are not among them.
pub const BOGONS: [&str; 9] = [
    "0.0.0.0/8",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/128",
    "::1/128",
    "fe80::/10",
    "ff00::/8",
];

/// A prefix that is denied at run time, whatever the file allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deny {
    /// Who. Its bits behind the length are zero.
    pub prefix: Prefix,
    /// To which service; `None` for all.
    pub service: Option<Arc<str>>,
    /// Until when; `None` for ever.
    pub until: Option<SystemTime>,
}
