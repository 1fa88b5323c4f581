//! Which service a packet is for, where it is not on a port of its own, and what is known of its address.

use lb_common::select::Tuple;
use lb_common::service::Decision;

use crate::maps::Maps;
use crate::seen::Seen;
use crate::verdict::Step;

/// Looks up a packet's service, and where it has none, its destination address. Takes the reference, and gives another
/// one: what is found is written behind the back of this one.
#[inline(always)]
pub(crate) fn find(_: &'static mut Seen) -> Step<&'static mut Seen> {
    fulcrum_find();
    Seen::of_this_cpu()
}

/// A global function: the verifier walks through its loop once, and its stack is its own.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn fulcrum_find() -> u32 {
    let Ok(seen) = Seen::of_this_cpu() else {
        return 0;
    };
    let found = if seen.v4 != 0 {
        Found::of(&seen.flow_v4())
    } else {
        Found::of(&seen.flow_v6())
    };
    seen.address = found.address;
    seen.service = found.service;
    let mut free = 0;
    while free < 16 && found.blocks >> free > 1 {
        free += 1;
        if found.blocks >> free & 1 == 0 {
            continue;
        }
        let service = Decision(fulcrum_block(free));
        if service.is_service() {
            seen.service = service;
            break;
        }
    }
    0
}

/// The service of a packet on blocks of ports with `free` free bits, as the number that a [`Decision`] is. A global function: in
/// the loop it would be verified once for each round.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn fulcrum_block(free: u32) -> u64 {
    let Ok(seen) = Seen::of_this_cpu() else {
        return Decision::NONE.0;
    };
    let free = free as u8;
    let found = if seen.v4 != 0 {
        seen.flow_v4().block(&Maps, free)
    } else {
        seen.flow_v6().block(&Maps, free)
    };
    found.0
}

/// What is known of where a packet is sent to.
struct Found {
    address: Decision,
    service: Decision,
    /// The blocks of ports that are still to be looked at.
    blocks: u32,
}

impl Found {
    #[inline(always)]
    fn of<F: Tuple>(flow: &F) -> Self {
        let service = flow.service(&Maps);
        let address = if service.is_service() {
            Decision::NONE
        } else {
            flow.address(&Maps)
        };
        Self {
            address,
            service,
            blocks: address.blocks(),
        }
    }
}
