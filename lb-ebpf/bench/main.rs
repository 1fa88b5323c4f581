//! The bench's own programs: a wrapper that runs another program on the same packet again and again, and a minimal
//! balancer to compare with; `cargo xtask bench dataplane` runs them.
//!
//! `BPF_PROG_TEST_RUN` repeats a program without restoring the packet, so a program that changes it sees its own output
//! from the second time on. Hence the wrapper.
#![no_std]
#![no_main]
#![expect(
    clippy::needless_borrows_for_generic_args,
    reason = "keys are not copied on a stack of 512 bytes"
)]
#![expect(
    clippy::needless_pass_by_value,
    reason = "the attribute macro passes the context by value"
)]

mod reference;
#[allow(dead_code, reason = "the harness uses all of it")]
mod shared;
mod wrapper;

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::helpers::bpf_xdp_adjust_head;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;

/// Runs the program that `PLAN` says, and makes the packet what it was.
#[xdp(frags)]
fn bench_wrapper(ctx: XdpContext) -> u32 {
    wrapper::run(&ctx)
}

/// Makes the packet what it shall be, runs the program that `PLAN` says, and does with the packet what that returns.
#[xdp(frags)]
fn bench_send(ctx: XdpContext) -> u32 {
    wrapper::send(&ctx)
}

/// At the other end of the link: counts what arrives, and drops it.
#[xdp(frags)]
fn bench_arrive(_ctx: XdpContext) -> u32 {
    wrapper::arrive()
}

/// The minimal balancer.
#[xdp(frags)]
fn bench_reference(ctx: XdpContext) -> u32 {
    reference::balance(&ctx).unwrap_or(xdp_action::XDP_PASS)
}

/// Passes every packet.
#[xdp(frags)]
fn bench_empty(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

/// Makes room for an IPv4 header.
#[xdp(frags)]
fn bench_adjust(ctx: XdpContext) -> u32 {
    // SAFETY: the helper checks its arguments.
    match unsafe { bpf_xdp_adjust_head(ctx.ctx, -20) } {
        0 => xdp_action::XDP_TX,
        _ => xdp_action::XDP_ABORTED,
    }
}

/// A reachable panic would be an endless loop, which the verifier refuses.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The kernel lets only GPL-compatible programs call some helpers.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
pub static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
