extern crate std;

use std::vec;
use std::vec::Vec;

use super::ipv6::{Lost, Walked, next, walk};
use super::*;
use crate::slot::{Packet, Said};
use crate::stats::DropReason;

const TCP: u8 = 6;

fn tcp(flags: u8, data: usize) -> Vec<u8> {
    let mut bytes = vec![0; 20 + data];
    bytes[4..8].copy_from_slice(&7u32.to_be_bytes());
    bytes[12] = 5 << 4;
    bytes[13] = flags;
    bytes
}

#[test]
fn tags_are_stepped_over_two_at_most() {
    let frame = |types: &[u16]| -> Vec<u8> {
        let mut bytes = vec![0; 12];
        for (i, t) in types.iter().enumerate() {
            if i > 0 {
                bytes.extend([0, 5]);
            }
            bytes.extend(t.to_be_bytes());
        }
        bytes
    };
    let read = |types: &[u16]| Ethernet::read(&Bytes(&frame(types))).map(|e| (e.ether_type.to_be(), e.l3));
    assert_eq!(read(&[0x0800]), Some((0x0800, 14)));
    assert_eq!(read(&[0x8100, 0x86dd]), Some((0x86dd, 18)));
    assert_eq!(read(&[0x88a8, 0x8100, 0x0800]), Some((0x0800, 22)));
    assert_eq!(read(&[0x8100, 0x8100, 0x8100, 0x0800]), Some((0x8100, 22)));
    assert_eq!(read(&[]), None);
    assert_eq!(read(&[0x8100]), None);
}

#[test]
fn segments_say_what_they_do() {
    let read = |flags, data| Segment::read(&Bytes(&tcp(flags, data)), TCP, 0, 20 + data).unwrap();
    assert_eq!(read(0x02, 0).packet(), Packet::Syn(7));
    assert_eq!(read(0x12, 0).packet(), Packet::Segment(7));
    assert_eq!(read(0x14, 0).packet(), Packet::Reset(7));
    assert_eq!(read(0x02, 0).said(), Said::Sends);
    assert_eq!(read(0x10, 0).said(), Said::Nothing);
    assert_eq!(read(0x10, 1).said(), Said::Sends);
    assert_eq!(read(0x11, 1).said(), Said::Ends);
    assert_eq!(Segment::MENTION.packet(), Packet::Mention);
    let malformed = |offset: u8, length| {
        let mut bytes = tcp(0x10, 40);
        bytes[12] = offset << 4;
        Segment::read(&Bytes(&bytes), TCP, 0, length)
    };
    assert_eq!(malformed(4, 60), Err(DropReason::MalformedTcp));
    assert_eq!(malformed(6, 20), Err(DropReason::MalformedTcp));
    assert_eq!(Segment::read(&Bytes(&[0; 19]), TCP, 0, 20), Err(DropReason::Truncated));
    let udp = |length: u8| Segment::read(&Bytes(&[0, 0, 0, 0, 0, length, 0, 0]), 17, 0, 8);
    assert_eq!(udp(8).map(Segment::packet), Ok(Packet::Datagram));
    assert_eq!(
        (udp(7), udp(9)),
        (Err(DropReason::MalformedUdp), Err(DropReason::MalformedUdp))
    );
}

#[test]
fn extension_headers_are_walked() {
    let walked = |protocol, offset, part| Ok(Walked { protocol, offset, part });
    assert_eq!(walk(&Bytes(&[]), TCP, 40), walked(TCP, 40, Part::WHOLE));
    // Hop-by-hop of 16 bytes, destination options of 8, authentication of 24.
    let mut bytes = vec![next::DESTINATION, 1];
    bytes.resize(16, 0);
    bytes.extend([next::AUTHENTICATION, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend([TCP, 4]);
    bytes.resize(48, 0);
    assert_eq!(walk(&Bytes(&bytes), next::HOP_BY_HOP, 0), walked(TCP, 48, Part::WHOLE));
    assert_eq!(walk(&Bytes(&bytes[..17]), next::HOP_BY_HOP, 0), Err(Lost::Truncated));
    let fragment = |place: u16| {
        let [a, b] = place.to_be_bytes();
        walk(&Bytes(&[TCP, 0, a, b, 1, 2, 3, 4]), next::FRAGMENT, 0)
    };
    let id = u32::from_ne_bytes([1, 2, 3, 4]);
    assert_eq!(fragment(1), walked(TCP, 8, Part::first(id)));
    assert_eq!(fragment(8), walked(TCP, 8, Part::later(id)));
    assert_eq!(fragment(0), walked(TCP, 8, Part::WHOLE), "RFC 6946");
    let endless = [next::ROUTING, 0, 0, 0, 0, 0, 0, 0].repeat(10);
    assert_eq!(walk(&Bytes(&endless), next::ROUTING, 0), Err(Lost::TooMany));
}
