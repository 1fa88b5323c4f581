//! Packets in every shape that one may have on the wire: with VLAN tags, options, extension headers, in fragments.

use lb_common::addr::Mac;

use crate::packet;

/// A customer's tag (802.1Q) and a provider's (802.1ad): their ether types.
pub const VLAN: u16 = 0x8100;
/// See [`VLAN`].
pub const PROVIDER: u16 = 0x88a8;

/// The frame of an IP packet behind tags, each an ether type and what follows it.
#[must_use]
pub fn tagged(destination: Mac, source: Mac, tags: &[(u16, u16)], packet: &[u8]) -> Vec<u8> {
    let mut payload = Vec::new();
    let mut kinds: Vec<u16> = tags.iter().map(|&(kind, _)| kind).collect();
    kinds.push(if packet[0] >> 4 == 6 { 0x86dd } else { 0x0800 });
    for (&(_, tag), kind) in tags.iter().zip(&kinds[1..]) {
        payload.extend(tag.to_be_bytes());
        payload.extend(kind.to_be_bytes());
    }
    payload.extend(packet);
    packet::ethernet(destination, source, kinds[0], &payload)
}

/// An IPv4 packet with these options, a multiple of 4 bytes.
#[must_use]
pub fn with_options(packet: &[u8], options: &[u8]) -> Vec<u8> {
    let total = packet.len() + options.len();
    let mut with = [&packet[..20], options, &packet[20..]].concat();
    with[0] = 0x45 + (options.len() / 4) as u8;
    with[2..4].copy_from_slice(&(total as u16).to_be_bytes());
    packet::fix_ipv4(&mut with);
    with
}

/// An IPv6 packet with these extension headers: kind, and all but its next header.
#[must_use]
pub fn with_extensions(packet: &[u8], headers: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut with = packet[..40].to_vec();
    let mut kinds: Vec<u8> = headers.iter().map(|&(kind, _)| kind).collect();
    kinds.push(packet[6]);
    with[6] = kinds[0];
    for ((_, rest), next) in headers.iter().zip(&kinds[1..]) {
        with.push(*next);
        with.extend(rest);
    }
    with.extend(&packet[40..]);
    let payload = (with.len() - 40) as u16;
    with[4..6].copy_from_slice(&payload.to_be_bytes());
    with
}

/// An extension header with lengths in units of 8 bytes beyond the first: its kind, and all but its next header.
#[must_use]
pub fn extension(kind: u8, more: u8) -> (u8, Vec<u8>) {
    let mut rest = vec![more, 1, 4];
    rest.resize(7 + usize::from(more) * 8, 0);
    (kind, rest)
}

/// An authentication header with so many words of 4 bytes beyond the first two.
#[must_use]
pub fn authentication(more: u8) -> (u8, Vec<u8>) {
    let mut rest = vec![more];
    rest.resize(7 + usize::from(more) * 4, 0xaa);
    (51, rest)
}

/// A packet in fragments, the first with `size` bytes, a multiple of 8, and the others likewise.
#[must_use]
pub fn fragments(packet: &[u8], size: usize, id: u16) -> Vec<Vec<u8>> {
    let v4 = packet[0] >> 4 == 4;
    let header = if v4 { usize::from(packet[0] & 0xf) * 4 } else { 40 };
    let (head, body) = packet.split_at(header);
    let pieces = body.chunks(size);
    let last = pieces.len() - 1;
    let fragment = |(i, piece): (usize, &[u8])| {
        let (place, more) = ((i * size) as u16, u16::from(i < last));
        if v4 {
            let mut fragment = [head, piece].concat();
            let total = fragment.len() as u16;
            fragment[2..4].copy_from_slice(&total.to_be_bytes());
            fragment[4..6].copy_from_slice(&id.to_be_bytes());
            fragment[6..8].copy_from_slice(&((place / 8) | (more << 13)).to_be_bytes());
            packet::fix_ipv4(&mut fragment);
            fragment
        } else {
            let [a, b] = (place | more).to_be_bytes();
            let [c, d] = id.to_be_bytes();
            let header = (44, vec![0, a, b, 0, 0, c, d]);
            with_extensions(&[head, piece].concat(), &[header])
        }
    };
    pieces.enumerate().map(fragment).collect()
}
