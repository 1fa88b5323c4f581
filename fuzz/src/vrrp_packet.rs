//! Advertisements of VRRP: what is read is what a plain reader finds there, and written again it reads the same.
//!
//! An input is an advertisement, behind a byte of bits: it travels over IPv6; by multicast; its checksum is made right first,
//! as that of [`SUMS`] that the next bit says, since nobody finds one by chance.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use lb_user::ha::packet::{Advertisement, GROUP_V4, GROUP_V6};
use lb_user::model::vrrp::VrrpVersion;

use crate::input::Input;

/// Whether a pseudo-header is in it: always in version 3 (RFC 5798), never in version 2.
const SUMS: [bool; 2] = [true, false];

/// Panics when an advertisement is not read as it should.
pub fn check(data: &[u8]) {
    let mut input = Input(data);
    let way = input.u8();
    let (v6, multicast) = (way & 1 == 1, way & 2 == 2);
    let (source, peer, group) = if v6 {
        let node = |host| IpAddr::from(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, host));
        (node(1), node(2), IpAddr::from(GROUP_V6))
    } else {
        let node = |host| IpAddr::from(Ipv4Addr::new(192, 0, 2, host));
        (node(1), node(2), IpAddr::from(GROUP_V4))
    };
    let destination = if multicast { group } else { peer };
    let mut bytes = input.0.to_vec();
    if way & 4 == 4 && bytes.len() >= 8 {
        bytes[6..8].fill(0);
        let of_both = SUMS[usize::from(way & 8 == 8)];
        let sum = checksum(&bytes, of_both.then_some((source, destination)));
        bytes[6..8].copy_from_slice(&sum.to_be_bytes());
    }
    let Ok(read) = Advertisement::decode(&bytes, source, destination) else {
        return;
    };
    plainly(&read, &bytes, v6);
    // What version 2 said about authentication is not said again.
    let known = Advertisement {
        authentication: 0,
        ..read
    };
    let written = known.encode(source, destination);
    assert_eq!(written.len(), bytes.len());
    assert_eq!(Advertisement::decode(&written, source, destination), Ok(known));
}

/// RFC 1071, with a pseudo-header where it has travelled between these.
fn checksum(bytes: &[u8], between: Option<(IpAddr, IpAddr)>) -> u16 {
    let mut all = bytes.to_vec();
    if all.len() % 2 == 1 {
        all.push(0);
    }
    if let Some((source, destination)) = between {
        for address in [source, destination] {
            match address {
                IpAddr::V4(v4) => all.extend(v4.octets()),
                IpAddr::V6(v6) => all.extend(v6.octets()),
            }
        }
        all.extend([0, 112]);
        all.extend((bytes.len() as u32).to_be_bytes());
    }
    // One's complement: the sum modulo 65,535.
    let words = all
        .chunks_exact(2)
        .map(|word| u64::from(word[0]) << 8 | u64::from(word[1]));
    !((words.sum::<u64>() % 0xffff) as u16)
}

/// Does it say what stands there?
fn plainly(read: &Advertisement, bytes: &[u8], v6: bool) {
    let units = match read.version {
        VrrpVersion::V2 => Duration::from_secs(u64::from(bytes[5])),
        VrrpVersion::V3 => Duration::from_millis(10) * (u32::from(bytes[4] % 16) * 256 + u32::from(bytes[5])),
    };
    assert!(bytes[0] == read.version.number() * 16 + 1 && (read.version == VrrpVersion::V3 || !v6));
    assert_eq!((read.id, read.priority, read.interval), (bytes[1], bytes[2], units));
    assert!(!read.interval.is_zero() && !read.addresses.is_empty());
    assert_eq!(read.addresses.len(), usize::from(bytes[3]));
    let mut rest = &bytes[8..];
    for address in &read.addresses {
        let octets = match address {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        assert!(address.is_ipv6() == v6 && rest.starts_with(&octets));
        rest = &rest[octets.len()..];
    }
    let behind = if read.version == VrrpVersion::V2 { 8 } else { 0 };
    assert_eq!(rest.len(), behind);
}
