//! The answer to a SYN with a cookie, as Linux would send it.

use super::rewrite::Sent;
use super::{After, Packet};
use crate::packet;
use crate::packet::{ACK, SYN};

/// What a SYN offers.
#[derive(Clone, Copy, Debug, Default)]
struct Offer {
    timestamp: Option<u32>,
    scale: Option<u8>,
    sack: bool,
}

impl Offer {
    fn of(mut options: &[u8]) -> Self {
        let mut offer = Self::default();
        loop {
            options = match *options {
                [1, ref rest @ ..] => rest,
                [0, ..] | [] | [_] => return offer,
                [kind, length, ref rest @ ..] => {
                    let Some((data, rest)) = usize::from(length)
                        .checked_sub(2)
                        .and_then(|n| rest.split_at_checked(n))
                    else {
                        return offer;
                    };
                    match (kind, data) {
                        (3, &[scale]) => offer.scale = Some(scale.min(14)),
                        (4, &[]) => offer.sack = true,
                        (8, &[a, b, c, d, ..]) if data.len() == 8 => {
                            offer.timestamp = Some(u32::from_be_bytes([a, b, c, d]));
                        }
                        _ => {}
                    }
                    rest
                }
            };
        }
    }

    /// What a timestamp keeps of it, in its last six bits.
    fn kept(self) -> u32 {
        u32::from(self.scale.unwrap_or(15)) | u32::from(self.sack) << 4
    }
}

/// What a SYN becomes. The cookie, and the time in a timestamp, are the program's: the first is returned.
///
/// # Panics
/// When the timestamp is not of the time at which it ran.
pub(super) fn answer(frame: &[u8], packet: &Packet, after: &dyn After) -> (Sent, u32) {
    let syn = &frame[packet.l4..];
    let offer = Offer::of(&syn[20..usize::from(syn[12] >> 4) * 4]);
    let number = u32::from_be_bytes([syn[4], syn[5], syn[6], syn[7]]);
    let l4 = packet.l3 + if packet.v4 { 20 } else { 40 };
    let read = |at: usize| {
        let bytes = after.output().get(l4 + at..l4 + at + 4);
        bytes.map_or(0, |bytes| u32::from_be_bytes(bytes.try_into().expect("4 bytes")))
    };
    let cookie = read(4);
    let segment: u16 = if packet.v4 { 1460 } else { 1440 };
    let mut options = vec![2, 4];
    options.extend(segment.to_be_bytes());
    if let Some(theirs) = offer.timestamp {
        let stamp = read(28);
        let milliseconds = super::protect::clock(after);
        let milliseconds = milliseconds.start / 1_000_000..=milliseconds.end / 1_000_000;
        assert_eq!(stamp & 63, offer.kept(), "{offer:?}");
        // It is not in the future, and no older than what it keeps makes it.
        let fits = |now: u64| (now as u32).wrapping_sub(stamp) < 128;
        assert!(milliseconds.clone().any(fits), "{stamp} in {milliseconds:?}");
        options.extend(if offer.sack { [4, 2] } else { [1, 1] });
        options.extend([8, 10]);
        options.extend(stamp.to_be_bytes());
        options.extend(theirs.to_be_bytes());
        if offer.scale.is_some() {
            options.extend([1, 3, 3, 7]);
        }
    }
    let mut tcp = [&syn[2..4], &syn[..2]].concat();
    tcp.extend(cookie.to_be_bytes());
    tcp.extend(number.wrapping_add(1).to_be_bytes());
    tcp.extend([(20 + options.len() as u8) << 2, SYN | ACK]);
    tcp.extend(64_240_u16.to_be_bytes());
    tcp.extend([0; 4]);
    tcp.extend(options);
    let sum = packet::pseudo(packet.destination, packet.source, 6, &tcp);
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    let mut sent = packet::ip(packet.destination, packet.source, 6, &tcp);
    if packet.v4 {
        sent[4..6].fill(0);
        sent[8] = 64;
        packet::fix_ipv4(&mut sent);
    } else {
        sent[..4].copy_from_slice(&[0x60, 0, 0, 0]);
        sent[7] = 64;
    }
    let ethernet = [&frame[6..12], &frame[..6], &frame[12..packet.l3]].concat();
    let sent = Sent {
        frame: [ethernet, sent].concat(),
        checksums: vec![l4 + 16],
    };
    (sent, cookie)
}
