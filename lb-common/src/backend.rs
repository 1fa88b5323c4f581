//! Members: where a backend of a service is, and how to reach it.

use crate::addr::{Ipv6Be, Mac, PortBe};
use crate::limits::NICS;

/// A MAC address and 16 bits of flags in one word, so that both change in one atomic store.
///
/// The MAC lies in the first six bytes in memory.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct MacFlags(pub u64);

impl MacFlags {
    /// Flag: health lets the member serve.
    pub const ALIVE: u16 = 1;
    /// Flag: the next hop is known.
    pub const RESOLVED: u16 = 2;
    /// Flag: packets keep their port, since the service has many; the member's own port is where it is probed.
    pub const KEEPS_PORT: u16 = 4;
    /// Flag: the member is this node itself. Its next hop counts as known, but there is neither a link nor a MAC to send from: no
    /// packet carries such a destination, so each is left to the kernel, as is what was not sent to this node.
    pub const NODE: u16 = 8;

    /// `mac` with `flags`.
    pub const fn new(mac: Mac, flags: u16) -> Self {
        let [a, b, c, d, e, f] = mac.0;
        let [y, z] = flags.to_ne_bytes();
        Self(u64::from_ne_bytes([a, b, c, d, e, f, y, z]))
    }

    /// The address.
    #[inline(always)]
    pub const fn mac(self) -> Mac {
        let [a, b, c, d, e, f, _, _] = self.0.to_ne_bytes();
        Mac([a, b, c, d, e, f])
    }

    /// The flags.
    #[inline(always)]
    pub const fn flags(self) -> u16 {
        let [.., y, z] = self.0.to_ne_bytes();
        u16::from_ne_bytes([y, z])
    }
}

/// Element of `NICS`: the MAC of an interface that the program is on. Frames for a VIP that carry another destination
/// are somebody else's.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Nic(pub u64);

impl Nic {
    /// The place of an interface.
    #[inline(always)]
    pub const fn place(interface: u32) -> u32 {
        interface & (NICS - 1)
    }

    /// Interface `interface` has this MAC.
    #[inline(always)]
    pub const fn new(interface: u32, mac: Mac) -> Self {
        Self(MacFlags::new(mac, Self::tag(interface)).0)
    }

    /// The rest of the interface's index, and a bit that tells an element from an empty one.
    const fn tag(interface: u32) -> u16 {
        (interface / NICS) as u16 | 1 << 15
    }

    /// Was a frame whose first 8 bytes are `head`, and that came in on `interface`, sent to it?
    #[inline(always)]
    pub const fn is_addressed(self, interface: u32, head: u64) -> bool {
        const MAC_BITS: u64 = 0xffff_ffff_ffff;
        self.0 == (head & MAC_BITS | (Self::tag(interface) as u64) << 48)
    }
}

/// Element of `BACKENDS`: a member, in one cache line.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// The backend's address; IPv4 mapped into IPv6. All zero: no member here.
    pub address: Ipv6Be,
    /// MAC of the next hop towards the backend, and the flags of [`MacFlags`].
    pub next_hop: MacFlags,
    /// MAC of the node's own interface on that link: source of what is forwarded, and, as flags are 0, the
    /// destination that a packet must carry to have been meant for this node.
    pub local: MacFlags,
    /// Interface index of that link.
    pub interface: u32,
    /// The backend's port.
    pub port: PortBe,
    /// `nat`: first of the ports that flows get on [`Self::source`], in host order. `tunnel`: see [`Self::outer`].
    pub first_port: u16,
    /// `nat`: the address that the backend sees as the client's; all zero for the client's own. `tunnel`: the source of
    /// outer packets, without the bits that vary with the flow.
    pub source: Ipv6Be,
    /// `nat`: how long a flow may be silent, in [`crate::nat::Ticks`]. `tunnel`: see [`Self::outer`].
    pub idle: u32,
    /// `nat`: how many ports there are; 0 where the node has no source to show.
    pub ports: u16,
    /// Its share of new flows, where living flows are compared.
    pub weight: u16,
}

/// What `tunnel` puts around a packet, besides the addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outer {
    /// Most bytes of an outer packet, from its IP header on.
    pub mtu: u16,
    /// How many low bits of the source vary with the flow: at most 32.
    pub varied: u8,
    /// Sum (RFC 1071, not complemented) over the outer IPv4 header as far as it is the same in every packet: all but the type of service,
    /// the total length, the protocol and the bits that vary.
    pub sum: u16,
}

impl Member {
    /// Does this element hold a member?
    pub fn exists(&self) -> bool {
        self.address != Ipv6Be::default()
    }

    /// Is it this node itself?
    #[inline(always)]
    #[must_use]
    pub const fn is_node(&self) -> bool {
        self.next_hop.flags() & MacFlags::NODE != 0
    }

    /// `tunnel`: what goes around a packet.
    #[inline(always)]
    #[must_use]
    pub const fn outer(&self) -> Outer {
        Outer {
            mtu: self.first_port,
            varied: (self.idle >> 16) as u8,
            sum: self.idle as u16,
        }
    }

    /// The member with what `tunnel` puts around a packet.
    #[must_use]
    pub const fn with_outer(self, outer: Outer) -> Self {
        Self {
            first_port: outer.mtu,
            idle: outer.sum as u32 | (outer.varied as u32) << 16,
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nic_knows_its_frames() {
        let nic = Nic::new(5, Mac([2, 0, 0, 0, 0, 7]));
        let head = |last| u64::from_ne_bytes([2, 0, 0, 0, 0, last, 0xaa, 0xbb]);
        assert!(nic.is_addressed(5, head(7)));
        assert!(!nic.is_addressed(5, head(8)) && !nic.is_addressed(5 + NICS, head(7)));
        assert_eq!(Nic::place(5), Nic::place(5 + NICS));
        assert!(
            !Nic::default().is_addressed(0, 0),
            "nobody has the MAC of an empty place"
        );
    }

    #[test]
    fn mac_and_flags_share_a_word() {
        let mac = Mac([2, 0, 0, 0xaa, 0xbb, 0xcc]);
        let both = MacFlags::new(mac, MacFlags::ALIVE | MacFlags::RESOLVED);
        assert_eq!((both.mac(), both.flags()), (mac, 3));
        assert_eq!(both.0.to_ne_bytes()[..6], mac.0);
    }
}
