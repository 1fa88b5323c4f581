//! Members: where a backend of a service is, and how to reach it.

use crate::addr::{Ipv6Be, Mac, PortBe};

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
    #[doc(hidden)]
    pub pad: [u8; 26],
}

impl Member {
    /// Does this element hold a member?
    pub fn exists(&self) -> bool {
        self.address != Ipv6Be::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mac_and_flags_share_a_word() {
        let mac = Mac([2, 0, 0, 0xaa, 0xbb, 0xcc]);
        let both = MacFlags::new(mac, MacFlags::ALIVE | MacFlags::RESOLVED);
        assert_eq!((both.mac(), both.flags()), (mac, 3));
        assert_eq!(both.0.to_ne_bytes()[..6], mac.0);
    }
}
