//! `GET /api/v1/status`.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::model::{self, status as from};

/// The whole node at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Name of the node.
    pub node: String,
    /// Version of the daemon.
    pub version: String,
    /// One per interface that the program is attached to.
    pub interfaces: Vec<InterfaceStatus>,
    /// One per interface of the file that the program is not attached to.
    pub unattached_interfaces: Vec<UnattachedInterface>,
    /// In the order of the file.
    pub services: Vec<ServiceStatus>,
    /// Flows of `dsr` and `tunnel` that are known.
    pub flows: FlowTables,
    /// Packets that the program dropped, by reason, since its maps were made. Every reason is there, zeros included.
    pub drops: BTreeMap<String, u64>,
    /// What somebody else has changed and the daemon has put right since it started, by kind: `program` (taken off an
    /// interface), `entry`, `slot`, `member` (of maps), `address` (a VIP taken off the node). Every kind is there, zeros
    /// included.
    #[serde(default)]
    pub repairs: BTreeMap<String, u64>,
    /// The last reload, when it was refused, and why.
    pub refused_reload: Option<String>,
    /// The file is not as it was last read, and how; `null` when it is. Looked at every ten seconds.
    pub unread_file: Option<String>,
    /// Why the kernel is not as the file and commands want it; `null` when it is.
    pub fault: Option<String>,
    /// Why a restart of the daemon would forget what commands have set, or why it has; `null` when all is well.
    pub overrides_fault: Option<String>,
}

/// How the program sits on an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceStatus {
    /// Its name.
    pub name: String,
    /// In the driver or not.
    pub mode: XdpMode,
}

/// An interface without the program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnattachedInterface {
    /// Its name.
    pub name: String,
    /// Why, for people: perhaps there is none of this name any more.
    pub reason: String,
}

/// Where on the receive path the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum XdpMode {
    /// In the driver.
    Native,
    /// In the kernel, after the driver: slower.
    Generic,
}

/// A service, its VIPs and backends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// Its VIPs.
    pub vips: Vec<VipStatus>,
    /// Of every VIP.
    pub protocol: Protocol,
    /// How packets reach the backends; as in the file, an open set.
    pub mode: String,
    /// How a backend is chosen; as in the file, an open set.
    pub balance: String,
    /// Slots of the ring.
    pub table_size: u32,
    /// Of these, by what they remember of their flows.
    pub slot_states: SlotStates,
    /// It has as many backends that can take new flows as its quorum asks for.
    pub healthy: bool,
    /// Backends that can take new flows.
    pub ready: u32,
    /// So many of them make the service healthy.
    pub quorum: u32,
    /// In the order of the file; those that are leaving come last.
    pub backends: Vec<BackendStatus>,
    /// Backends of the file that have no address, since their host has none.
    pub unresolved: Vec<UnresolvedBackend>,
}

/// A backend whose host has no address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

/// How many slots of a ring are in each state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotStates {
    /// One backend serves all flows, and none is written down.
    pub stable: u32,
    /// They have changed: flows that are older stay where they are, and are written down.
    pub moving: u32,
    /// Flows that are written down stay where they are.
    pub settled: u32,
}

/// The tables of flows that are not translated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowTables {
    /// Of services that choose by a hash: flows of slots that have changed.
    pub flows: FlowTable,
    /// Of services that choose by turn or by load: every flow.
    pub tracked: FlowTable,
}

/// One of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowTable {
    /// Flows that are known. Counted every five seconds.
    pub entries: u32,
    /// Most that can be known.
    pub capacity: u32,
    /// Flows that were written down, since the maps were made.
    pub written: u64,
    /// Flows that found no room, since the maps were made.
    pub no_room: u64,
}

/// A VIP of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VipStatus {
    /// Address and ports: one, as in `192.0.2.10:80`, a range, as in `192.0.2.10:8000-8999`, or all, `192.0.2.10:*`.
    #[serde(with = "text")]
    pub address: model::Vip,
    /// The daemon put the address on the node, so nothing else uses it.
    pub exclusive: bool,
}

/// L4 protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// RFC 9293
    Tcp,
    /// RFC 768
    Udp,
}

/// A backend of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Until when the certificate is valid that it showed a probe last, in seconds since 1970; `null` when it showed none.
    pub certificate_not_after: Option<u64>,
    /// How it is reached; `null` when that is not known.
    pub next_hop: Option<NextHop>,
    /// Why `next_hop` is `null`, for people; `null` when it is not.
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
}

/// What `nat` uses towards a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It does.
    Primary,
    /// It serves while no primary can.
    Backup,
}

/// What the administrator wants of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
pub struct NextHop {
    /// Six bytes in hexadecimal, with colons.
    pub mac: String,
    /// Name of the node's interface on that link.
    pub interface: String,
}

/// A value as its text.
mod text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<T: Display, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub(super) fn deserialize<'de, T, D>(from: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

impl From<from::Status> for Status {
    fn from(status: from::Status) -> Self {
        let (mut interfaces, mut unattached_interfaces) = (Vec::new(), Vec::new());
        for from::InterfaceStatus { name, attached } in status.interfaces {
            match attached {
                Ok(mode) => interfaces.push(InterfaceStatus {
                    name,
                    mode: mode.into(),
                }),
                Err(reason) => unattached_interfaces.push(UnattachedInterface { name, reason }),
            }
        }
        Self {
            node: status.node,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            interfaces,
            unattached_interfaces,
            services: status.services.into_iter().map(Into::into).collect(),
            flows: status.flows.into(),
            drops: status
                .drops
                .into_iter()
                .map(|(reason, count)| (reason.label().to_owned(), count))
                .collect(),
            repairs: status
                .repairs
                .each()
                .map(|(kind, count)| (kind.to_owned(), count))
                .into(),
            refused_reload: status.reloads.refusal,
            unread_file: status.reloads.unread,
            fault: status.fault,
            overrides_fault: status.overrides_fault,
        }
    }
}

impl From<from::FlowTables> for FlowTables {
    fn from(tables: from::FlowTables) -> Self {
        Self {
            flows: tables.flows.into(),
            tracked: tables.tracked.into(),
        }
    }
}

impl From<from::FlowTable> for FlowTable {
    fn from(table: from::FlowTable) -> Self {
        Self {
            entries: table.entries,
            capacity: table.capacity,
            written: table.written,
            no_room: table.no_room,
        }
    }
}

impl From<from::AttachMode> for XdpMode {
    fn from(mode: from::AttachMode) -> Self {
        match mode {
            from::AttachMode::Native => Self::Native,
            from::AttachMode::Generic => Self::Generic,
        }
    }
}

impl From<from::ServiceStatus> for ServiceStatus {
    fn from(service: from::ServiceStatus) -> Self {
        Self {
            healthy: service.is_healthy(),
            ready: service.ready,
            quorum: service.quorum,
            name: service.name.as_ref().to_owned(),
            vips: service.vips.into_iter().map(Into::into).collect(),
            protocol: service.protocol.into(),
            mode: service.mode.label().to_owned(),
            balance: service.balance.label().to_owned(),
            table_size: service.table_size,
            slot_states: SlotStates {
                stable: service.slots.stable,
                moving: service.slots.moving,
                settled: service.slots.settled,
            },
            backends: service.backends.into_iter().map(Into::into).collect(),
            unresolved: service.named.into_iter().map(Into::into).collect(),
        }
    }
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

impl From<from::VipStatus> for VipStatus {
    fn from(from::VipStatus { address, exclusive }: from::VipStatus) -> Self {
        Self { address, exclusive }
    }
}

impl BackendStatus {
    /// Flows of it that are known and not over, in whatever mode.
    #[must_use]
    pub fn flows(&self) -> u64 {
        let open = |nat: &NatStatus| u64::from(nat.opening) + u64::from(nat.established) + u64::from(nat.half_closed);
        u64::from(self.known_flows) + self.nat.as_ref().map_or(0, open)
    }
}

impl From<from::BackendStatus> for BackendStatus {
    fn from(backend: from::BackendStatus) -> Self {
        let (next_hop, next_hop_reason) = match backend.next_hop {
            Ok(hop) => (Some(hop.into()), None),
            Err(reason) => (None, Some(reason)),
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
            health_reason: backend.health_reason,
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
        }
    }
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

impl From<from::Reached> for NextHop {
    fn from(hop: from::Reached) -> Self {
        Self {
            mac: hop.mac.to_string(),
            interface: hop.interface,
        }
    }
}

impl From<model::Protocol> for Protocol {
    fn from(protocol: model::Protocol) -> Self {
        match protocol {
            model::Protocol::Tcp => Self::Tcp,
            model::Protocol::Udp => Self::Udp,
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
