//! What protection has to say of a flow: in the answer of `GET /api/v1/explain`.

use serde::{Deserialize, Serialize};

use crate::model::{Enforcement, judgement as from};

/// What all packets of a flow have in common for protection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Judgement {
    /// `enforce`, or `observe` where what is refused goes on and is only counted; an open set.
    pub enforcement: String,
    /// Why all of them are refused, or would be, as in `drops` of the status; `null` when they are not for who sends them.
    pub refused: Option<String>,
    /// The prefix that decides whether the source may come; `null` when no list mentions it.
    pub rule: Option<Rule>,
    /// The prefix for which no limit counts the source; `null` when there is none.
    pub exempt: Option<Rule>,
    /// TCP: the limit that its connections are counted by; `null` where they are not.
    pub connections_per_second: Option<Quota>,
    /// The limit that its packets are counted by; `null` where they are not.
    pub packets_per_second: Option<Quota>,
    /// SYNs of the service are answered with cookies from so many in a second on; `null` where none is.
    pub syn_cookies_above: Option<u32>,
}

/// A prefix of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Rule {
    /// `allow`, `deny`, `exempt`, `bogons`, or `run_time` for what a command denies; an open set.
    pub list: String,
    /// The service whose list it is; `null` for that of all.
    pub service: Option<String>,
    /// The prefix.
    pub prefix: String,
}

/// A limit, as it counts one source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Quota {
    /// So many in a second.
    pub limit: u32,
    /// So many at once, after a pause.
    pub burst: u32,
    /// Sources that begin with so many equal bits are counted together.
    pub prefix_length: u8,
    /// The service that counts by itself; `null` where all services count together.
    pub service: Option<String>,
}

impl Judgement {
    /// Is nothing dropped?
    #[must_use]
    pub fn only_observes(&self) -> bool {
        self.enforcement == Enforcement::Observe.label()
    }
}

impl From<from::Judgement> for Judgement {
    fn from(judgement: from::Judgement) -> Self {
        Self {
            enforcement: judgement.enforcement.label().to_owned(),
            refused: judgement.refused.map(|reason| reason.label().to_owned()),
            rule: judgement.by.map(Into::into),
            exempt: judgement.exempt.map(Into::into),
            connections_per_second: judgement.connections.map(Into::into),
            packets_per_second: judgement.packets.map(Into::into),
            syn_cookies_above: judgement.syn_cookies,
        }
    }
}

impl From<from::Rule> for Rule {
    fn from(rule: from::Rule) -> Self {
        Self {
            list: rule.list.label().to_owned(),
            service: rule.service.map(|name| name.as_ref().to_owned()),
            prefix: rule.prefix.to_string(),
        }
    }
}

impl From<from::Quota> for Quota {
    fn from(quota: from::Quota) -> Self {
        Self {
            limit: quota.rate,
            burst: quota.burst,
            prefix_length: quota.length,
            service: quota.service.map(|name| name.as_ref().to_owned()),
        }
    }
}
