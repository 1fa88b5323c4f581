//! Counters and drop reasons.

/// Element of `COUNTERS`, one per CPU and member; readers sum over CPUs.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets forwarded.
    pub packets: u64,
    /// Bytes forwarded, Ethernet header included, frame check sequence not.
    pub bytes: u64,
    /// TCP packets with SYN and without ACK: attempts to open a connection, repeated ones included. In `nat`, flows that
    /// got a translation, UDP included.
    pub new_flows: u64,
    /// `nat`: packets from the backend to its clients.
    pub reply_packets: u64,
    /// `nat`: their bytes, counted as [`Self::bytes`] are.
    pub reply_bytes: u64,
}

impl core::ops::AddAssign for Counters {
    fn add_assign(&mut self, other: Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
        self.new_flows += other.new_flows;
        self.reply_packets += other.reply_packets;
        self.reply_bytes += other.reply_bytes;
    }
}

macro_rules! drop_reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal $label:literal,)*) => {
        /// Why the program dropped a packet: an index into `DROPS`, and a label. Codes never move or change meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u32)]
        pub enum DropReason { $($(#[$doc])* $name = $code,)* }

        impl DropReason {
            /// Every reason, by code.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The reason's name in metrics and JSON.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }
        }
    };
}

drop_reasons! {
    /// The frame ends inside a header that the program had to read.
    Truncated = 1 "truncated",
    /// To a VIP: IPv4 with an impossible header or total length.
    MalformedIpv4 = 2 "malformed_ipv4",
    /// To a VIP: IPv6 with an impossible payload length.
    MalformedIpv6 = 3 "malformed_ipv6",
    /// To a VIP: TCP with an impossible data offset.
    MalformedTcp = 4 "malformed_tcp",
    /// To a VIP: UDP with an impossible length.
    MalformedUdp = 5 "malformed_udp",
    /// To a VIP: a fragment whose packet's first fragment has not been seen.
    Fragment = 6 "fragment",
    /// To a VIP that Fulcrum put on the node: a port or protocol that no service declares.
    Undeclared = 7 "undeclared",
    /// To a service that has no backend to send it to.
    NoBackend = 8 "no_backend",
    /// The backend's next hop is not known.
    Unresolved = 9 "unresolved",
    /// The maps contradict each other. Never seen; worth a report.
    Inconsistent = 10 "inconsistent",
    /// The backend is reached through an interface that the program cannot send to.
    NoEgress = 11 "no_egress",
    /// `nat`: a new flow, while every port towards the backend is in use.
    NatPorts = 12 "nat_ports",
    /// `nat`: a new flow, while the table of flows is full.
    NatTable = 13 "nat_table",
    /// `nat`: a flow that is not known while the tables of an earlier version are being taken over.
    NatHeld = 14 "nat_held",
    /// `tunnel`: too big for the way to the backend; its sender was told so, where the protocol lets it.
    TooBig = 15 "too_big",
    /// To a VIP: IPv6 with more extension headers than are followed.
    ExtensionHeaders = 16 "extension_headers",
    /// `tunnel`: the driver leaves no room in front of the packet.
    NoHeadroom = 17 "no_headroom",
    /// To a VIP, refused: TCP flags that no sender means.
    TcpFlags = 18 "tcp_flags",
    /// To a VIP, refused: from the address that it is sent to.
    Land = 19 "land",
    /// To a VIP, refused: from an address that no client can have.
    Bogon = 20 "bogon",
    /// To a VIP, refused: from a prefix that is denied.
    Denied = 21 "denied",
    /// To a service, refused: its source opens more connections than it may.
    ConnectionRate = 22 "connection_rate",
    /// To a service, refused: its source sends more packets than it may.
    PacketRate = 23 "packet_rate",
    /// ICMP to a VIP, refused: its source sends more than it may.
    IcmpRate = 24 "icmp_rate",
    /// To a service that answers with SYN cookies, refused: it opens no connection, and belongs to none.
    SynCookie = 25 "syn_cookie",
}

/// What happened to an entry of a flow: an index into `FLOW_EVENTS`, which is per CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum FlowEvent {
    /// It was written to `FLOWS`.
    Written = 0,
    /// There was no room in `FLOWS`.
    NoRoom = 1,
    /// It was written to `TRACKED`.
    TrackedWritten = 2,
    /// There was no room in `TRACKED`.
    TrackedNoRoom = 3,
}

/// Elements of `FLOW_EVENTS`. More than there are events, so that a new one does not change the layout of the map.
pub const FLOW_EVENT_CODES: u32 = 16;

/// Elements of `DROPS`: codes from 0 up to and without this. More than there are reasons, so that a new reason does
/// not change the layout of the map.
pub const DROP_CODES: u32 = 64;

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;

    #[test]
    fn reasons_have_codes_of_their_own_and_labels_of_their_own() {
        let labels: std::collections::BTreeSet<_> = DropReason::ALL.iter().map(|r| r.label()).collect();
        assert_eq!(labels.len(), DropReason::ALL.len());
        for (i, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, i + 1, "codes are dense from 1: {reason:?}");
            assert!((*reason as u32) < DROP_CODES);
            assert!(
                reason
                    .label()
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
            );
        }
    }
}
