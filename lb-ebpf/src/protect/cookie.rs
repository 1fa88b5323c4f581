//! SYN cookies for services of the proxy: the rules are those of [`lb_common::protect::cookie`], the cookies the kernel's own.
//!
//! While a service gets more SYNs than it should, those beyond are answered here, and nothing is kept of them. Whoever sends
//! the cookie back, in the acknowledgement that opens the connection, is the kernel's: it takes the cookie as one of its own.
//! What is neither that nor of a connection that there is, is dropped before the kernel spends anything.

use core::arch::asm;
use core::intrinsics::{AtomicOrdering, atomic_cxchg};

use aya_ebpf::bindings::{bpf_sock_tuple, iphdr, ipv6hdr, tcphdr, xdp_md};
use aya_ebpf::cty::c_void;
use aya_ebpf::helpers::bpf_loop;
use aya_ebpf::helpers::generated::{
    bpf_sk_release, bpf_skc_lookup_tcp, bpf_tcp_raw_check_syncookie_ipv4, bpf_tcp_raw_check_syncookie_ipv6,
    bpf_tcp_raw_gen_syncookie_ipv4, bpf_tcp_raw_gen_syncookie_ipv6, bpf_xdp_load_bytes,
};
use lb_common::addr::Ipv6Be;
use lb_common::csum;
use lb_common::nat::NatKey;
use lb_common::parse::Frame as _;
use lb_common::protect::cookie::{OPTIONS, Offer, Own, ROOM, SHORTEST, WORDS, answer, of_linux, read, timestamp};
use lb_common::protect::kept::{self, Giver};
use lb_common::protect::limit::Limit;
use lb_common::protect::{Policy, Sheet as _, place, policy};
use lb_common::select::read_once;
use lb_common::service::{Decision, protocol};
use lb_common::stats::DropReason;
use network_types::eth::EthHdr;

use super::{Sender, current, limit, refuse};
use crate::clock::nanoseconds;
use crate::config::hash_key;
use crate::forward::Inner;
use crate::maps::{REFUSALS, SCRATCH, giver, stamp, stamps_from};
use crate::packet::Packet;
use crate::seen::Seen;
use crate::transmit;
use crate::verdict::{Outcome, Sent, Step, Stop};

/// How long a cookie is good: 2 minutes (`MAX_SYNCOOKIE_AGE`).
const VALID: u64 = 120_000_000_000;

/// A listener takes cookies only if it has itself given one out within the time that they are good. So a SYN to each now and
/// then is left to the kernel, which with tcp_syncookies=2 answers with a cookie too: one in 4 s.
const KNOCK: Limit = Limit {
    tolerance: 0,
    interval: 4_000_000_000,
    scope: 1 << 31,
    mask_v4: u32::MAX,
    whole_v6: 1,
    mask_v6: u64::MAX,
};

/// By how much what is known of cookies that are good may be behind: a second.
const SOON: u64 = 1_000_000_000;

/// Headers outside of the packet: as many bytes as the longest has, and how many there are.
#[repr(C)]
pub(crate) struct Scratch {
    /// The network header, as far as a cookie depends on it: the addresses.
    ip: [u64; 5],
    /// As the verifier sees it, a header may be longer than it can be: 20 bytes and up to 63 behind them.
    tcp: [u8; ROOM],
    length: u32,
    /// The next option.
    next: u32,
    offer: Offer,
    tuple: Tuple,
}

/// `struct bpf_sock_tuple` of IPv6, which is also the longer one.
type Tuple = [u32; 9];

/// TCP's state of who listens.
const LISTENS: u32 = 10;

/// What becomes of a packet to a service of the proxy whose policy has [`policy::COOKIES`], in a program of its own.
#[inline(always)]
pub(crate) fn decided(packet: Packet) -> Outcome {
    Outcome::come_to(Seen::of_this_cpu().and_then(|seen| judge(packet, seen)))
}

/// The same, where something is still to be done afterwards.
#[inline(always)]
pub(crate) fn seen(packet: &Packet) -> Outcome {
    Outcome::from_raw(fulcrum_syn(packet.ctx()))
}

/// A packet without tags, options and the like to such a service, whose header of TCP is at `l4`: it is for [`decided`].
#[inline(always)]
pub(crate) fn plain(packet: &Packet, service: Decision, key: &NatKey, inner: &Inner, l4: usize) -> Stop {
    let seen = match Seen::of_this_cpu() {
        Ok(seen) => seen,
        Err(stop) => return stop,
    };
    seen.key = *key;
    seen.service = service;
    seen.total = inner.total as u32;
    seen.bytes = packet.len() as u32;
    seen.l4 = l4 as u16;
    seen.tags = 0;
    seen.v4 = inner.v4.into();
    seen.part = 0;
    seen.mentions = 0;
    Stop::Cookie
}

/// A global function: the verifier looks at it once, and its stack is its own.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn fulcrum_syn(ctx: *mut xdp_md) -> u32 {
    decided(Packet::of(ctx)).raw()
}

#[inline(always)]
fn judge(packet: Packet, seen: &Seen) -> Step<Outcome> {
    if seen.protocol() != protocol::TCP {
        return Ok(Outcome::PASS);
    }
    let Some(sheet) = current() else {
        return Ok(Outcome::PASS);
    };
    let place = place(seen.service);
    let Some(policy) = sheet.policy(place) else {
        return Ok(Outcome::PASS);
    };
    if policy.flags & policy::COOKIES == 0 {
        return Ok(Outcome::PASS);
    }
    // Before anything that lies behind: LLVM finds the check of the Ethernet header superfluous then, and the verifier does not.
    transmit::for_this_node(&packet)?;
    let now = nanoseconds();
    let ports = seen.key.ports.word() as u32;
    let stamp = stamp(kept::index(seen.v4 != 0, &seen.key.source, ports, &hash_key()));
    // SAFETY: a byte of a map, of which each side takes whatever it finds.
    let left = unsafe { stamp.read_volatile() };
    let outcome = stamped(packet, seen, policy, place, now, left)?;
    let mine = kept::stamp(now);
    if outcome.raw() == Outcome::PASS.raw() && left != mine {
        // SAFETY: as above.
        unsafe { stamp.write_volatile(mine) };
    }
    Ok(outcome)
}

/// The same. `left` is the stamp of its flow.
#[inline(always)]
fn stamped(packet: Packet, seen: &Seen, policy: &Policy, place: u32, now: u64, left: u8) -> Step<Outcome> {
    let on = Ok(Outcome::PASS);
    let Some(refusals) = REFUSALS.get_ptr_mut(place) else {
        return on;
    };
    // SAFETY: this CPU's element, which nobody else writes.
    let refusals = unsafe { &mut *refusals };
    let segment = seen.segment(&packet)?;
    let giver = giver(place);
    if segment.opens() {
        // Who is only observed is answered by the kernel.
        if policy.flags & policy::OBSERVES != 0 {
            return on;
        }
        if policy.syns.exists() && spares(giver, &policy.syns, now) {
            return on;
        }
        let listener = Sender {
            v4: false,
            source: seen.key.destination,
            destination: seen.key.destination,
        };
        let knock = Limit {
            scope: KNOCK.scope | u32::from(seen.key.ports.destination.0),
            ..KNOCK
        };
        if limit::admits::<false>(&knock, &listener, now, place) {
            return on;
        }
        // Of a connection that there is, or that has just ended (TIME_WAIT): the kernel knows whether a new one may begin, and
        // would take no cookie of it.
        if may_be_connected(now, left) && is_connected(packet.ctx()) {
            return on;
        }
        let Some(scratch) = scratch(&packet, seen) else {
            return on;
        };
        scratch.offer = Offer::default();
        if policy.window_scale != Policy::PLAIN {
            read_options(scratch);
        }
        let made = make(seen, scratch);
        if made < 0 {
            // Not a header that the kernel makes one for, or a kernel that makes none.
            return on;
        }
        let own = Own {
            cookie: made as u32,
            segment: u32::from(policy.mtu) - if seen.v4 != 0 { 40 } else { 60 },
            scale: policy.window_scale.into(),
            timestamp: (now / 1_000_000) as u32,
        };
        let sent = reply(packet, seen, scratch, own)?;
        refusals.answered += 1;
        give(giver, now);
        return Ok(Outcome::of(Ok(sent)));
    }
    // SAFETY: a word of a map.
    if read_once(unsafe { &(*giver).good }) <= now || is_connected(packet.ctx()) {
        return on;
    }
    let Some(scratch) = scratch(&packet, seen) else {
        return on;
    };
    if segment.acknowledges() && is_valid(seen, scratch) {
        refusals.accepted += 1;
        return on;
    }
    refuse(&packet, place, policy.flags, DropReason::SynCookie as u32)?;
    on
}

/// Is the kernel to get one more SYN of a service? Not where another CPU has just taken what there was.
#[inline(always)]
fn spares(giver: *mut Giver, syns: &Limit, now: u64) -> bool {
    // SAFETY: a word of a map.
    let word = unsafe { &raw mut (*giver).done };
    // SAFETY: as above.
    let done = unsafe { word.read_volatile() };
    let Some(next) = syns.take(done, now) else {
        return false;
    };
    // SAFETY: an aligned word of a map.
    unsafe { atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(word, done, next).1 }
}

/// Has a packet of the flow with this stamp gone on to the kernel lately, as far as is known?
#[inline(always)]
fn may_be_connected(now: u64, left: u8) -> bool {
    let from = stamps_from();
    from == 0 || now < from || kept::is_fresh(left, now)
}

/// A service has given out a cookie. Not stored each time: other CPUs read it.
#[inline(always)]
fn give(giver: *mut Giver, now: u64) {
    // SAFETY: a word of a map.
    let good = unsafe { &raw mut (*giver).good };
    let until = now + VALID;
    // SAFETY: as above.
    unsafe {
        if good.read_volatile() + SOON < until {
            good.write_volatile(until);
        }
    }
}

/// A header's length, 20 to 60, as the verifier believes it: that it is something, and not too much, is in its arithmetic. LLVM
/// finds such a mask superfluous.
#[inline(always)]
fn bounded(length: u32) -> u32 {
    let mut behind = u64::from(length.wrapping_sub(SHORTEST));
    // SAFETY: the instruction has no effect but its result.
    unsafe {
        asm!(
            "{behind} &= 63",
            behind = inout(reg) behind,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    SHORTEST + behind as u32
}

/// The headers of a packet, copied; `None` where its TCP header is cut, which the kernel sees to.
#[inline(always)]
fn scratch(packet: &Packet, seen: &Seen) -> Option<&'static mut Scratch> {
    // SAFETY: this CPU's element, which nobody else writes.
    let scratch = unsafe { &mut *SCRATCH.get_ptr_mut(0)? };
    let offset = packet.peek_mut::<[u8; 20]>(seen.l4())?;
    // SAFETY: inside of what `peek` checked.
    let words = unsafe { (*offset)[12] >> 4 } as u32;
    if !(5..=15).contains(&words) {
        return None;
    }
    let length = bounded(words * 4);
    // SAFETY: the kernel's own context, and a buffer that is as long.
    let copied = unsafe { bpf_xdp_load_bytes(packet.ctx(), seen.l4() as u32, scratch.tcp.as_mut_ptr().cast(), length) };
    if copied != 0 {
        return None;
    }
    scratch.length = length;
    let (Ipv6Be([a, b]), Ipv6Be([c, d])) = (seen.key.source, seen.key.destination);
    if seen.v4 != 0 {
        // Its addresses are the fourth and the fifth of five words of 32 bits.
        scratch.ip[1] = u64::from(seen.key.source.last_v4().0) << 32;
        scratch.ip[2] = u64::from(seen.key.destination.last_v4().0);
    } else {
        scratch.ip = [0, a, b, c, d];
    }
    Some(scratch)
}

/// Reads what a SYN offers. A round of the loop is as long as all that most SYNs need.
#[inline(always)]
fn read_options(scratch: &mut Scratch) {
    if let Some(offer) = of_linux(&scratch.tcp, scratch.length) {
        scratch.offer = offer;
        return;
    }
    scratch.next = SHORTEST;
    // SAFETY: the callback takes nothing.
    unsafe { bpf_loop(OPTIONS, read_option as *mut c_void, core::ptr::null_mut(), 0) };
}

/// One option; 1 ends the loop. The verifier walks through a callback once, and through a loop of our own once for each round
/// and each thing that is offered.
unsafe extern "C" fn read_option(_: u32, _: *mut c_void) -> u64 {
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else {
        return 1;
    };
    // SAFETY: this CPU's element, which nobody else is at.
    let scratch = unsafe { &mut *scratch };
    let mut offer = scratch.offer;
    scratch.next = read(&scratch.tcp, scratch.length, scratch.next, &mut offer);
    scratch.offer = offer;
    u64::from(scratch.next == 0)
}

/// The cookie for a SYN, and the segment size that it keeps; negative where there is none.
#[inline(always)]
fn make(seen: &Seen, scratch: &mut Scratch) -> i64 {
    let length = bounded(scratch.length);
    let (ip, tcp) = (scratch.ip.as_mut_ptr(), scratch.tcp.as_mut_ptr().cast::<tcphdr>());
    // SAFETY: headers as long as they say, in a map.
    unsafe {
        if seen.v4 != 0 {
            bpf_tcp_raw_gen_syncookie_ipv4(ip.cast::<iphdr>(), tcp, length)
        } else {
            bpf_tcp_raw_gen_syncookie_ipv6(ip.cast::<ipv6hdr>(), tcp, length)
        }
    }
}

/// Does it send a cookie back that the kernel takes?
#[inline(always)]
fn is_valid(seen: &Seen, scratch: &mut Scratch) -> bool {
    let (ip, tcp) = (scratch.ip.as_mut_ptr(), scratch.tcp.as_mut_ptr().cast::<tcphdr>());
    // SAFETY: as above.
    let checked = unsafe {
        if seen.v4 != 0 {
            bpf_tcp_raw_check_syncookie_ipv4(ip.cast::<iphdr>(), tcp)
        } else {
            bpf_tcp_raw_check_syncookie_ipv6(ip.cast::<ipv6hdr>(), tcp)
        }
    };
    checked == 0
}

/// Has the kernel a socket for this flow, one that does not just listen?
#[inline(always)]
fn is_connected(ctx: *mut xdp_md) -> bool {
    fulcrum_connected(ctx) != 0
}

/// A global function: the verifier looks at it once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn fulcrum_connected(ctx: *mut xdp_md) -> u32 {
    let Ok(seen) = Seen::of_this_cpu() else {
        return 0;
    };
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else {
        return 0;
    };
    // Not on the stack, of which the functions that call each other here have 512 bytes together (docs/verifier-notes.md).
    // SAFETY: this CPU's element, which nobody else writes.
    let tuple = unsafe { &mut (*scratch).tuple };
    let (Ipv6Be([a, b]), Ipv6Be([c, d])) = (seen.key.source, seen.key.destination);
    let ports = seen.key.ports.word() as u32;
    let size = if seen.v4 != 0 {
        tuple[0] = seen.key.source.last_v4().0;
        tuple[1] = seen.key.destination.last_v4().0;
        tuple[2] = ports;
        12
    } else {
        let half = |word: u64| [word as u32, (word >> 32) as u32];
        let ([a, b], [c, d]) = ([half(a), half(b)], [half(c), half(d)]);
        *tuple = [a[0], a[1], b[0], b[1], c[0], c[1], d[0], d[1], ports];
        36
    };
    let tuple = tuple.as_mut_ptr().cast::<bpf_sock_tuple>();
    /// `BPF_F_CURRENT_NETNS`: that of the interface.
    const HERE: u64 = u64::MAX;
    // SAFETY: a tuple of one of the two sizes.
    let socket = unsafe {
        if size == 12 {
            bpf_skc_lookup_tcp(ctx.cast(), tuple, 12, HERE, 0)
        } else {
            bpf_skc_lookup_tcp(ctx.cast(), tuple, 36, HERE, 0)
        }
    };
    if socket.is_null() {
        return 0;
    }
    // SAFETY: a socket that is ours until it is released.
    unsafe {
        let state = (*socket).state;
        bpf_sk_release(socket.cast());
        u32::from(state != LISTENS)
    }
}

/// Turns a SYN into its answer.
#[inline(always)]
fn reply(packet: Packet, seen: &Seen, scratch: &Scratch, own: Own) -> Step<Sent> {
    let tcp = &scratch.tcp;
    let word = |at: usize| u32::from_ne_bytes([tcp[at], tcp[at + 1], tcp[at + 2], tcp[at + 3]]);
    let offer = scratch.offer;
    let own = Own {
        timestamp: timestamp(&offer, own.timestamp),
        ..own
    };
    let (mut header, words) = answer(word(0), word(4), &offer, &own);
    let length = words * 4;
    let (Ipv6Be([a, b]), Ipv6Be([c, d])) = (seen.key.source, seen.key.destination);
    // Of IPv4 too: what maps it into IPv6 is the same in both, and taken out again.
    let half = |word: u64| (word & 0xffff_ffff) + (word >> 32);
    let mut sum = if seen.v4 != 0 {
        (b >> 32) + (d >> 32)
    } else {
        half(a) + half(b) + half(c) + half(d)
    };
    sum += u64::from((length as u16).to_be()) + u64::from(u16::from(protocol::TCP).to_be());
    let mut i = 0;
    while i < WORDS {
        sum += u64::from(header[i]);
        i += 1;
    }
    header[4] = u32::from(csum::fold_wide(sum));
    let (l3, l4) = if seen.v4 != 0 {
        (seen.l3(), seen.l3() + 20)
    } else {
        (seen.l3(), seen.l3() + 40)
    };
    let end = l4 + length as usize;
    // Mostly it is as long as what it answers.
    let packet = if seen.bytes as usize == end {
        packet
    } else {
        packet.cut(end)?
    };
    // First, as above.
    let sent = transmit::back(packet.at::<EthHdr>(0)?);
    if seen.v4 != 0 {
        network_v4(&packet, seen, l3, length as u16)?;
        transport(&packet, l4, &header, words)?;
    } else {
        network_v6(&packet, seen, l3, length as u16)?;
        transport(&packet, l4, &header, words)?;
    }
    Ok(sent)
}

#[inline(always)]
fn transport(packet: &Packet, at: usize, header: &[u32; WORDS], words: u32) -> Step<()> {
    let [a, b, c, d, e, f, g, h, i, j] = *header;
    // SAFETY: `at` has checked each of them.
    unsafe {
        packet.at::<[u32; 6]>(at)?.write_unaligned([a, b, c, d, e, f]);
        if words > 6 {
            packet.at::<[u32; 3]>(at + 24)?.write_unaligned([g, h, i]);
        }
        if words > 9 {
            packet.at::<[u32; 1]>(at + 36)?.write_unaligned([j]);
        }
    }
    Ok(())
}

#[inline(always)]
fn network_v4(packet: &Packet, seen: &Seen, at: usize, length: u16) -> Step<()> {
    let total = u32::from((20 + length).to_be());
    let (from, to) = (seen.key.destination.last_v4().0, seen.key.source.last_v4().0);
    let mut header = [
        0x45 | total << 16,
        0x0040 << 16,
        64 | u32::from(protocol::TCP) << 8,
        from,
        to,
    ];
    let sum = header.iter().map(|&word| u64::from(word)).sum();
    header[2] |= u32::from(csum::fold_wide(sum)) << 16;
    let place = packet.at::<[u32; 5]>(at)?;
    // SAFETY: `at` checked it.
    unsafe { place.write_unaligned(header) };
    Ok(())
}

#[inline(always)]
fn network_v6(packet: &Packet, seen: &Seen, at: usize, length: u16) -> Step<()> {
    let first = u64::from((6_u32 << 28).to_be());
    let Ipv6Be([a, b]) = seen.key.destination;
    let Ipv6Be([c, d]) = seen.key.source;
    let second = u64::from(length.to_be()) << 32 | u64::from(protocol::TCP) << 48 | 64 << 56;
    let place = packet.at::<[u64; 5]>(at)?;
    // SAFETY: `at` checked it.
    unsafe { place.write_unaligned([first | second, a, b, c, d]) };
    Ok(())
}
