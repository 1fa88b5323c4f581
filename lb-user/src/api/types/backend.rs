//! A backend, as it is.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{self, status as from};

/// A backend whose host has no address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct UnresolvedBackend {
    /// Its name.
    pub name: String,
    /// Name of the host.
    pub host: String,
    /// Where it listens there.
    pub port: u16,
    /// Why it has no address, for people.
    pub reason: String,
}

/// A backend of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct BackendStatus {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// The host that the file names, whose address this is; `null` where the file gives the address.
    pub host: Option<String>,
    /// In force.
    pub weight: u16,
    /// What the file says, when a command or the backend's probe has said otherwise.
    pub weight_in_file: Option<u16>,
    /// Tenths of its share that it has, from 1 to 9, while it starts slowly; `null` when it has the whole of it.
    pub slow_start_tenths: Option<u16>,
    /// Whether it serves while others do.
    pub role: Role,
    /// What the administrator wants of it.
    pub state: AdminState,
    /// What the file says, when a command has said otherwise.
    pub state_in_file: Option<AdminState>,
    /// What its probes say.
    pub health: Health,
    /// Why they say so, for people.
    pub health_reason: String,
    /// How long the last probe took that succeeded or failed, in microseconds; `null` before there was one.
    pub probe_microseconds: Option<u64>,
    /// Until when the certificate is valid that it showed a probe last, in seconds since 1970; `null` when it showed none.
    pub certificate_not_after: Option<u64>,
    /// How it is reached; `null` when that is not known, and in `proxy`, where the kernel finds the way.
    pub next_hop: Option<NextHop>,
    /// Why it is not known how it is reached, for people; `null` when it is, and in `proxy`.
    pub next_hop_reason: Option<String>,
    /// Slots of the ring that it serves.
    pub slots: u32,
    /// Slots of the ring that it has had, and whose older flows stay with it, known or not.
    pub moving_slots: u32,
    /// It gets nothing new, and no flow can need it any more: none is known, counted since it began to drain, and no slot
    /// is left whose silent flows would come back to it.
    pub drained: bool,
    /// Packets forwarded to it, since the maps were made.
    pub packets: u64,
    /// Bytes forwarded to it, with Ethernet headers.
    pub bytes: u64,
    /// Attempts of clients to open a TCP connection that were forwarded to it, repeated ones included.
    pub new_flows: u64,
    /// `nat`: packets that it has answered its clients with, since the maps were made; 0 in other modes.
    pub reply_packets: u64,
    /// `nat`: their bytes, with Ethernet headers.
    pub reply_bytes: u64,
    /// The file has it no more: it finishes its flows, and goes.
    pub leaving: bool,
    /// Flows of it that are known in `dsr` and `tunnel`: those of slots that have changed, or all where they are chosen by
    /// turn or by load. Counted every five seconds.
    pub known_flows: u32,
    /// Flows that were cut since its drain had lasted for `drain-timeout`, as far as they were known; since the daemon
    /// started.
    pub cut_flows: u64,
    /// What `nat` uses towards it; `null` in other modes.
    pub nat: Option<NatStatus>,
    /// What the proxy does with it; `null` in other modes.
    #[serde(default)]
    pub proxy: Option<ProxyStatus>,
}

/// What the proxy does with a backend. Counted at the moment of the answer, and since the daemon started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ProxyStatus {
    /// It is among those who get what is new.
    pub serves: bool,
    /// It is set aside for what it did to requests, though its probes pass.
    pub ejected: bool,
    /// Requests under way, upgraded connections too.
    pub active: u32,
    /// Connections to it, idle ones too.
    pub connections: u32,
    /// Requests sent to it, repeated ones too.
    pub requests: u64,
    /// Of these, those that it did not answer, or not to the end.
    pub failures: u64,
    /// Bytes received from it.
    pub received: u64,
    /// Bytes sent to it.
    pub sent: u64,
}

/// What `nat` uses towards a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NatStatus {
    /// The address that the backend sees as the client; `null` for the client's own.
    pub source: Option<IpAddr>,
    /// The lowest port that flows get on it.
    pub first_port: u16,
    /// The highest.
    pub last_port: u16,
    /// Flows, each of which has a port: only one side has been heard. Counted every five seconds, as the others are.
    pub opening: u32,
    /// Both sides have been heard.
    pub established: u32,
    /// TCP: one side has sent its FIN.
    pub half_closed: u32,
    /// TCP: both have, or one has sent a RST; the port rests for a minute, or until it is needed.
    pub closed: u32,
}

/// Whether a backend serves while others do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It does.
    Primary,
    /// It serves while no primary can.
    Backup,
}

/// What the administrator wants of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum AdminState {
    /// Serves while it is healthy.
    Active,
    /// Gets nothing new.
    Drain,
    /// Serves nothing, and is not probed.
    Disabled,
}

/// What probes say of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Nothing yet.
    Unknown,
    /// It serves.
    Up,
    /// It does not.
    Down,
}

/// Where a packet for a backend goes first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NextHop {
    /// Six bytes in hexadecimal, with colons.
    pub mac: String,
    /// Name of the node's interface on that link.
    pub interface: String,
}

impl From<model::NamedBackend> for UnresolvedBackend {
    fn from(backend: model::NamedBackend) -> Self {
        Self {
            name: backend.name.as_ref().to_owned(),
            host: backend.host.as_ref().to_owned(),
            port: backend.port,
            reason: backend.reason,
        }
    }
}

impl BackendStatus {
    /// Does it get what is new: has it slots, or does the proxy choose it?
    #[must_use]
    pub fn serves(&self) -> bool {
        self.slots > 0 || self.proxy.is_some_and(|proxy| proxy.serves)
    }

    /// Is a way to it needed and not known?
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        self.next_hop.is_none() && self.proxy.is_none()
    }

    /// Flows of it that are known and not over, in whatever mode; with the proxy, requests under way.
    #[must_use]
    pub fn flows(&self) -> u64 {
        let open = |nat: &NatStatus| u64::from(nat.opening) + u64::from(nat.established) + u64::from(nat.half_closed);
        let active = self.proxy.map_or(0, |proxy| u64::from(proxy.active));
        u64::from(self.known_flows) + self.nat.as_ref().map_or(0, open) + active
    }
}

impl From<from::BackendStatus> for BackendStatus {
    fn from(backend: from::BackendStatus) -> Self {
        let (next_hop, next_hop_reason) = match backend.next_hop {
            Some(Ok(hop)) => (Some(hop.into()), None),
            Some(Err(reason)) => (None, Some(reason)),
            None => (None, None),
        };
        Self {
            name: backend.name.as_ref().to_owned(),
            address: backend.address,
            host: backend.host.as_deref().map(str::to_owned),
            weight: backend.weight,
            weight_in_file: backend.weight_in_file,
            slow_start_tenths: backend.starting,
            role: backend.role.into(),
            state: backend.state.into(),
            state_in_file: backend.state_in_file.map(Into::into),
            health: backend.health.into(),
            health_reason: backend.health_reason.as_ref().to_owned(),
            probe_microseconds: backend.probes.and_then(|probes| micros(probes.last?)),
            certificate_not_after: backend.probes.and_then(|probes| probes.certificate_not_after),
            next_hop,
            next_hop_reason,
            slots: backend.slots,
            moving_slots: backend.moving_slots,
            drained: backend.drained,
            packets: backend.counters.packets,
            bytes: backend.counters.bytes,
            new_flows: backend.counters.new_flows,
            reply_packets: backend.counters.reply_packets,
            reply_bytes: backend.counters.reply_bytes,
            leaving: backend.leaving,
            known_flows: backend.known_flows,
            cut_flows: backend.cut_flows,
            nat: backend.nat.map(Into::into),
            proxy: backend.proxied.map(Into::into),
        }
    }
}

fn micros(time: Duration) -> Option<u64> {
    time.as_micros().try_into().ok()
}

impl From<from::NatStatus> for NatStatus {
    fn from(nat: from::NatStatus) -> Self {
        Self {
            source: nat.source,
            first_port: nat.ports.first(),
            last_port: nat.ports.last(),
            opening: nat.flows.opening,
            established: nat.flows.established,
            half_closed: nat.flows.half_closed,
            closed: nat.flows.closed,
        }
    }
}

impl From<from::ProxiedStatus> for ProxyStatus {
    fn from(proxied: from::ProxiedStatus) -> Self {
        Self {
            serves: proxied.serves,
            ejected: proxied.ejected,
            active: proxied.active,
            connections: proxied.connections,
            requests: proxied.requests,
            failures: proxied.failures,
            received: proxied.received,
            sent: proxied.sent,
        }
    }
}

impl From<from::Reached> for NextHop {
    fn from(hop: from::Reached) -> Self {
        Self {
            mac: hop.mac.to_string(),
            interface: hop.interface.as_ref().to_owned(),
        }
    }
}

impl From<model::Role> for Role {
    fn from(role: model::Role) -> Self {
        match role {
            model::Role::Primary => Self::Primary,
            model::Role::Backup => Self::Backup,
        }
    }
}

impl From<model::AdminState> for AdminState {
    fn from(state: model::AdminState) -> Self {
        match state {
            model::AdminState::Active => Self::Active,
            model::AdminState::Drain => Self::Drain,
            model::AdminState::Disabled => Self::Disabled,
        }
    }
}

impl fmt::Display for AdminState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(model::AdminState::from(*self).label())
    }
}

impl From<AdminState> for model::AdminState {
    fn from(state: AdminState) -> Self {
        match state {
            AdminState::Active => Self::Active,
            AdminState::Drain => Self::Drain,
            AdminState::Disabled => Self::Disabled,
        }
    }
}

impl From<model::Health> for Health {
    fn from(health: model::Health) -> Self {
        match health {
            model::Health::Unknown => Self::Unknown,
            model::Health::Up => Self::Up,
            model::Health::Down => Self::Down,
        }
    }
}
