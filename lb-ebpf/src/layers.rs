//! What lies behind a network header.

use aya_ebpf::bindings::xdp_md;
use lb_common::parse::Part;
use lb_common::parse::ipv6::{Lost, Walked, walk};
use lb_common::stats::DropReason;

use crate::packet::Packet;

/// The longest way over extension headers that is gone.
const FARTHEST: usize = 0x7ff - 64;

/// What that is.
#[derive(Clone, Copy)]
pub(crate) struct Layers {
    pub(crate) protocol: u8,
    /// Its offset.
    pub(crate) l4: u32,
    pub(crate) part: Part,
    /// Code of the reason why it may not be believed, or [`NO_FAULT`].
    pub(crate) fault: u32,
}

impl Layers {
    /// A header that follows at once.
    #[inline(always)]
    pub(crate) const fn direct(protocol: u8, l4: u32) -> Self {
        Self {
            protocol,
            l4,
            part: Part::WHOLE,
            fault: NO_FAULT,
        }
    }
}

/// No drop reason has this code.
pub(crate) const NO_FAULT: u32 = 0;

/// What the extension headers from `offset` on lead to.
#[inline(always)]
pub(crate) fn extensions(packet: &Packet, next: u8, offset: u32) -> Layers {
    let packed = fulcrum_walk(packet.ctx(), next.into(), offset);
    let id = (packed >> 32) as u32;
    Layers {
        protocol: packed as u8,
        l4: (packed >> 8) as u32 & 0xfff,
        part: Part::new(packed as u32 >> 20 & 3, id),
        fault: (packed >> 22) as u32 & 0x3f,
    }
}

/// What [`extensions`] says, in bits: protocol 0 to 7, offset 8 to 19, part 20 to 21, code of the fault 22 to 27,
/// identification 32 to 63.
///
/// A global function: the verifier walks through its loop once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn fulcrum_walk(ctx: *mut xdp_md, next: u32, offset: u32) -> u64 {
    let fault = |reason: DropReason| (reason as u64) << 22;
    match walk(&Packet::of(ctx), next as u8, (offset & 0x3f) as usize) {
        Ok(Walked { offset, .. }) if offset > FARTHEST => fault(DropReason::ExtensionHeaders),
        Ok(Walked { protocol, offset, part }) => {
            u64::from(protocol) | (offset as u64) << 8 | u64::from(part.kind()) << 20 | u64::from(part.id) << 32
        }
        Err(Lost::Truncated) => fault(DropReason::Truncated),
        Err(Lost::TooMany) => fault(DropReason::ExtensionHeaders),
    }
}
