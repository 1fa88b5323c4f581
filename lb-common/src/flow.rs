//! Flows: the 5-tuple of a packet, and its hash.

use crate::addr::{Ipv4Be, Ipv6Be, PortBe};
use crate::hash::{Key, siphash13};
use crate::nat::NatKey;

/// Source and destination port as they lie in a TCP or UDP header: one load.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ports {
    /// The sender's port.
    pub source: PortBe,
    /// The receiver's port.
    pub destination: PortBe,
}

impl Ports {
    /// Both, as one word of a hash or a checksum.
    #[inline(always)]
    pub const fn word(self) -> u64 {
        self.source.0 as u64 | (self.destination.0 as u64) << 16
    }

    /// From the low half of such a word.
    #[inline(always)]
    pub const fn from_word(word: u64) -> Self {
        Self {
            source: PortBe(word as u16),
            destination: PortBe((word >> 16) as u16),
        }
    }
}

/// Flow over IPv4. Its hash is that of the 13 bytes source, destination, source port, destination port, protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowV4 {
    /// Who sends.
    pub source: Ipv4Be,
    /// The VIP.
    pub destination: Ipv4Be,
    /// Both ports.
    pub ports: Ports,
    /// IP protocol number.
    pub protocol: u8,
}

impl FlowV4 {
    /// The hash whose low bits choose the slot.
    #[inline(always)]
    pub fn hash(&self, seed: impl Into<Key>) -> u64 {
        siphash13(
            seed.into(),
            [
                self.source.0 as u64 | (self.destination.0 as u64) << 32,
                self.ports.word() | (self.protocol as u64) << 32 | 13 << 56,
            ],
        )
    }

    /// The hash of the source address alone, its 4 bytes.
    #[inline(always)]
    pub fn hash_source(&self, seed: impl Into<Key>) -> u64 {
        siphash13(seed.into(), [self.source.0 as u64 | 4 << 56])
    }
}

impl From<FlowV4> for NatKey {
    #[inline(always)]
    fn from(flow: FlowV4) -> Self {
        Self {
            source: Ipv6Be::mapped_v4(flow.source),
            destination: Ipv6Be::mapped_v4(flow.destination),
            ports: flow.ports,
            protocol: flow.protocol as u32,
        }
    }
}

impl From<FlowV6> for NatKey {
    #[inline(always)]
    fn from(flow: FlowV6) -> Self {
        Self {
            source: flow.source,
            destination: flow.destination,
            ports: flow.ports,
            protocol: flow.protocol as u32,
        }
    }
}

/// Flow over IPv6; hashed like [`FlowV4`], as 37 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowV6 {
    /// Who sends.
    pub source: Ipv6Be,
    /// The VIP.
    pub destination: Ipv6Be,
    /// Both ports.
    pub ports: Ports,
    /// IP protocol number.
    pub protocol: u8,
}

impl FlowV6 {
    /// The hash whose low bits choose the slot.
    #[inline(always)]
    pub fn hash(&self, seed: impl Into<Key>) -> u64 {
        let Ipv6Be([s0, s1]) = self.source;
        let Ipv6Be([d0, d1]) = self.destination;
        siphash13(
            seed.into(),
            [
                s0,
                s1,
                d0,
                d1,
                self.ports.word() | (self.protocol as u64) << 32 | 37 << 56,
            ],
        )
    }

    /// The hash of the source address alone, its 16 bytes.
    #[inline(always)]
    pub fn hash_source(&self, seed: impl Into<Key>) -> u64 {
        let Ipv6Be([s0, s1]) = self.source;
        siphash13(seed.into(), [s0, s1, 16 << 56])
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use core::hash::Hasher as _;
    use proptest::prelude::*;
    use std::vec::Vec;

    use super::*;
    use crate::hash::Seed;

    fn reference(seed: [u64; 2], message: &[u8]) -> u64 {
        let mut hasher = siphasher::sip::SipHasher13::new_with_keys(seed[0], seed[1]);
        hasher.write(message);
        hasher.finish()
    }

    proptest! {
        #[test]
        fn v4_is_siphash_of_the_packed_tuple(seed: [u64; 2], s: [u8; 4], d: [u8; 4], sp: u16, dp: u16, protocol: u8) {
            let flow = FlowV4 {
                source: Ipv4Be::new(s),
                destination: Ipv4Be::new(d),
                ports: Ports { source: PortBe::new(sp), destination: PortBe::new(dp) },
                protocol,
            };
            let packed: Vec<u8> = s.into_iter().chain(d).chain(sp.to_be_bytes()).chain(dp.to_be_bytes()).chain([protocol]).collect();
            prop_assert_eq!(flow.hash(Seed(seed)), reference(seed, &packed));
            prop_assert_eq!(flow.hash_source(Seed(seed)), reference(seed, &s));
        }

        #[test]
        fn v6_is_siphash_of_the_packed_tuple(seed: [u64; 2], s: [u8; 16], d: [u8; 16], sp: u16, dp: u16, protocol: u8) {
            let flow = FlowV6 {
                source: Ipv6Be::new(s),
                destination: Ipv6Be::new(d),
                ports: Ports { source: PortBe::new(sp), destination: PortBe::new(dp) },
                protocol,
            };
            let packed: Vec<u8> = s.into_iter().chain(d).chain(sp.to_be_bytes()).chain(dp.to_be_bytes()).chain([protocol]).collect();
            prop_assert_eq!(flow.hash(Seed(seed)), reference(seed, &packed));
            prop_assert_eq!(flow.hash_source(Seed(seed)), reference(seed, &s));
        }
    }
}
