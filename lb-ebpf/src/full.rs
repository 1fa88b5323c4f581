//! Every packet that [`crate::fast`] does not decide: with VLAN tags, options, extension headers; fragments and packets in
//! pieces; to blocks of ports, to `nat` and from its backends; ICMP; and what is wanted by nobody.
//!
//! A program of its own, which the first one calls in its tail and which begins anew with the packet: so it has all of the
//! stack, and the verifier looks at each by itself. What it finds out about a packet is one [`Seen`], and what happens then is in functions that
//! get it.

use aya_ebpf::bindings::xdp_md;
use lb_common::addr::Ipv6Be;
use lb_common::flow::{FlowV4, FlowV6, Ports};
use lb_common::fragment::{Fragment, FragmentKey};
use lb_common::nat::NatKey;
use lb_common::parse::ipv6::{Lost, Walked, walk};
use lb_common::parse::{Ethernet, Frame as _, Ipv4, Ipv6, Part, Segment, ether_type, l4};
use lb_common::select::Tuple;
use lb_common::service::{Decision, Mode};
use lb_common::stats::DropReason;
use network_types::eth::EthHdr;

use crate::config::hash_seed;
use crate::flows::now;
use crate::forward::{self, Inner, nat};
use crate::icmp;
use crate::maps::{FRAGMENTS, Maps, SEEN};
use crate::packet::Packet;
use crate::transmit;
use crate::verdict::{Outcome, Sent, Step, Stop};

/// What is known of a packet.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Seen {
    /// Its 5-tuple. Of a fragment that is not the first, the ports that the first one had; of other protocols than TCP and
    /// UDP, no ports.
    pub(crate) key: NatKey,
    /// Its service, or [`Decision::NONE`].
    pub(crate) service: Decision,
    /// What is known of its destination address.
    pub(crate) address: Decision,
    /// Bytes of the IP packet.
    pub(crate) total: u32,
    /// Bytes of the frame.
    pub(crate) bytes: u32,
    /// Offset of what follows the network header and its extension headers.
    pub(crate) l4: u16,
    /// Bytes of VLAN tags.
    pub(crate) tags: u8,
    /// Type of service, or traffic class.
    pub(crate) tos: u8,
    /// 1 for IPv4, 0 for IPv6.
    pub(crate) v4: u8,
    /// 0 all of a packet, 1 its first fragment, 2 another one.
    pub(crate) part: u8,
    /// 1 for an ICMP error about a flow: it is not answered with another one (RFC 1122 §3.2.2).
    pub(crate) mentions: u8,
    pub(crate) pad: u8,
}

impl Seen {
    /// Of the packet that this CPU is at.
    #[inline(always)]
    pub(crate) fn of_this_cpu() -> Step<&'static mut Self> {
        let seen = SEEN.get_ptr_mut(0).ok_or(Stop::Drop(DropReason::Inconsistent))?;
        // SAFETY: nobody else is at this CPU's element, and what calls what shares this one.
        Ok(unsafe { &mut *seen })
    }

    /// The hash that chooses its slot.
    #[inline(always)]
    pub(crate) fn hash(&self) -> u64 {
        let choice = self.service.choice();
        if self.v4 != 0 {
            self.flow_v4().hash_for(choice, hash_seed())
        } else {
            self.flow_v6().hash_for(choice, hash_seed())
        }
    }

    #[inline(always)]
    const fn flow_v4(&self) -> FlowV4 {
        FlowV4 {
            source: self.key.source.last_v4(),
            destination: self.key.destination.last_v4(),
            ports: self.key.ports,
            protocol: self.protocol(),
        }
    }

    #[inline(always)]
    const fn flow_v6(&self) -> FlowV6 {
        FlowV6 {
            source: self.key.source,
            destination: self.key.destination,
            ports: self.key.ports,
            protocol: self.protocol(),
        }
    }

    /// Looks up its destination address and its service. Takes the reference, and gives another one: what is looked up is
    /// written behind the back of this one.
    #[inline(always)]
    pub(crate) fn find(&'static mut self) -> Step<&'static mut Self> {
        fulcrum_find();
        Self::of_this_cpu()
    }

    /// A later fragment: there is no header of TCP or UDP.
    #[inline(always)]
    pub(crate) const fn is_later(&self) -> bool {
        self.part == 2
    }

    /// It is only an error about the flow that it has become by now.
    #[inline(always)]
    pub(crate) const fn mention(&mut self) {
        self.mentions = 1;
    }

    /// Offset of the network header, with a bound that the verifier sees.
    #[inline(always)]
    pub(crate) const fn l3(&self) -> usize {
        EthHdr::LEN + (self.tags & 0xc) as usize
    }

    /// Offset of what follows, likewise: less than what extension headers may reach.
    #[inline(always)]
    pub(crate) const fn l4(&self) -> usize {
        (self.l4 & 0x7ff) as usize
    }

    /// Bytes from there on.
    #[inline(always)]
    pub(crate) const fn length(&self) -> usize {
        (self.total as usize + self.l3()).wrapping_sub(self.l4())
    }

    /// TCP or UDP, or what it was before it was fragmented.
    #[inline(always)]
    pub(crate) const fn protocol(&self) -> u8 {
        self.key.protocol as u8
    }

    /// What its header says, if it has one.
    #[inline(always)]
    pub(crate) fn segment(&self, packet: &Packet) -> Step<Segment> {
        if self.is_later() || self.mentions != 0 {
            return Ok(Segment::MENTION);
        }
        // Of a first fragment, TCP and UDP say how long all of the packet is.
        let length = if self.part == 1 {
            if self.length() < l4::shortest(self.protocol()) {
                return Err(Stop::Drop(DropReason::Truncated));
            }
            usize::from(u16::MAX)
        } else {
            self.length()
        };
        Ok(Segment::read(packet, self.protocol(), self.l4(), length)?)
    }

    #[inline(always)]
    pub(crate) const fn inner(&self) -> Inner {
        Inner {
            v4: self.v4 != 0,
            tags: (self.tags & 0xc) as usize,
            total: self.total as usize,
            tos: self.tos,
        }
    }
}

/// The longest way over extension headers that is gone.
const FARTHEST: usize = 0x7ff - 64;

/// What becomes of a packet.
#[inline(always)]
pub(crate) fn ingress(packet: &Packet) -> Step<Outcome> {
    let truncated = Stop::Drop(DropReason::Truncated);
    let Some(Ethernet { ether_type, l3 }) = Ethernet::read(packet) else {
        return Err(truncated);
    };
    let seen = Seen::of_this_cpu()?;
    *seen = Seen {
        key: NatKey {
            source: Ipv6Be([0; 2]),
            destination: Ipv6Be([0; 2]),
            ports: Ports::default(),
            protocol: 0,
        },
        service: Decision::NONE,
        address: Decision::NONE,
        total: 0,
        bytes: packet.whole() as u32,
        l4: 0,
        tags: (l3 - EthHdr::LEN) as u8,
        tos: 0,
        v4: 0,
        part: 0,
        mentions: 0,
        pad: 0,
    };
    match ether_type {
        ether_type::IPV4 => {
            let Some(ip) = Ipv4::read(packet, seen.l3()) else {
                return Err(truncated);
            };
            seen.v4 = 1;
            seen.key.source = Ipv6Be::mapped_v4(ip.source);
            seen.key.destination = Ipv6Be::mapped_v4(ip.destination);
            seen.tos = ip.tos;
            seen.total = ip.total() as u32;
            let sound = ip.is_sound() && ip.fits(seen.l3(), seen.bytes as usize);
            let layers = Layers {
                protocol: ip.protocol,
                l4: (seen.l3() + ip.header()) as u32,
                part: ip.part(),
                fault: if sound {
                    NO_FAULT
                } else {
                    DropReason::MalformedIpv4 as u32
                },
            };
            decide(packet, seen, layers)
        }
        ether_type::IPV6 => {
            let Some(ip) = Ipv6::read(packet, seen.l3()) else {
                return Err(truncated);
            };
            seen.key.source = ip.source;
            seen.key.destination = ip.destination;
            seen.tos = ip.tos();
            seen.total = (Ipv6::LEN + ip.payload()) as u32;
            let mut layers = extensions(packet, ip.next, (seen.l3() + Ipv6::LEN) as u32);
            // A header may say to be longer than the packet.
            let end = seen.l3() as u32 + seen.total;
            if !ip.is_sound(seen.l3(), seen.bytes as usize) || layers.fault == NO_FAULT && layers.l4 > end {
                layers.fault = DropReason::MalformedIpv6 as u32;
            }
            decide(packet, seen, layers)
        }
        _ => Err(Stop::Pass),
    }
}

/// What lies behind a network header.
#[derive(Clone, Copy)]
struct Layers {
    protocol: u8,
    l4: u32,
    part: Part,
    /// Code of the reason why it may not be believed, or [`NO_FAULT`].
    fault: u32,
}

/// No drop reason has this code.
const NO_FAULT: u32 = 0;

/// What the extension headers from `offset` on lead to.
#[inline(always)]
fn extensions(packet: &Packet, next: u8, offset: u32) -> Layers {
    let packed = fulcrum_walk(packet.ctx(), next.into(), offset);
    let id = (packed >> 32) as u32;
    Layers {
        protocol: packed as u8,
        l4: (packed >> 8) as u32 & 0xfff,
        part: match packed >> 20 & 3 {
            0 => Part::WHOLE,
            1 => Part::first(id),
            _ => Part::later(id),
        },
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
            let kind = if part.is_whole() {
                0
            } else if part.is_first() {
                1
            } else {
                2
            };
            u64::from(protocol) | (offset as u64) << 8 | kind << 20 | u64::from(part.id) << 32
        }
        Err(Lost::Truncated) => fault(DropReason::Truncated),
        Err(Lost::TooMany) => fault(DropReason::ExtensionHeaders),
    }
}

#[inline(always)]
fn decide(packet: &Packet, seen: &'static mut Seen, layers: Layers) -> Step<Outcome> {
    let Layers { protocol, l4, part, .. } = layers;
    let mut fault = layers.fault;
    if fault == NO_FAULT {
        seen.key.protocol = protocol.into();
        seen.l4 = l4 as u16;
        seen.part = if part.is_whole() {
            0
        } else if part.is_first() {
            1
        } else {
            2
        };
        if l4::has_ports(protocol) {
            let ports = if part.is_later() {
                fault = DropReason::Fragment as u32;
                recall(part.id)
            } else {
                fault = DropReason::Truncated as u32;
                packet.read::<Ports>(seen.l4())
            };
            if let Some(ports) = ports {
                seen.key.ports = ports;
                fault = NO_FAULT;
            }
        }
    }
    let seen = seen.find()?;
    // What is nobody's is judged by nobody.
    if !seen.address.exists() && !nat::may_answer(seen.address) {
        return Err(Stop::Pass);
    }
    if fault != NO_FAULT {
        transmit::for_this_node(packet)?;
        return Ok(judged(seen.address, fault));
    }
    if !l4::has_ports(protocol) {
        let outcome = icmp::message(packet);
        return Ok(if outcome.raw() == Outcome::FORWARD.raw() {
            forward(packet)
        } else {
            outcome
        });
    }
    if part.is_first() {
        teach(part.id);
    }
    match seen.service.mode() {
        Some(Mode::Nat) => Ok(nat::send(packet)),
        Some(Mode::Dsr | Mode::Tunnel) => Ok(forward(packet)),
        _ => {
            if nat::may_answer(seen.address) {
                let answered = nat::answer(packet);
                if answered.raw() != Outcome::UNKNOWN.raw() {
                    return Ok(answered);
                }
            }
            if !seen.address.is_vip() {
                return Err(Stop::Pass);
            }
            transmit::for_this_node(packet)?;
            Err(unwanted(seen.address, DropReason::Undeclared))
        }
    }
}

/// Remembers the ports of a fragmented packet.
#[inline(always)]
fn teach(id: u32) {
    fulcrum_fragment(id, 1);
}

/// The ports of a packet whose first fragment has been seen.
#[inline(always)]
fn recall(id: u32) -> Option<Ports> {
    let known = fulcrum_fragment(id, 0);
    (known >> 32 != 0).then(|| Ports::from_word(known))
}

/// Teaches or recalls: ports in the low half, and whether they are known in the high one. A global function, for its
/// stack.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn fulcrum_fragment(id: u32, teaches: u32) -> u64 {
    let Ok(seen) = Seen::of_this_cpu() else {
        return 0;
    };
    let key = fragment_key(&seen.key, id);
    let now = now();
    if teaches != 0 {
        let fragment = Fragment {
            ports: seen.key.ports,
            seen: now,
        };
        let _ = FRAGMENTS.insert(&key, &fragment, 0);
        return 0;
    }
    // SAFETY: two words, copied at once; another packet's would be as wrong as none.
    match unsafe { FRAGMENTS.get(&key) } {
        Some(known) if known.is_current(now) => known.ports.word() | 1 << 32,
        _ => 0,
    }
}

#[inline(always)]
fn fragment_key(flow: &NatKey, id: u32) -> FragmentKey {
    FragmentKey {
        source: flow.source,
        destination: flow.destination,
        id,
        protocol: flow.protocol,
    }
}

/// Looks up a packet's destination address and its service. A global function: the verifier walks through its loop once,
/// and its stack is its own.
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
        let service = if seen.v4 != 0 {
            seen.flow_v4().block(&Maps, free)
        } else {
            seen.flow_v6().block(&Maps, free)
        };
        if service.is_service() {
            seen.service = service;
            break;
        }
    }
    0
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
        let (address, service) = (flow.address(&Maps), flow.service(&Maps));
        Self {
            address,
            service,
            blocks: if service.is_service() { 0 } else { address.blocks() },
        }
    }
}

/// To a member that answers the client itself.
#[inline(always)]
fn forward(packet: &Packet) -> Outcome {
    Outcome::from_raw(fulcrum_forward(packet.ctx()))
}

/// A global function: the verifier looks at it once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn fulcrum_forward(ctx: *mut xdp_md) -> u32 {
    let Ok(seen) = Seen::of_this_cpu() else {
        return 0;
    };
    let packet = Packet::of(ctx);
    let sent = seen.segment(&packet).and_then(|segment| {
        forward::direct(
            packet,
            &seen.inner(),
            seen.service,
            seen.hash(),
            seen.key,
            segment,
            seen.bytes as usize,
        )
    });
    match sent {
        // Nobody is told of what only belongs to something else (RFC 1122 §3.2.2).
        Err(Stop::TooBig(mtu)) if seen.mentions == 0 && !seen.is_later() => icmp::too_big(ctx, mtu),
        sent => Outcome::of(sent).raw(),
    }
}

/// What becomes of a packet for an address that no service wants: dropped for `reason`, or left to the kernel.
#[inline(always)]
pub(crate) fn unwanted(address: Decision, reason: DropReason) -> Stop {
    if address.has(Decision::DROP_UNDECLARED) && address.is_vip() {
        Stop::Drop(reason)
    } else {
        Stop::Pass
    }
}

/// The same for a reason's code.
#[inline(always)]
fn judged(address: Decision, code: u32) -> Outcome {
    if address.has(Decision::DROP_UNDECLARED) && address.is_vip() {
        Outcome::dropped(code)
    } else {
        Outcome::of(Err(Stop::Pass))
    }
}

/// The action of the program.
#[inline(always)]
pub(crate) fn outcome(step: Step<Outcome>) -> Outcome {
    match step {
        Ok(outcome) => outcome,
        Err(stop) => Outcome::of(Err::<Sent, _>(stop)),
    }
}
