//! Errors about packets of flows: unreachable, too big, time exceeded, parameter problem. They quote the packet that they
//! are about, which went to the client, or in `nat` to the backend.
//!
//! Turned around, what is quoted is a packet of the flow in the direction that the maps know. In `dsr` and `tunnel` the
//! error goes to the flow's backend as it is, and in `proxy` to the kernel. In `nat` it goes to the other side of the
//! translation, and what it quotes is what that side has sent (RFC 5508 §4).

use lb_common::addr::{Ipv4Be, Ipv6Be, PortBe};
use lb_common::backend::MacFlags;
use lb_common::csum;
use lb_common::flow::Ports;
use lb_common::nat::{NatKey, Translation};
use lb_common::parse::{Frame as _, Ipv4, Ipv6, l4};
use lb_common::select::{self, read_once};
use lb_common::service::Mode;
use lb_common::stats::DropReason;
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use crate::find::find;
use crate::forward::nat;
use crate::maps::{Maps, NAT, NAT_REPLY};
use crate::packet::Packet;
use crate::seen::Seen;
use crate::stats;
use crate::transmit::{self, Way};
use crate::verdict::{Outcome, Sent, Step, Stop};

/// Bytes of an ICMP header of either version.
const HEADER: usize = 8;

/// Bytes of the transport header that are always quoted (RFC 792).
const QUOTED: usize = 8;

/// Offset of what lies behind the packet.
#[inline(always)]
const fn end(seen: &Seen) -> usize {
    seen.l3() + seen.total as usize
}

/// Is it an error message (RFC 1122 §3.2.2, RFC 4443 §2.1)?
#[inline(always)]
pub(super) const fn is_error(seen: &Seen, kind: u8) -> bool {
    if seen.v4 != 0 {
        matches!(kind, 3 | 11 | 12)
    } else {
        matches!(kind, 1..=4)
    }
}

/// Sends the error to whom it concerns. One that goes to a member as it is, the caller forwards, as what `seen` has become.
#[inline(always)]
pub(super) fn follow(packet: &Packet, seen: &'static mut Seen) -> Outcome {
    match send(packet, seen) {
        Err(Stop::More) => Outcome::FORWARD,
        sent => Outcome::of(sent),
    }
}

/// What an error quotes.
#[derive(Clone, Copy)]
struct Quote {
    /// The flow of what it quotes, turned around.
    flow: NatKey,
    /// Offset of the quoted network header.
    l3: usize,
    /// Offset of what follows that.
    l4: usize,
}

#[inline(always)]
fn send(packet: &Packet, seen: &'static mut Seen) -> Step<Sent> {
    let quote = quote(packet, seen).ok_or(Stop::Pass)?;
    seen.key = quote.flow;
    let seen = find(seen)?;
    match seen.service.mode() {
        Some(Mode::Dsr | Mode::Tunnel) => {
            seen.mention();
            Err(Stop::More)
        }
        // About a connection that ends in this node's kernel.
        Some(Mode::Proxy) => Err(Stop::Pass),
        Some(Mode::Nat) => {
            let entry = NAT.get_ptr_mut(&seen.key).ok_or(Stop::Pass)?;
            transmit::depart(packet, to_backend(packet, seen, &quote, entry)?)
        }
        _ => {
            let lease = NAT_REPLY.get_ptr_mut(&seen.key).ok_or(Stop::Pass)?;
            transmit::for_this_node(packet)?;
            // SAFETY: the entry lies in a map.
            let flow = unsafe { &*lease };
            translate(packet, seen, &quote, flow, true)?;
            stats::answered(flow.member, seen.bytes as usize);
            let way = Way::new(packet, read_once(&flow.client), read_once(&flow.local), flow.interface);
            transmit::depart(packet, way)
        }
    }
}

/// Translates an error for the flow's backend, and says how that is reached.
#[inline(always)]
fn to_backend(packet: &Packet, seen: &Seen, quote: &Quote, entry: *mut Translation) -> Step<Way> {
    transmit::for_this_node(packet)?;
    // SAFETY: the entry lies in a map.
    let flow = unsafe { &*entry };
    let known = select::backend_of(&Maps, flow, quote.flow.protocol as u8);
    let (id, member) = known.ok_or(Stop::Drop(DropReason::NoBackend))?;
    let next_hop = read_once(&member.next_hop);
    if next_hop.flags() & MacFlags::RESOLVED == 0 {
        return Err(Stop::Drop(DropReason::Unresolved));
    }
    translate(packet, seen, quote, flow, false)?;
    stats::forwarded(id, seen.bytes as usize, false);
    Ok(Way::new(packet, next_hop, read_once(&member.local), member.interface))
}

/// Reads what the error quotes: the network header, without options or extension headers, and the ports.
#[inline(always)]
fn quote(packet: &Packet, seen: &Seen) -> Option<Quote> {
    let l3 = seen.l4() + HEADER;
    let (source, destination, protocol, l4) = if seen.v4 != 0 {
        let ip = Ipv4::read(packet, l3)?;
        if !ip.is_sound() || ip.part().is_later() {
            return None;
        }
        let (source, destination) = (Ipv6Be::mapped_v4(ip.source), Ipv6Be::mapped_v4(ip.destination));
        (source, destination, ip.protocol, l3 + ip.header())
    } else {
        let ip = Ipv6::read(packet, l3)?;
        (ip.source, ip.destination, ip.next, l3 + Ipv6::LEN)
    };
    if !l4::has_ports(protocol) {
        return None;
    }
    // What lies behind the packet is nobody's.
    if l4 + QUOTED > end(seen) {
        return None;
    }
    let ports = packet.read::<Ports>(l4)?;
    Some(Quote {
        flow: NatKey {
            source: destination,
            destination: source,
            ports: Ports {
                source: ports.destination,
                destination: ports.source,
            },
            protocol: protocol as u32,
        },
        l3,
        l4,
    })
}

/// Turns an error about a translated packet into one about the packet that it was: `flow` is the translation of the
/// quoted flow, turned around. `hides` says that the sender becomes the flow's VIP, since the client does not know the network
/// behind it.
#[inline(always)]
fn translate(packet: &Packet, seen: &Seen, quote: &Quote, flow: &Translation, hides: bool) -> Step<()> {
    // What the quoted packet's own sender and receiver were called.
    let (from, to) = (flow.destination, flow.source);
    let ports = Ports {
        source: flow.ports.destination,
        destination: flow.ports.source,
    };
    let protocol = quote.flow.protocol as u8;
    let mut change = Change(0);
    // The quoted transport header: eight bytes are always there (RFC 792), the checksum of TCP mostly.
    let place = packet.at::<Ports>(quote.l4)?;
    // SAFETY: `at` checked it.
    unsafe {
        change.of(word(place.read_unaligned()), word(ports));
        place.write_unaligned(ports);
    }
    let at = quote.l4 + l4::checksum_at(protocol);
    if at + 2 <= end(seen)
        && let Some(check) = packet.peek_mut::<u16>(at)
    {
        // SAFETY: `peek` checked it.
        unsafe {
            let before = check.read_unaligned();
            let after = nat::transport(protocol, before, flow.l4_delta);
            change.of(before.into(), after.into());
            check.write_unaligned(after);
        }
    }
    if seen.v4 != 0 {
        let inner = packet.at::<Ipv4Hdr>(quote.l3)?;
        let outer = packet.at::<Ipv4Hdr>(seen.l3())?;
        // SAFETY: `at` checked both.
        unsafe {
            (&raw mut (*inner).src_addr)
                .cast::<Ipv4Be>()
                .write_unaligned(from.last_v4());
            (&raw mut (*inner).dst_addr)
                .cast::<Ipv4Be>()
                .write_unaligned(to.last_v4());
            // The sum of a header and its checksum stays as it is, so the message's own does not see the addresses.
            let check = (&raw mut (*inner).check).cast::<u16>();
            check.write_unaligned(csum::apply(check.read_unaligned(), flow.ip_delta));
            let mut header = Change(0);
            let destination = (&raw mut (*outer).dst_addr).cast::<u32>();
            header.of(destination.read_unaligned(), from.last_v4().0);
            destination.write_unaligned(from.last_v4().0);
            if hides {
                let source = (&raw mut (*outer).src_addr).cast::<u32>();
                header.of(source.read_unaligned(), to.last_v4().0);
                source.write_unaligned(to.last_v4().0);
            }
            let check = (&raw mut (*outer).check).cast::<u16>();
            check.write_unaligned(header.apply(check.read_unaligned()));
        }
    } else {
        let inner = packet.at::<Ipv6Hdr>(quote.l3)?;
        let outer = packet.at::<Ipv6Hdr>(seen.l3())?;
        // SAFETY: `at` checked both.
        unsafe {
            change.address((&raw mut (*inner).src_addr).cast(), from);
            change.address((&raw mut (*inner).dst_addr).cast(), to);
            // The pseudo-header.
            change.address((&raw mut (*outer).dst_addr).cast(), from);
            if hides {
                change.address((&raw mut (*outer).src_addr).cast(), to);
            }
        }
    }
    let check = packet.at::<u16>(seen.l4() + 2)?;
    // SAFETY: `at` checked it.
    unsafe { check.write_unaligned(change.apply(check.read_unaligned())) };
    Ok(())
}

/// Both ports, as they lie in the header.
#[inline(always)]
const fn word(ports: Ports) -> u32 {
    let (PortBe(source), PortBe(destination)) = (ports.source, ports.destination);
    source as u32 | (destination as u32) << 16
}

/// What changes of the words that a checksum covers: the sum of their differences.
struct Change(u64);

impl Change {
    #[inline(always)]
    fn of(&mut self, old: u32, new: u32) {
        self.0 += u64::from(!old) + u64::from(new);
    }

    /// Changes an address of IPv6.
    ///
    /// # Safety
    /// `place` lies in the packet.
    #[inline(always)]
    unsafe fn address(&mut self, place: *mut [u32; 4], to: Ipv6Be) {
        // SAFETY: by the contract.
        let old = unsafe { place.read_unaligned() };
        let [a, b] = to.0;
        let new = [a as u32, (a >> 32) as u32, b as u32, (b >> 32) as u32];
        for i in 0..4 {
            self.of(old[i], new[i]);
        }
        // SAFETY: as above.
        unsafe { place.write_unaligned(new) };
    }

    /// The checksum after it.
    #[inline(always)]
    fn apply(&self, checksum: u16) -> u16 {
        let sum = (self.0 & 0xffff_ffff) + (self.0 >> 32);
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = (sum & 0xffff) + (sum >> 16);
        csum::apply(checksum, ((sum & 0xffff) + (sum >> 16)) as u16)
    }
}
