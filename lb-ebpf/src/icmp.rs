//! ICMP and ICMPv6 to an address that is known. Echo requests are answered (RFC 792, RFC 4443 §4.2) where the VIP is
//! Fulcrum's own; errors go to the backend, or in `nat` to the client, whose packet they are about ([`error`]); everything
//! else, neighbour discovery above all, is the kernel's. And what is too big for a tunnel is answered with an error
//! ([`too_big`]).

mod echo;
mod error;
mod too_big;

use aya_ebpf::bindings::xdp_md;
use lb_common::service::{Decision, protocol};
use lb_common::stats::DropReason;

use crate::full::unwanted;
use crate::packet::Packet;
use crate::seen::Seen;
use crate::transmit;
use crate::verdict::{Outcome, Sent, Step, Stop};

pub(crate) use too_big::too_big;

/// A packet that is neither TCP nor UDP, to an address that is known.
#[inline(always)]
pub(crate) fn message(packet: &Packet) -> Outcome {
    Outcome::from_raw(fulcrum_icmp(packet.ctx()))
}

/// A global function: the verifier looks at it once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn fulcrum_icmp(ctx: *mut xdp_md) -> u32 {
    let Ok(seen) = Seen::of_this_cpu() else {
        return 0;
    };
    let packet = Packet::of(ctx);
    let protocol = if seen.v4 != 0 { protocol::ICMP } else { protocol::ICMPV6 };
    let icmp = seen.part == 0 && seen.protocol() == protocol;
    let head = packet.peek_mut::<Head>(seen.l4()).filter(|_| icmp);
    if let Some(head) = head
        // SAFETY: `peek` checked it.
        && error::is_error(seen, unsafe { *head.cast::<u8>() })
    {
        return error::follow(&packet, seen).raw();
    }
    Outcome::of(other(&packet, seen, icmp, head)).raw()
}

/// The fixed part of a message, the same in both versions: type, code, checksum, and four bytes that depend on these.
type Head = [u16; 4];

#[inline(always)]
fn other(packet: &Packet, seen: &Seen, icmp: bool, head: Option<*mut Head>) -> Step<Sent> {
    let address = seen.address;
    if !address.is_vip() {
        return Err(Stop::Pass);
    }
    let eth = transmit::for_this_node(packet)?;
    if seen.part != 0 {
        return Err(unwanted(address, DropReason::Fragment));
    }
    if !icmp {
        return Err(unwanted(address, DropReason::Undeclared));
    }
    let head = match head {
        Some(head) if seen.length() >= size_of::<Head>() => head,
        _ => return Err(unwanted(address, DropReason::Truncated)),
    };
    if !address.has(Decision::ECHO) {
        return Err(Stop::Pass);
    }
    echo::answer(packet, seen, eth, head)
}
