//! What is behind a drop, for people who see the number grow.

use lb_common::stats::DropReason;

/// What happened, and what helps where something does. One sentence, without a full stop.
#[must_use]
pub const fn explanation(reason: DropReason) -> &'static str {
    match reason {
        DropReason::Truncated => {
            "Frames that end within a header; a few are noise, many come from a broken driver or sender"
        }
        DropReason::MalformedIpv4 => "IPv4 packets to a VIP with impossible lengths in their header",
        DropReason::MalformedIpv6 => "IPv6 packets to a VIP with an impossible payload length",
        DropReason::MalformedTcp => "TCP segments to a VIP with an impossible data offset: scans, as a rule",
        DropReason::MalformedUdp => "UDP datagrams to a VIP with an impossible length",
        DropReason::Fragment => {
            "Fragments to a VIP whose first fragment did not come here before: it was lost, or another node got it"
        }
        DropReason::Undeclared => {
            "Packets to a VIP that Fulcrum put on the node, at a port that no service declares: scans, as a rule; `undeclared` \
             lets them pass"
        }
        DropReason::NoBackend => "Packets to a service with no backend to send them to: look at its backends",
        DropReason::Unresolved => "Packets to a backend whose next hop is not known: `fulcrum doctor` asks why",
        DropReason::Inconsistent => "Maps that contradict each other, which should not be: please report it",
        DropReason::NoEgress => {
            "Packets to a backend behind an interface that the program cannot send to: name it in [node] interfaces"
        }
        DropReason::NatPorts => {
            "New flows of nat while every port towards the backend was taken: give [service.nat] more ports"
        }
        DropReason::NatTable => "New flows of nat while the table of flows was full: raise flow-table-size",
        DropReason::NatHeld => {
            "Flows of nat that were not known yet while the tables of an earlier version were taken over"
        }
        DropReason::TooBig => {
            "Packets too big for the way through a tunnel; their senders were told so and should send smaller ones, unless \
             somebody filters ICMP"
        }
        DropReason::ExtensionHeaders => "IPv6 packets to a VIP with more extension headers than are followed",
        DropReason::NoHeadroom => {
            "Packets that the driver leaves no room in front of for a tunnel's header: use another mode"
        }
        DropReason::TcpFlags => "Refused by [protection]: TCP flags that no sender means: scans, as a rule",
        DropReason::Land => "Refused by [protection]: packets that claim to come from the VIP that they are sent to",
        DropReason::Bogon => "Refused by [protection]: sources that no client can have, so spoofed ones",
        DropReason::Denied => "Refused by [protection]: from a prefix in a list `deny`, or in `fulcrum deny list`",
        DropReason::ConnectionRate => {
            "Refused by [protection]: sources that open more connections than `connections-per-second` lets them"
        }
        DropReason::PacketRate => {
            "Refused by [protection]: sources that send more packets than `packets-per-second` lets them"
        }
        DropReason::IcmpRate => {
            "Refused by [protection]: sources that send more ICMP, or other packets without ports, than `icmp-per-second` lets them"
        }
        DropReason::SynCookie => {
            "Refused by [protection]: acknowledgements that belong to no connection and to no SYN cookie: a flood, as a rule"
        }
    }
}
