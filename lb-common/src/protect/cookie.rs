//! SYN cookies (RFC 4987 §3.6) as Linux makes and takes them: what a SYN offers, and the answer to it.
//!
//! Of what a client offers, the cookie itself keeps the segment size, and the timestamp of the answer, which the client sends
//! back, keeps the rest: so who sends no timestamps has neither window scaling nor selective acknowledgements. Layout of the
//! timestamp and order of the options are those of the kernel (`cookie_init_timestamp`, `tcp_synack_options`), since it is the
//! kernel that takes them back.

/// Bytes of the shortest TCP header.
pub const SHORTEST: u32 = 20;

/// Most options of a header: each takes a byte at least.
pub const OPTIONS: u32 = 40;

/// Bytes that a header is kept in: a longer one than there is, so that no offset into it has to be compared with its end.
pub const ROOM: usize = 88;

/// What a SYN offers. Zeros: nothing.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// 1 with timestamps (RFC 7323 §3).
    pub timestamps: u32,
    /// The client's, in host order.
    pub timestamp: u32,
    /// 1 with window scaling (RFC 7323 §2).
    pub scales: u32,
    /// By how much, 0 to 14.
    pub scale: u32,
    /// 1 with selective acknowledgements (RFC 2018).
    pub sack: u32,
}

/// Kinds of options (RFC 9293 §3.1, RFC 7323, RFC 2018).
mod kind {
    pub(super) const END: u8 = 0;
    pub(super) const NONE: u8 = 1;
    pub(super) const SEGMENT_SIZE: u8 = 2;
    pub(super) const SCALE: u8 = 3;
    pub(super) const SACK: u8 = 4;
    pub(super) const TIMESTAMPS: u8 = 8;
}

/// The most that windows are scaled by (RFC 7323 §2.3).
const MOST_SCALE: u32 = 14;

/// Reads the option at `next`, 20 at first, of a header of `length` bytes; where the one behind it is, or 0 when there is none.
/// An option that is cut ends the list.
#[inline(always)]
#[must_use]
pub const fn read(header: &[u8; ROOM], length: u32, next: u32, offer: &mut Offer) -> u32 {
    let at = (next & 63) as usize;
    if next >= length || header[at] == kind::END {
        return 0;
    }
    if header[at] == kind::NONE {
        return next + 1;
    }
    let size = header[at + 1] as u32;
    if size < 2 || next + size > length {
        return 0;
    }
    match (header[at], size) {
        (kind::SCALE, 3) => {
            offer.scales = 1;
            let scale = header[at + 2] as u32;
            offer.scale = if scale > MOST_SCALE { MOST_SCALE } else { scale };
        }
        (kind::SACK, 2) => offer.sack = 1,
        (kind::TIMESTAMPS, 10) => {
            offer.timestamps = 1;
            offer.timestamp = u32::from_be_bytes([header[at + 2], header[at + 3], header[at + 4], header[at + 5]]);
        }
        _ => {}
    }
    next + size
}

/// What a SYN offers whose options are those of Linux with nothing switched off, in its order (`tcp_options_write`); `None` for
/// every other.
#[inline(always)]
#[must_use]
pub const fn of_linux(header: &[u8; ROOM], length: u32) -> Option<Offer> {
    /// Segment size, and selective acknowledgements with timestamps: as words.
    const SEGMENT_SIZE: u32 = (kind::SEGMENT_SIZE as u32) << 8 | 4;
    const SACK_TIMESTAMPS: u32 = (kind::SACK as u32) << 24 | 2 << 16 | (kind::TIMESTAMPS as u32) << 8 | 10;
    const SCALE: u32 = (kind::NONE as u32) << 16 | (kind::SCALE as u32) << 8 | 3;
    let words = header.as_chunks::<4>().0;
    let scale = u32::from_be_bytes(words[9]);
    if length != 40
        || u32::from_be_bytes(words[5]) >> 16 != SEGMENT_SIZE
        || u32::from_be_bytes(words[6]) != SACK_TIMESTAMPS
        || scale >> 8 != SCALE
        || scale & 0xff > MOST_SCALE
    {
        return None;
    }
    Some(Offer {
        timestamps: 1,
        timestamp: u32::from_be_bytes(words[7]),
        scales: 1,
        scale: scale & 0xff,
        sack: 1,
    })
}

/// Bits of a timestamp that keep what is offered.
const KEEPS: u32 = 6;

/// The timestamp of an answer at `now`, in milliseconds: it keeps what is offered, and is not in the future.
#[inline(always)]
#[must_use]
pub const fn timestamp(offer: &Offer, now: u32) -> u32 {
    let scale = if offer.scales != 0 { offer.scale } else { 15 };
    let kept = scale | offer.sack << 4;
    let stamp = now >> KEEPS << KEEPS | kept;
    if stamp > now {
        stamp.wrapping_sub(1 << KEEPS)
    } else {
        stamp
    }
}

/// Words of the longest answer's header.
pub const WORDS: usize = 10;

/// What the node says of itself.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Own {
    /// The number that the cookie is.
    pub cookie: u32,
    /// Bytes of the largest segment that it takes.
    pub segment: u32,
    /// What it scales its windows by.
    pub scale: u32,
    /// [`timestamp`].
    pub timestamp: u32,
}

/// A window before it is scaled, which it is not in a SYN: what Linux offers with a segment size of 1,460.
const WINDOW: u32 = 64_240;

/// The header that answers a SYN whose header has these first two words, as they lie there; without checksum. And how many
/// of its words there are: 6, 9 or 10.
#[inline(always)]
#[must_use]
pub const fn answer(ports: u32, number: u32, offer: &Offer, own: &Own) -> ([u32; WORDS], u32) {
    let words = if offer.timestamps == 0 {
        6
    } else if offer.scales == 0 {
        9
    } else {
        10
    };
    // Data offset, SYN and ACK, and the window.
    let flags = words << 28 | 0x12 << 16 | WINDOW;
    // Without selective acknowledgements two bytes of nothing stand in their place.
    let sack = if offer.sack != 0 {
        (kind::SACK as u32) << 24 | 2 << 16
    } else {
        (kind::NONE as u32) << 24 | (kind::NONE as u32) << 16
    };
    let mut header = [
        ports.rotate_left(16),
        own.cookie.to_be(),
        u32::from_be(number).wrapping_add(1).to_be(),
        flags.to_be(),
        0,
        ((kind::SEGMENT_SIZE as u32) << 24 | 4 << 16 | own.segment).to_be(),
        0,
        0,
        0,
        0,
    ];
    if words > 6 {
        header[6] = (sack | (kind::TIMESTAMPS as u32) << 8 | 10).to_be();
        header[7] = own.timestamp.to_be();
        header[8] = offer.timestamp.to_be();
    }
    if words > 9 {
        header[9] = ((kind::NONE as u32) << 24 | (kind::SCALE as u32) << 16 | 3 << 8 | own.scale).to_be();
    }
    (header, words)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use proptest::prelude::*;
    use std::vec::Vec;

    use super::*;

    /// What a header with these options offers. Those of Linux are read alike in both ways.
    fn read(options: &[u8]) -> Offer {
        let mut header = [0xee; ROOM];
        header[SHORTEST as usize..][..options.len()].copy_from_slice(options);
        let length = SHORTEST + options.len() as u32;
        let (mut offer, mut next) = (Offer::default(), SHORTEST);
        for _ in 0..OPTIONS {
            next = super::read(&header, length, next, &mut offer);
            if next == 0 {
                break;
            }
        }
        let at_once = of_linux(&header, length);
        assert!(at_once.is_none_or(|at_once| at_once == offer));
        assert_eq!(at_once.is_some(), options.len() == 20 && is_of_linux(options));
        offer
    }

    /// Are these the options of Linux, with these numbers or others?
    fn is_of_linux(options: &[u8]) -> bool {
        let likewise = [0, 1, 4, 5, 6, 7, 16, 17, 18]
            .iter()
            .all(|&at| options[at] == LINUX[at]);
        likewise && options[19] <= 14
    }

    /// As Linux sends it.
    const LINUX: [u8; 20] = [2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 1, 2, 0, 0, 0, 0, 1, 3, 3, 7];

    #[test]
    fn what_is_offered_is_read() {
        let all = Offer {
            timestamps: 1,
            timestamp: 258,
            scales: 1,
            scale: 7,
            sack: 1,
        };
        assert_eq!(read(&LINUX), all);
        assert_eq!(read(&[2, 4, 5, 180]), Offer::default());
        assert_eq!(read(&[]), Offer::default());
        assert_eq!(read(&[3, 3, 200, 0]).scale, 14);
        // Behind the end there is nothing, and what is cut is not there.
        assert_eq!(read(&[0, 4, 2, 1]), Offer::default());
        assert_eq!(read(&[1, 1, 8, 10]), Offer::default());
        assert_eq!(read(&[4, 0, 3, 3]), Offer::default());
        let longest: Vec<u8> = [1; 20].into_iter().chain(LINUX).collect();
        assert_eq!(read(&longest), all);
    }

    #[test]
    fn the_answer_is_that_of_linux() {
        let own = Own {
            cookie: 0x0102_0304,
            segment: 1460,
            scale: 7,
            timestamp: 0xa0b0_c0d7,
        };
        let ports = u32::from_ne_bytes([0x30, 0x39, 0, 80]);
        let bytes = |options: &[u8]| -> Vec<u8> {
            let (header, words) = answer(ports, 0xffff_ffff_u32.to_be(), &read(options), &own);
            header
                .iter()
                .take(words as usize)
                .flat_map(|word| word.to_ne_bytes())
                .collect()
        };
        let head = |words: u8| {
            [
                0,
                80,
                0x30,
                0x39,
                1,
                2,
                3,
                4,
                0,
                0,
                0,
                0,
                words << 4,
                0x12,
                250,
                240,
                0,
                0,
                0,
                0,
            ]
        };
        let full = [
            2, 4, 5, 180, 4, 2, 8, 10, 0xa0, 0xb0, 0xc0, 0xd7, 0, 0, 1, 2, 1, 3, 3, 7,
        ];
        assert_eq!(bytes(&LINUX), [&head(10)[..], &full].concat());
        assert_eq!(bytes(&[2, 4, 5, 180]), [&head(6)[..], &[2, 4, 5, 180]].concat());
        let stamps = [1, 1, 8, 10, 0, 0, 1, 2, 0, 0, 0, 0];
        let without = [2, 4, 5, 180, 1, 1, 8, 10, 0xa0, 0xb0, 0xc0, 0xd7, 0, 0, 1, 2];
        assert_eq!(bytes(&stamps), [&head(9)[..], &without].concat());
    }

    proptest! {
        #[test]
        fn nonsense_is_read_without_harm(options in proptest::collection::vec(any::<u8>(), 0..=40)) {
            let read = read(&options);
            prop_assert!(read.scale <= 14 && read.sack <= 1 && read.scales <= 1 && read.timestamps <= 1);
        }

        /// As `cookie_timestamp_decode` takes it back.
        #[test]
        fn a_timestamp_keeps_what_is_offered(now: u32, scales in 0..=1_u32, scale in 0..=14_u32, sack in 0..=1_u32) {
            let offer = Offer { scales, scale, sack, ..Offer::default() };
            let stamp = timestamp(&offer, now);
            prop_assert_eq!(stamp & 15, if scales == 1 { scale } else { 15 });
            prop_assert_eq!(stamp >> 4 & 1, sack);
            prop_assert_eq!(stamp >> 5 & 1, 0, "nothing of ECN");
            prop_assert!(now.wrapping_sub(stamp) < 128);
        }
    }
}
