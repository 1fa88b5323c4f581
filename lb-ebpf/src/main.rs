//! Fulcrum's XDP programs: which packets are for a VIP, which backend each gets, and how it is sent there.
//!
//! [`fast`] does what nearly every packet needs, in one function: a call between BPF functions on the common path costs 11
//! to 14 ns. What it does not decide, [`full`] does, a program of its own. Both follow a packet: `lb_common::parse` reads headers,
//! `lb_common::select` finds the service, the slot and the member, [`forward`] rewrites, [`transmit`] sends.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch, core_intrinsics)]
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

mod clock;
mod config;
mod decap;
mod fast;
mod find;
mod flows;
mod forward;
mod fragments;
mod full;
mod icmp;
mod layers;
mod load;
mod maps;
mod news;
mod packet;
mod protect;
mod removal;
mod report;
mod seen;
mod stats;
mod trace;
mod track;
mod transmit;
mod verdict;

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;

use lb_common::limits::{STAGE_COOKIE, STAGE_FIRST, STAGE_FULL};
use lb_common::stats::DropReason;

use crate::packet::Packet;
use crate::verdict::{Outcome, Stop};

/// The balancer.
#[xdp(frags)]
fn fulcrum(ctx: XdpContext) -> u32 {
    first::<false>(&ctx)
}

/// The balancer where something protects its services.
#[xdp(frags)]
fn fulcrum_protect(ctx: XdpContext) -> u32 {
    first::<true>(&ctx)
}

#[inline(always)]
fn first<const PROTECTS: bool>(ctx: &XdpContext) -> u32 {
    match fast::ingress::<PROTECTS>(Packet::new(ctx)) {
        Ok(sent) => sent.action(),
        Err(Stop::Pass) => xdp_action::XDP_PASS,
        Err(Stop::Drop(reason)) => transmit::refuse(&Packet::new(ctx), reason as u32),
        Err(stop @ (Stop::More | Stop::TooBig(_))) => {
            if PROTECTS && matches!(stop, Stop::TooBig(_)) {
                protect::has_admitted();
            }
            hand_on(ctx, STAGE_FULL)
        }
        Err(Stop::Cookie) => hand_on(ctx, STAGE_COOKIE),
    }
}

/// Hands a packet on to another program.
#[inline(always)]
fn hand_on(ctx: &XdpContext, stage: u32) -> u32 {
    // SAFETY: it does not return, but where the place is empty.
    unsafe { maps::STAGES.tail_call(ctx, stage) };
    stats::dropped(DropReason::Inconsistent as u32)
}

/// The rest of the balancer, at [`STAGE_FULL`].
#[xdp(frags)]
fn fulcrum_full(ctx: XdpContext) -> u32 {
    let packet = Packet::new(&ctx);
    let outcome = full::outcome(&packet);
    if outcome.raw() == Outcome::COOKIE.raw() {
        return hand_on(&ctx, STAGE_COOKIE);
    }
    full::settled(&packet, outcome).0
}

/// What answers SYNs with cookies, at [`STAGE_COOKIE`].
#[xdp(frags)]
fn fulcrum_cookie(ctx: XdpContext) -> u32 {
    let packet = Packet::new(&ctx);
    full::settled(&packet, protect::cookie::decided(Packet::new(&ctx))).0
}

/// In place of [`fulcrum`] while somebody traces: does the same, and shows what it was.
#[xdp(frags)]
fn fulcrum_trace(ctx: XdpContext) -> u32 {
    if let Some(action) = trace::traced(&Packet::new(&ctx)) {
        return action;
    }
    hand_on(&ctx, STAGE_FIRST)
}

/// Not attached anywhere: the manager runs it on a list of keys of `NAT_REPLY`, to end the flows among them that are over.
/// Returns how many it has ended.
#[xdp]
fn fulcrum_sweep(ctx: XdpContext) -> u32 {
    flows::sweep(&Packet::new(&ctx))
}

/// Not attached anywhere: the manager runs it on a list of entries of `FLOWS` or `TRACKED`, to remove those that are still as
/// it has judged them (`lb_common::removal`). Returns how many it has removed.
#[xdp]
fn fulcrum_remove(ctx: XdpContext) -> u32 {
    removal::remove(&Packet::new(&ctx))
}

/// For backends of `tunnel`: takes the outer header off, and lets every packet pass.
#[xdp(frags)]
fn fulcrum_decap(ctx: XdpContext) -> u32 {
    decap::decap(Packet::new(&ctx));
    xdp_action::XDP_PASS
}

/// Lets every packet pass. A veth pair delivers what the balancer sends natively only when its other end has a
/// program of its own; this is the one that labs put there.
#[xdp(frags)]
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
