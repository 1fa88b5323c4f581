//! `GET /api/v1/status`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::{
    Announcement, BackendStatus, OrderedCertificate, Peer, Protection, ServiceProtection, UnresolvedBackend,
    VirtualRouter,
};
use crate::model::http_status::ClientsHttp;
use crate::model::{self, status as from};

/// The whole node at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
    /// In the order of the file.
    #[serde(default)]
    pub virtual_routers: Vec<VirtualRouter>,
    /// VIPs that a routing daemon announces, in the order of the file.
    #[serde(default)]
    pub announcements: Vec<Announcement>,
    /// A command has said that clients are to go to other nodes.
    #[serde(default)]
    pub draining: bool,
    /// Nodes that this one tells of flows, in the order of the file.
    #[serde(default)]
    pub peers: Vec<Peer>,
    /// Certificates that the node orders, in the order of the file.
    #[serde(default)]
    pub certificates: Vec<OrderedCertificate>,
    /// Flows of `dsr` and `tunnel` that are known.
    pub flows: FlowTables,
    /// What protects services, with what it has kept from VIPs that was for no service; `null` where nothing does.
    pub protection: Option<Protection>,
    /// Packets that the program dropped, by reason, since its maps were made. Every reason is there, zeros included.
    pub drops: BTreeMap<String, u64>,
    /// What somebody else has changed and the daemon has put right since it started, by kind: `program` (taken off an
    /// interface), `entry`, `slot`, `member` (of maps), `address` (a VIP taken off the node). Every kind is there, zeros
    /// included.
    #[serde(default)]
    pub repairs: BTreeMap<String, u64>,
    /// When the daemon started, in seconds since 1970.
    #[serde(default)]
    pub started: u64,
    /// What came of reading the file again.
    #[serde(default)]
    pub reloads: Reloads,
    /// The last reload, when it was refused, and why.
    pub refused_reload: Option<String>,
    /// The file is not as it was last read, and how; `null` when it is. Looked at every ten seconds.
    pub unread_file: Option<String>,
    /// Why the kernel is not as the file and commands want it; `null` when it is.
    pub fault: Option<String>,
    /// Why a restart of the daemon would forget what commands have set, or why it has; `null` when all is well.
    pub overrides_fault: Option<String>,
}

/// How often the running daemon has read its file again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Reloads {
    /// How often it was taken.
    pub accepted: u64,
    /// How often it was refused.
    pub refused: u64,
    /// When it was read last, taken or refused, in seconds since 1970.
    pub last: u64,
}

/// How the program sits on an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct InterfaceStatus {
    /// Its name.
    pub name: String,
    /// In the driver or not.
    pub mode: XdpMode,
}

/// An interface without the program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct UnattachedInterface {
    /// Its name.
    pub name: String,
    /// Why, for people: perhaps there is none of this name any more.
    pub reason: String,
}

/// Where on the receive path the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum XdpMode {
    /// In the driver.
    Native,
    /// In the kernel, after the driver: slower.
    Generic,
}

/// A service, its VIPs and backends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// Its VIPs; none of a pool, which routes of services lead to.
    pub vips: Vec<VipStatus>,
    /// Of every VIP.
    pub protocol: Protocol,
    /// How packets reach the backends; as in the file, an open set.
    pub mode: String,
    /// How a backend is chosen; as in the file, an open set.
    pub balance: String,
    /// Slots of the ring; with `proxy` there is none, and this says nothing.
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
    /// Certificates that clients are shown, by the name that each is for first; of several for one, that which ends first.
    #[serde(default)]
    pub certificates: Vec<Certificate>,
    /// What protects it, and has refused its packets; `null` where nothing does, and of a pool.
    pub protection: Option<ServiceProtection>,
    /// What clients of the proxy have done; `null` in other modes, and of a pool, which has no clients.
    pub http: Option<HttpStatus>,
}

/// A certificate that clients are shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Certificate {
    /// The name that it is for first.
    pub name: String,
    /// Until when it is valid, in seconds since 1970.
    pub not_after: u64,
}

/// Clients of a service of the proxy. Numbers without "now" count from the daemon's start, or from when the service came
/// into the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HttpStatus {
    /// Their connections that are open now.
    pub connections: u32,
    /// Their requests.
    pub requests: u64,
    /// Responses to them, by class: `1xx` to `5xx`, zeros included.
    pub responses: BTreeMap<String, u64>,
    /// Bytes received from them.
    pub received: u64,
    /// Bytes sent to them.
    pub sent: u64,
    /// Requests that wait for a backend now.
    pub waiting: u32,
}

/// How many slots of a ring are in each state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FlowTables {
    /// Of services that choose by a hash: flows of slots that have changed.
    pub flows: FlowTable,
    /// Of services that choose by turn or by load: every flow.
    pub tracked: FlowTable,
}

/// One of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct VipStatus {
    /// Address and ports: one, as in `192.0.2.10:80`, a range, as in `192.0.2.10:8000-8999`, or all, `192.0.2.10:*`.
    #[serde(with = "text")]
    #[cfg_attr(test, schemars(with = "String"))]
    pub address: model::Vip,
    /// The daemon put the address on the node, so nothing else uses it.
    pub exclusive: bool,
}

/// L4 protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// RFC 9293
    Tcp,
    /// RFC 768
    Udp,
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

impl ServiceStatus {
    /// Does this node's proxy have it?
    #[must_use]
    pub fn is_proxied(&self) -> bool {
        self.mode == model::Mode::Proxy.label()
    }

    /// Are its new connections the proxy's for the moment, though its mode is another one?
    #[must_use]
    pub fn is_steered(&self) -> bool {
        !self.is_proxied() && self.backends.iter().any(|backend| backend.proxy.is_some())
    }

    /// Is it a pool, which has no address?
    #[must_use]
    pub fn is_pool(&self) -> bool {
        self.vips.is_empty()
    }
}

impl From<from::Status> for Status {
    fn from(status: from::Status) -> Self {
        let mut services: Vec<ServiceStatus> = status.services.into_iter().map(Into::into).collect();
        // Both are in the order of the file, and one has some of the other's.
        let mut rest = services.iter_mut();
        for counted in status.http {
            let Some(service) = rest.find(|service| *service.name == *counted.name) else {
                break;
            };
            let Some(clients) = counted.clients else { continue };
            let certificates = clients.tls.iter().flat_map(|tls| &tls.certificates);
            service.certificates = certificates.map(Into::into).collect();
            service.http = Some(HttpStatus::new(&clients, counted.waiting));
        }
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
            services,
            virtual_routers: status.ha.routers.into_iter().map(Into::into).collect(),
            announcements: status.ha.announcements.into_iter().map(Into::into).collect(),
            draining: status.draining,
            peers: status.peers.peers.into_iter().map(Into::into).collect(),
            certificates: status.certificates.into_iter().map(Into::into).collect(),
            flows: status.flows.into(),
            protection: status.protection.map(Into::into),
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
            started: seconds(status.started),
            reloads: Reloads {
                accepted: status.reloads.accepted,
                refused: status.reloads.refused,
                last: seconds(status.reloads.last),
            },
            refused_reload: status.reloads.refusal,
            unread_file: status.reloads.unread,
            fault: status.fault,
            overrides_fault: status.overrides_fault,
        }
    }
}

/// Since 1970.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl HttpStatus {
    fn new(clients: &ClientsHttp, waiting: u32) -> Self {
        let classes = ["1xx", "2xx", "3xx", "4xx", "5xx"].map(str::to_owned);
        Self {
            connections: clients.connections,
            requests: clients.requests.iter().sum(),
            responses: classes.into_iter().zip(clients.responses).collect(),
            received: clients.received,
            sent: clients.sent,
            waiting,
        }
    }
}

impl From<&(Arc<str>, u64)> for Certificate {
    fn from((name, not_after): &(Arc<str>, u64)) -> Self {
        Self {
            name: name.as_ref().to_owned(),
            not_after: *not_after,
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
            certificates: Vec::new(),
            protection: service.protection.map(Into::into),
            http: None,
        }
    }
}

impl From<from::VipStatus> for VipStatus {
    fn from(from::VipStatus { address, exclusive }: from::VipStatus) -> Self {
        Self { address, exclusive }
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
