//! `/api/v1/trace`.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::UNIX_EPOCH;

use lb_common::service::protocol;
use lb_common::stats::DropReason;
use serde::{Deserialize, Serialize};

use crate::model::frame::{self, Headers};
use crate::model::hex;
use crate::model::status::SlotState;
use crate::model::trace::{Filter, MAX_RATE, RATE, Traced};

/// Which packets are wanted: those that pass all of what is named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct TraceRequest {
    /// Name of a service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// A prefix that the source lies in, such as `198.51.100.0/24`, or an address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Reasons to drop, as in `drops` of the status.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// Those, too, that concern no VIP.
    pub foreign: bool,
    /// Most in a second on each CPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<u32>,
}

/// A trace that has begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TraceStarted {
    /// What it is asked about by, and ended.
    pub trace: String,
}

/// A trace that has been ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TraceEnded {}

/// What a trace has shown since the last time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TracedPackets {
    /// In the order of each CPU.
    pub packets: Vec<TracedPacket>,
}

/// A packet, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TracedPacket {
    /// When it came: microseconds since 1970 (UTC).
    pub time_us: u64,
    /// The interface that it came in on; `null` when that is gone.
    pub interface: Option<String>,
    /// `transmitted` out of that interface, `redirected` to another one, `passed` to the kernel, or `dropped`; an open set.
    pub verdict: String,
    /// Why it was dropped; an open set.
    pub reason: Option<String>,
    /// Why protection would have dropped it, while that is only observed; an open set.
    pub observed: Option<String>,
    /// Name of its service.
    pub service: Option<String>,
    /// Name of the backend that it was sent to, or came from.
    pub backend: Option<String>,
    /// Its slot, where a hash chooses.
    pub slot: Option<TracedSlot>,
    /// `tcp`, `udp`, `icmp`, `icmpv6`, or the number of the protocol; `null` for what is not IP.
    pub protocol: Option<String>,
    /// Who sent it: an address, with a port where there is one.
    pub source: Option<String>,
    /// To whom it was sent.
    pub destination: Option<String>,
    /// Flags of TCP as tcpdump writes them, such as `S`, `S.` or `P.`.
    pub tcp_flags: Option<String>,
    /// It is a fragment.
    pub fragment: bool,
    /// Bytes of the frame.
    pub length: u32,
    /// Packets that were wanted and are not shown, before this one on its CPU: they were too many.
    pub skipped: u32,
    /// The first 128 bytes of the frame as it came, in hexadecimal.
    pub frame: String,
}

/// A slot, when the packet had been decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TracedSlot {
    /// Its place in the ring, from 0.
    pub index: u32,
    /// `stable`, `moving` or `settled`; an open set.
    pub state: String,
}

impl TraceRequest {
    /// What is wrong with it: the field, and why.
    pub(in crate::api) fn filter(self) -> Result<Filter, (&'static str, String)> {
        let source = self.source.map(|text| text.parse()).transpose();
        let source = source.map_err(|error: String| ("source", error))?;
        let reasons: Result<BTreeSet<_>, _> = self.reasons.iter().map(|label| reason(label)).collect();
        let rate = self.rate.unwrap_or(RATE);
        if !(1..=MAX_RATE).contains(&rate) {
            return Err(("rate", format!("the rate is from 1 to {MAX_RATE}, not {rate}")));
        }
        Ok(Filter {
            service: self.service,
            source,
            reasons: reasons.map_err(|error| ("reasons", error))?,
            foreign: self.foreign,
            rate,
        })
    }
}

fn reason(label: &str) -> Result<DropReason, String> {
    let found = DropReason::ALL.iter().find(|reason| reason.label() == label);
    found.copied().ok_or_else(|| {
        let all: Vec<_> = DropReason::ALL.iter().map(|reason| reason.label()).collect();
        format!("no packet is dropped for {label:?}; there are {}", all.join(", "))
    })
}

fn coded(code: u32) -> Option<DropReason> {
    DropReason::ALL.iter().copied().find(|&reason| reason as u32 == code)
}

impl From<Traced> for TracedPacket {
    fn from(traced: Traced) -> Self {
        let Traced { at, sample, .. } = traced;
        let captured = &sample.frame[..sample.frame.len().min(sample.captured as usize)];
        let headers = Headers::read(captured);
        let end = |ip: IpAddr, port: Option<u16>| match port {
            Some(port) => SocketAddr::new(ip, port).to_string(),
            None => ip.to_string(),
        };
        let chooses = sample.service.is_balanced() && sample.service.choice().is_hash();
        Self {
            time_us: at.duration_since(UNIX_EPOCH).map_or(0, |past| past.as_micros() as u64),
            interface: traced.interface,
            verdict: verdict(sample.action).to_owned(),
            reason: sample.reason().map(|reason| reason.label().to_owned()),
            observed: coded(sample.observed).map(|reason| reason.label().to_owned()),
            service: traced.service.map(|name| name.as_ref().to_owned()),
            backend: traced.backend.map(|name| name.as_ref().to_owned()),
            slot: chooses.then(|| TracedSlot {
                index: sample.index,
                state: SlotState::from(sample.slot.state()).label().to_owned(),
            }),
            protocol: headers.map(|headers| match headers.protocol {
                protocol::TCP => "tcp".to_owned(),
                protocol::UDP => "udp".to_owned(),
                1 => "icmp".to_owned(),
                58 => "icmpv6".to_owned(),
                number => number.to_string(),
            }),
            source: headers.map(|h| end(h.source, h.ports.map(|(source, _)| source))),
            destination: headers.map(|h| end(h.destination, h.ports.map(|(_, destination)| destination))),
            tcp_flags: headers.and_then(|headers| headers.flags).map(frame::flags),
            fragment: headers.is_some_and(|headers| headers.fragment),
            length: sample.bytes,
            skipped: sample.skipped,
            frame: hex::encode(captured),
        }
    }
}

impl TracedPacket {
    /// The bytes of the frame that are there; `None` when they are not hexadecimal.
    #[must_use]
    pub fn bytes(&self) -> Option<Vec<u8>> {
        hex::decode(&self.frame)
    }
}

/// An XDP action in words.
fn verdict(action: u32) -> &'static str {
    match action {
        1 => "dropped",
        2 => "passed",
        3 => "transmitted",
        4 => "redirected",
        _ => "aborted",
    }
}
