//! What protection has to say of a flow, for `explain`.

use std::sync::Arc;

use lb_common::stats::DropReason;

use super::{Enforcement, Prefix};

/// What all packets of a flow have in common for the rungs of protection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// What becomes of those that are refused.
    pub enforcement: Enforcement,
    /// Why all of them are; `None`: they are not, for who sends them.
    pub refused: Option<DropReason>,
    /// The prefix that has decided who may come; `None`: no list mentions the source.
    pub by: Option<Rule>,
    /// The prefix for which no limit counts them.
    pub exempt: Option<Rule>,
    /// TCP: the limit that connections are counted by; `None` where there is none, or they are not counted.
    pub connections: Option<Quota>,
    /// The limit that packets are counted by; likewise.
    pub packets: Option<Quota>,
    /// SYNs are answered with cookies from so many in a second on; of the proxy.
    pub syn_cookies: Option<u32>,
}

/// A prefix of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Which list.
    pub list: List,
    /// The service whose list it is; `None`: that of all.
    pub service: Option<Arc<str>>,
    /// The prefix.
    pub prefix: Prefix,
}

/// Which list a prefix is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// `allow`.
    Allow,
    /// `deny`.
    Deny,
    /// `exempt`.
    Exempt,
    /// `bogons`.
    Bogons,
    /// What is denied at run time.
    RunTime,
}

impl List {
    /// As in JSON.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Exempt => "exempt",
            Self::Bogons => "bogons",
            Self::RunTime => "run_time",
        }
    }
}

/// A limit, as it counts one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// So many in a second.
    pub rate: u32,
    /// So many at once, after a pause.
    pub burst: u32,
    /// Sources that begin with so many equal bits are counted together.
    pub length: u8,
    /// The service that counts by itself; `None`: all count together.
    pub service: Option<Arc<str>>,
}
