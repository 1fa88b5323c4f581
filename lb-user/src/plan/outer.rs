//! What `tunnel` puts around packets for a backend, as far as it is known before they come.

use std::net::{IpAddr, Ipv4Addr};

use lb_common::addr::Ipv6Be;
use lb_common::backend::Outer;
use lb_common::csum;

use crate::model::Tunnel;

/// Taken where the way to the backend is not known: the MTU of Ethernet.
const MTU: u16 = 1500;

/// The source of outer packets to `backend`, without the bits that vary, and the rest; `mtu` is that of the way there,
/// 0 while it is not known.
pub(super) fn outer(tunnel: &Tunnel, backend: IpAddr, mtu: u16) -> (Ipv6Be, Outer) {
    let mtu = if mtu == 0 { MTU } else { mtu };
    match backend {
        IpAddr::V4(destination) => {
            let (source, varied) = tunnel.source_v4;
            let sum = sum_v4(source, destination);
            (Ipv6Be::mapped(source.into()), Outer { mtu, varied, sum })
        }
        IpAddr::V6(_) => {
            let (source, varied) = tunnel.source_v6;
            // IPv6 has no checksum in its header.
            (Ipv6Be::mapped(source.into()), Outer { mtu, varied, sum: 0 })
        }
    }
}

/// Version 4, and five words of header: RFC 791 §3.1.
const VERSION_IHL: u8 = 0x45;
/// Hops that an outer packet may take.
const TTL: u8 = 64;
/// Flag "don't fragment", in the first of the two bytes where it stands.
const DONT_FRAGMENT: u8 = 0x40;

/// Sum (RFC 1071, not complemented) over an IPv4 header in which only the type of service, the total length, the
/// identification and the protocol are still to be said, by words as [`csum`] loads them from a packet.
fn sum_v4(source: Ipv4Addr, destination: Ipv4Addr) -> u16 {
    let mut header = [0; 20];
    header[0] = VERSION_IHL;
    header[6] = DONT_FRAGMENT;
    header[8] = TTL;
    header[12..16].copy_from_slice(&source.octets());
    header[16..].copy_from_slice(&destination.octets());
    let words = header
        .as_chunks()
        .0
        .iter()
        .map(|&word| u32::from(u16::from_ne_bytes(word)));
    !csum::fold(words.sum())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The checksum of a header in which the checksum is 0: RFC 1071 §4.1, by big-endian words.
    fn reference(header: &[u8; 20]) -> u16 {
        let mut sum = 0u32;
        for word in header.chunks(2) {
            sum += u32::from(word[0]) << 8 | u32::from(word[1]);
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    /// The checksum as the program makes it, in the order of the packet's bytes.
    fn finished(sum: u16, rest: &[[u8; 2]]) -> [u8; 2] {
        let rest = rest.iter().map(|&word| u32::from(u16::from_ne_bytes(word)));
        csum::fold(u32::from(sum) + rest.sum::<u32>()).to_ne_bytes()
    }

    #[test]
    fn a_header_from_a_textbook() {
        // 4500 0073 0000 4000 4011 b861 c0a8 0001 c0a8 00c7: UDP over IPv4 with DF and a TTL of 64, as in many texts.
        let sum = sum_v4([192, 168, 0, 1].into(), [192, 168, 0, 199].into());
        assert_eq!(finished(sum, &[[0x00, 0x73], [0x00, 0x11]]), [0xb8, 0x61]);
    }

    #[test]
    fn each_family_has_its_source() {
        let tunnel = Tunnel {
            source_v4: ([10, 0, 0, 0].into(), 8),
            source_v6: ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0].into(), 32),
        };
        let (source, v4) = outer(&tunnel, [10, 1, 0, 6].into(), 1400);
        assert_eq!(source.to_ip(), IpAddr::from([10, 0, 0, 0]));
        let sum = sum_v4([10, 0, 0, 0].into(), [10, 1, 0, 6].into());
        assert_eq!(
            v4,
            Outer {
                mtu: 1400,
                varied: 8,
                sum
            }
        );
        let (source, v6) = outer(&tunnel, "2001:db8:1::6".parse().unwrap(), 0);
        assert_eq!(source.to_ip(), "2001:db8::".parse::<IpAddr>().unwrap());
        assert_eq!(
            v6,
            Outer {
                mtu: 1500,
                varied: 32,
                sum: 0
            }
        );
    }

    proptest! {
        #[test]
        fn what_is_added_later_makes_it_whole(
            source: [u8; 4], destination: [u8; 4], tos: u8, length: [u8; 2], id: [u8; 2], protocol: u8, varied: [u8; 2],
        ) {
            // The lower half of the source varies.
            let base = [source[0], source[1], 0, 0];
            let sum = sum_v4(base.into(), destination.into());
            let checksum = finished(sum, &[[0, tos], length, id, [0, protocol], varied]);
            let mut header = [0x45, tos, length[0], length[1], id[0], id[1], 0x40, 0, 64, protocol, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            header[12..16].copy_from_slice(&[base[0], base[1], varied[0], varied[1]]);
            header[16..].copy_from_slice(&destination);
            prop_assert_eq!(u16::from_be_bytes(checksum), reference(&header));
        }
    }
}
