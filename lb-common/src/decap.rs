//! Whose outer packets the far end of a tunnel opens.

use crate::addr::Ipv6Be;

/// Prefixes that can be given.
pub const SOURCES: u32 = 16;

/// Addresses that agree with `base` in the bits of `mask`; IPv4 is mapped. All zeros: every address.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sources {
    /// The bits of the prefix, and zeros.
    pub base: Ipv6Be,
    /// Which bits those are.
    pub mask: Ipv6Be,
}

impl Sources {
    /// Everybody.
    pub const ALL: Self = Self {
        base: Ipv6Be([0; 2]),
        mask: Ipv6Be([0; 2]),
    };

    /// The first `length` bits of an address, which may be an IPv4 address mapped into 128 bits.
    pub const fn new(address: Ipv6Be, length: u8) -> Self {
        let bits = if length == 0 {
            0
        } else {
            u128::MAX << (128 - if length > 128 { 128 } else { length as u32 })
        };
        let mask = Ipv6Be::new(bits.to_be_bytes());
        let base = Ipv6Be([address.0[0] & mask.0[0], address.0[1] & mask.0[1]]);
        Self { base, mask }
    }

    /// Is it one of them?
    #[inline(always)]
    pub const fn holds(&self, address: Ipv6Be) -> bool {
        (address.0[0] & self.mask.0[0]) ^ self.base.0[0] | (address.0[1] & self.mask.0[1]) ^ self.base.0[1] == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Ipv6Be {
        Ipv6Be::mapped(text.parse().unwrap())
    }

    #[test]
    fn a_prefix_holds_what_begins_with_it() {
        for (base, length, inside, outside) in [
            ("10.1.2.3", 96 + 8, "10.255.0.1", "11.0.0.1"),
            ("172.16.0.0", 96 + 16, "172.16.255.255", "172.17.0.0"),
            ("10.0.0.7", 128, "10.0.0.7", "10.0.0.6"),
            ("2001:db8::", 33, "2001:db8:7fff::1", "2001:db8:8000::1"),
            ("2001:db8::1", 128, "2001:db8::1", "2001:db8::3"),
            ("0.0.0.0", 96, "255.255.255.255", "2001:db8::1"),
        ] {
            let sources = Sources::new(address(base), length);
            assert!(sources.holds(address(inside)), "{base}/{length} {inside}");
            assert!(!sources.holds(address(outside)), "{base}/{length} {outside}");
        }
    }

    #[test]
    fn what_nobody_has_set_is_everybody() {
        assert_eq!(Sources::ALL, Sources::new(address("::"), 0));
        assert!(Sources::ALL.holds(address("10.0.0.1")) && Sources::ALL.holds(address("2001:db8::1")));
    }
}
