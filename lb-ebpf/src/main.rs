//! Fulcrum's XDP program: which packets are for a VIP, which backend each gets, and how it is sent there.
//!
//! The files follow a packet: [`parse`] reads headers, `lb_common::select` finds the service, the slot and the member,
//! [`forward`] rewrites, [`transmit`] sends. Everything is inlined into one function: a call between BPF functions on
//! the common path costs 11 to 14 ns.
#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![expect(
    internal_features,
    reason = "atomics with a result, which core::sync::atomic lacks on this target"
)]
#![expect(
    clippy::needless_borrows_for_generic_args,
    reason = "keys of 40 bytes are not copied on a stack of 512"
)]
#![expect(
    clippy::needless_pass_by_value,
    reason = "the attribute macro passes the context by value"
)]

mod config;
mod flows;
mod forward;
mod icmp;
mod maps;
mod packet;
mod parse;
mod service;
mod stats;
mod transmit;
mod verdict;

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};

use lb_common::limits::SWEEP_KEYS;
use lb_common::nat::NatKey;

use crate::packet::Packet;
use crate::verdict::Stop;

/// The balancer.
#[xdp]
fn fulcrum(ctx: XdpContext) -> u32 {
    match parse::ingress(&Packet::new(&ctx)) {
        Ok(sent) => sent.action(),
        Err(Stop::Pass) => xdp_action::XDP_PASS,
        Err(Stop::Drop(reason)) => stats::dropped(&ctx, reason),
    }
}

/// Not attached anywhere: the manager runs it on a list of keys of `NAT_REPLY`, to end the flows among them that are over.
/// Returns how many it has ended.
#[xdp]
fn fulcrum_sweep(ctx: XdpContext) -> u32 {
    let list = Packet::new(&ctx);
    let now = flows::now();
    let mut ended = 0;
    for i in 0..SWEEP_KEYS as usize {
        let Some(key) = list.peek::<NatKey>(i * size_of::<NatKey>()) else {
            break;
        };
        // SAFETY: `peek` checked it.
        let key = unsafe { key.read_unaligned() };
        ended += u32::from(flows::sweep(&key, now));
    }
    ended
}

/// Lets every packet pass. A veth pair delivers what the balancer sends natively only when its other end has a
/// program of its own; this is the one that labs put there.
#[xdp]
fn fulcrum_pass(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_PASS
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
