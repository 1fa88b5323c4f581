//! Calls the program under test, counts what it returns, and makes the packet that of the next round.
//!
//! Packets that are sent do not come back: there the packet is made what it shall be before the program is called.

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::btf_maps::{Array, PerCpuArray, ProgramArray};
use aya_ebpf::helpers::bpf_xdp_adjust_head;
use aya_ebpf::macros::btf_map;
use aya_ebpf::programs::XdpContext;

use crate::shared::{self, ADJUST, BARE, EMPTY, HEAD, MISSED, Plan, REFERENCE, SUBJECT, TARGETS as PLACES};

/// What to do, and what was seen.
#[btf_map]
static PLAN: Array<Plan, 1> = Array::new();

/// The programs.
#[btf_map]
static TARGETS: ProgramArray<PLACES> = ProgramArray::new();

/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;

/// Packets that have arrived at the other end of the link.
#[btf_map]
static ARRIVED: PerCpuArray<u64, 1> = PerCpuArray::new();

/// One round. Comes to its end with `XDP_PASS`, or with `XDP_ABORTED` when it could not do what it should.
#[inline(always)]
pub(crate) fn run(ctx: &XdpContext) -> u32 {
    let Some(plan) = plan() else {
        return xdp_action::XDP_ABORTED;
    };
    call(ctx, plan);
    let length = ctx.data_end() - ctx.data();
    // Outer headers of IPv4 and IPv6. Constants: LLVM would compute a difference in 32 bits, which the verifier refuses for
    // pointers.
    let is_back = match length.wrapping_sub(plan.length as usize) {
        0 => true,
        20 => shrink(ctx, 20),
        40 => shrink(ctx, 40),
        _ => false,
    };
    if is_back && make(ctx, plan) {
        xdp_action::XDP_PASS
    } else {
        xdp_action::XDP_ABORTED
    }
}

/// One packet that goes where the program sends it.
#[inline(always)]
pub(crate) fn send(ctx: &XdpContext) -> u32 {
    let Some(plan) = plan() else {
        return xdp_action::XDP_ABORTED;
    };
    if make(ctx, plan) {
        call(ctx, plan)
    } else {
        xdp_action::XDP_ABORTED
    }
}

/// The other end of the link.
#[inline(always)]
pub(crate) fn arrive() -> u32 {
    if let Some(arrived) = ARRIVED.get_ptr_mut(0) {
        // SAFETY: this CPU's element.
        unsafe { *arrived += 1 };
    }
    xdp_action::XDP_DROP
}

#[inline(always)]
fn plan() -> Option<&'static mut Plan> {
    // SAFETY: the harness writes the plan only between runs.
    PLAN.get_ptr_mut(0).map(|plan| unsafe { &mut *plan })
}

/// Calls the program, and counts what it returns.
#[inline(always)]
fn call(ctx: &XdpContext, plan: &mut Plan) -> u32 {
    // Each with its own call, whose place in the map is a constant: the kernel makes that a direct jump.
    let action = match plan.target {
        SUBJECT => call_subject(ctx),
        REFERENCE => call_reference(ctx),
        EMPTY => call_empty(ctx),
        BARE => call_bare(ctx),
        _ => call_adjust(ctx),
    };
    plan.actions[(action & 7) as usize] += 1;
    action
}

/// Makes the packet the next one; false where it is too short.
#[inline(always)]
fn make(ctx: &XdpContext, plan: &mut Plan) -> bool {
    let start = ctx.data();
    let is_long = start + HEAD <= ctx.data_end();
    if is_long {
        restore(plan, start as *mut u8);
    }
    is_long
}

/// Takes so many bytes off the front.
#[inline(always)]
fn shrink(ctx: &XdpContext, bytes: i32) -> bool {
    // SAFETY: the helper checks its arguments.
    unsafe { bpf_xdp_adjust_head(ctx.ctx, bytes) == 0 }
}

/// Writes what the program may have changed, and what tells the next packet from this one. `packet` has [`HEAD`] bytes.
#[inline(always)]
fn restore(plan: &mut Plan, packet: *mut u8) {
    let put = |at: usize, value: u32| {
        // SAFETY: all places are within `HEAD` bytes.
        unsafe { packet.add(at).cast::<u32>().write_unaligned(value.to_be()) }
    };
    let words = if plan.restore == 0 { 2 } else { HEAD / 8 };
    for (i, word) in plan.head.iter().enumerate() {
        if i < words {
            // SAFETY: as above.
            unsafe { packet.cast::<u64>().add(i).write_unaligned(*word) };
        }
    }
    if plan.restore != 0 {
        // SAFETY: as above.
        unsafe {
            packet
                .cast::<u16>()
                .add(HEAD / 2 - 1)
                .write_unaligned(plan.head[HEAD / 8] as u16);
        };
    }
    // Of the addresses of IPv6, the last four octets.
    let (source, destination, port) = if plan.v6 == 0 {
        (ETHERNET + 12, ETHERNET + 16, ETHERNET + 20)
    } else {
        (ETHERNET + 20, ETHERNET + 36, ETHERNET + 40)
    };
    if plan.flows > 1 {
        plan.flow = next(plan.flow, plan.flows);
        let (address, from) = shared::source(plan.flow);
        let address = if plan.spread != 0 {
            shared::spread(plan.flow)
        } else {
            address
        };
        put(source, address);
        // SAFETY: as above.
        unsafe { packet.add(port).cast::<u16>().write_unaligned(from.to_be()) };
    }
    if plan.vips > 1 {
        plan.vip = next(plan.vip, plan.vips);
        put(destination, plan.first_vip + plan.vip);
    }
}

/// The number after `number`, of those below `count`.
#[inline(always)]
fn next(number: u32, count: u32) -> u32 {
    if number + 1 < count { number + 1 } else { 0 }
}

macro_rules! call {
    ($name:ident, $target:expr) => {
        /// A function of its own, since from within one a tail call comes back to the caller.
        #[inline(never)]
        fn $name(ctx: &XdpContext) -> u32 {
            // SAFETY: nothing here has to be dropped.
            unsafe { TARGETS.tail_call(ctx, $target) };
            // To the compiler this is always what is returned: it must not know the value.
            core::hint::black_box(MISSED)
        }
    };
}
call!(call_subject, SUBJECT);
call!(call_reference, REFERENCE);
call!(call_empty, EMPTY);
call!(call_bare, BARE);
call!(call_adjust, ADJUST);
