//! What a ring is asked with. Every node with the same seed gets the same.

use std::hash::Hasher as _;
use std::net::IpAddr;

use lb_common::hash::Seed;
use siphasher::sip::SipHasher13;

/// Of a client's address: what the program asks rings of `source-hash` with, so a client keeps its backend when its
/// service becomes one of the proxy, or ceases to be.
#[must_use]
pub fn source(seed: Seed, client: IpAddr) -> u64 {
    match client.to_canonical() {
        IpAddr::V4(ip) => bytes(seed, &ip.octets()),
        IpAddr::V6(ip) => bytes(seed, &ip.octets()),
    }
}

/// Of a path, or of a header's or a cookie's value.
#[must_use]
pub fn bytes(seed: Seed, value: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(seed.0[0], seed.0[1]);
    hasher.write(value);
    hasher.finish()
}

/// Another one of the same.
pub(super) fn again(seed: Seed, hash: u64, times: u32) -> u64 {
    lb_common::hash::siphash13(seed.into(), [hash, u64::from(times) | 12 << 56])
}

#[cfg(test)]
mod tests {
    use lb_common::addr::{Ipv4Be, Ipv6Be};
    use lb_common::hash::siphash13;

    use super::*;

    #[test]
    fn the_program_asks_with_the_same() {
        let seed = Seed([1, 2]);
        let v4 = std::net::Ipv4Addr::new(192, 0, 2, 7);
        let word = u64::from(Ipv4Be::from(v4).0);
        assert_eq!(source(seed, v4.into()), siphash13(seed.into(), [word | 4 << 56]));
        assert_eq!(source(seed, v4.to_ipv6_mapped().into()), source(seed, v4.into()));
        let v6: std::net::Ipv6Addr = "2001:db8::7".parse().unwrap();
        let Ipv6Be([high, low]) = Ipv6Be::from(v6);
        assert_eq!(source(seed, v6.into()), siphash13(seed.into(), [high, low, 16 << 56]));
    }

    #[test]
    fn again_is_the_hash_of_twelve_bytes() {
        let seed = Seed([3, 4]);
        let mut message = 77u64.to_le_bytes().to_vec();
        message.extend(5u32.to_le_bytes());
        assert_eq!(again(seed, 77, 5), bytes(seed, &message));
    }
}
