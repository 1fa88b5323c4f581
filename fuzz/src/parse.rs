//! Headers: whatever a frame holds, what is read of it is what stands there, and comes from inside it.
//!
//! An input is a frame. It is read as the program does, and further than it would: each payload as IPv4 and as IPv6, each
//! of theirs as TCP and as UDP, and once more what an ICMP error would cite.

use lb_common::limits::EXTENSION_HEADERS;
use lb_common::nat::Event;
use lb_common::parse::ipv6::{Lost, Walked, next, walk};
use lb_common::parse::{Bytes, Ethernet, Ipv4, Ipv6, Part, Segment, ether_type};
use lb_common::service::protocol;
use lb_common::slot::{Packet, Said};
use lb_common::stats::DropReason;

/// Bytes on both sides of a frame that nobody may read, more than any header has.
const AROUND: usize = 64;

/// Bytes of an ICMP header, before the packet that an error cites.
const ICMP: usize = 8;

/// Panics when a header is read wrongly.
pub fn check(data: &[u8]) {
    // The same frame in two places: what is read beyond its ends would differ. (Under libFuzzer AddressSanitizer sees to
    // reads that change nothing.)
    let [low, high] = [0x00, 0xff].map(|byte| {
        let around = [byte; AROUND];
        [&around, data, &around].concat()
    });
    let [low, high] = [&low, &high].map(|bytes| &bytes[AROUND..AROUND + data.len()]);
    let read = headers(low);
    assert_eq!(read, headers(high), "something outside the frame was read");
    assert_eq!(read, headers(data));
}

/// What was found, for comparing.
#[derive(Debug, Default, PartialEq)]
struct Read {
    ethernet: Option<Ethernet>,
    v4: Vec<Option<Ipv4>>,
    v6: Vec<Option<Ipv6>>,
    walked: Vec<Result<Walked, Lost>>,
    segments: Vec<Result<Segment, DropReason>>,
}

fn headers(frame: &[u8]) -> Read {
    let mut read = Read {
        ethernet: ethernet(frame),
        ..Read::default()
    };
    if let Some(ethernet) = read.ethernet {
        assert!(ethernet.l3 <= frame.len());
        for l4 in packet(frame, ethernet.l3, &mut read) {
            packet(frame, l4 + ICMP, &mut read);
        }
    }
    read
}

/// The two bytes at `offset`, if the frame has them.
fn word(frame: &[u8], offset: usize) -> Option<u16> {
    let bytes = frame.get(offset..)?.get(..2)?;
    Some(u16::from_be_bytes([bytes[0], bytes[1]]))
}

fn ethernet(frame: &[u8]) -> Option<Ethernet> {
    let read = Ethernet::read(&Bytes(frame));
    let mut expected = None;
    for l3 in [14, 18, 22] {
        expected = word(frame, l3 - 2).map(|ether_type| Ethernet {
            ether_type: ether_type.to_be(),
            l3,
        });
        if !expected.is_some_and(|e| matches!(e.ether_type, ether_type::VLAN | ether_type::PROVIDER)) {
            break;
        }
    }
    assert_eq!(read, expected);
    read
}

/// Reads what lies at `offset` as a packet of either family; where the layer above would begin.
fn packet(frame: &[u8], offset: usize, read: &mut Read) -> Vec<usize> {
    let mut above = Vec::new();
    let v4 = ipv4(frame, offset);
    read.v4.push(v4);
    if let Some(ip) = v4
        && ip.is_sound()
        && ip.fits(offset, frame.len())
    {
        let (l4, length) = (offset + ip.header(), ip.total() - ip.header());
        assert!(ip.header() >= Ipv4::SHORTEST && l4 + length <= frame.len(), "{ip:?}");
        segments(frame, l4, length, read);
        above.push(l4);
    }
    let v6 = ipv6(frame, offset);
    read.v6.push(v6);
    if let Some(ip) = v6 {
        let l4 = offset + Ipv6::LEN;
        let walked = walk(&Bytes(frame), ip.next, l4);
        assert_eq!(walked, reference(frame, ip.next, l4));
        read.walked.push(walked);
        if let Ok(walked) = walked
            && ip.is_sound(offset, frame.len())
            && let Some(length) = (l4 + ip.payload()).checked_sub(walked.offset)
        {
            assert!(walked.offset >= l4 && walked.offset + length <= frame.len());
            segments(frame, walked.offset, length, read);
            above.push(walked.offset);
        }
    }
    above
}

fn ipv4(frame: &[u8], offset: usize) -> Option<Ipv4> {
    let read = Ipv4::read(&Bytes(frame), offset);
    let header = frame.get(offset..).and_then(|bytes| bytes.first_chunk::<20>());
    assert_eq!(read.is_some(), header.is_some());
    let (ip, header) = (read?, header?);
    let at = |i| u16::from_be_bytes([header[i], header[i + 1]]);
    assert_eq!(ip.source.octets(), header[12..16]);
    assert_eq!(ip.destination.octets(), header[16..20]);
    assert_eq!((ip.tos, ip.protocol), (header[1], header[9]));
    assert_eq!(ip.header(), usize::from(header[0] % 16) * 4);
    assert_eq!(ip.total(), usize::from(at(2)));
    assert_eq!(ip.is_sound(), (0x45..=0x4f).contains(&header[0]));
    assert_eq!(
        ip.fits(offset, frame.len()),
        (ip.header()..=frame.len() - offset).contains(&ip.total())
    );
    let (place, id) = (at(6), u32::from(at(4).to_be()));
    assert_eq!(ip.part(), part(place & 0x1fff != 0, place & 0x2000 != 0, id));
    assert_eq!(ip.is_plain(), header[0] == 0x45 && ip.part().is_whole());
    Some(ip)
}

fn ipv6(frame: &[u8], offset: usize) -> Option<Ipv6> {
    let read = Ipv6::read(&Bytes(frame), offset);
    let header = frame.get(offset..).and_then(|bytes| bytes.first_chunk::<40>());
    assert_eq!(read.is_some(), header.is_some());
    let (ip, header) = (read?, header?);
    assert_eq!(ip.source.octets(), header[8..24]);
    assert_eq!(ip.destination.octets(), header[24..40]);
    assert_eq!((ip.next, ip.tos()), (header[6], header[0] << 4 | header[1] >> 4));
    assert_eq!(ip.payload(), usize::from(u16::from_be_bytes([header[4], header[5]])));
    let fits = ip.payload() <= frame.len() - offset - Ipv6::LEN;
    assert_eq!(ip.is_sound(offset, frame.len()), header[0] >> 4 == 6 && fits);
    Some(ip)
}

fn part(later: bool, more: bool, id: u32) -> Part {
    let part = match (later, more) {
        (true, _) => Part::later(id),
        (false, true) => Part::first(id),
        (false, false) => Part::WHOLE,
    };
    assert_eq!((part.is_later(), part.is_first()), (later, more && !later));
    part
}

/// [`walk`], by RFC 8200 §4.
fn reference(frame: &[u8], mut protocol: u8, mut offset: usize) -> Result<Walked, Lost> {
    let mut whole = Part::WHOLE;
    for headers in 0.. {
        let is_extension = matches!(
            protocol,
            next::HOP_BY_HOP | next::ROUTING | next::DESTINATION | next::AUTHENTICATION | next::FRAGMENT
        );
        if !is_extension || whole.is_later() {
            break;
        }
        if headers == EXTENSION_HEADERS {
            return Err(Lost::TooMany);
        }
        let header = frame.get(offset..).unwrap_or_default();
        let &[following, length, ..] = header else {
            return Err(Lost::Truncated);
        };
        offset += match protocol {
            next::FRAGMENT => {
                let &[_, _, a, b, ref id @ ..] = header else {
                    return Err(Lost::Truncated);
                };
                let &id = id.first_chunk().ok_or(Lost::Truncated)?;
                let place = u16::from_be_bytes([a, b]);
                let this = part(place >> 3 != 0, place & 1 != 0, u32::from_ne_bytes(id));
                whole = this;
                8
            }
            next::AUTHENTICATION => (usize::from(length) + 2) * 4,
            _ => (usize::from(length) + 1) * 8,
        };
        protocol = following;
    }
    Ok(Walked {
        protocol,
        offset,
        part: whole,
    })
}

/// Reads the `length` bytes at `offset`, which are there, as TCP and as UDP.
fn segments(frame: &[u8], offset: usize, length: usize, read: &mut Read) {
    for protocol in [protocol::TCP, protocol::UDP] {
        let segment = Segment::read(&Bytes(frame), protocol, offset, length);
        let bytes = frame.get(offset..).unwrap_or_default();
        let expected = if protocol == protocol::TCP {
            tcp(bytes, length)
        } else {
            udp(bytes, length)
        };
        let said = segment.map(|s| (s.packet(), s.said(), s.event(), s.opens()));
        assert_eq!(said, expected, "protocol {protocol} at {offset}, {length} bytes");
        read.segments.push(segment);
    }
}

/// What a segment is to a slot and says of its flow, and whether it opens one.
type Meaning = Result<(Packet, Said, Event, bool), DropReason>;

fn tcp(bytes: &[u8], length: usize) -> Meaning {
    let header = bytes.first_chunk::<20>().ok_or(DropReason::Truncated)?;
    let number = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
    let data_offset = usize::from(header[12] >> 4) * 4;
    if !(20..=length).contains(&data_offset) {
        return Err(DropReason::MalformedTcp);
    }
    let has = |flag: u8| header[13] & flag != 0;
    let (fin, syn, rst, ack) = (has(1), has(2), has(4), has(16));
    let opens = syn && !ack;
    let packet = match (rst, opens) {
        (true, _) => Packet::Reset(number),
        (false, true) => Packet::Syn(number),
        (false, false) => Packet::Segment(number),
    };
    let said = if fin || rst {
        Said::Ends
    } else if opens || length > data_offset {
        Said::Sends
    } else {
        Said::Nothing
    };
    let event = match packet {
        Packet::Reset(_) => Event::RESETS,
        Packet::Syn(_) => Event::OPENS,
        _ if fin => Event::FINISHES,
        _ => Event::DATA,
    };
    Ok((packet, said, event, opens))
}

fn udp(bytes: &[u8], length: usize) -> Meaning {
    let header = bytes.first_chunk::<8>().ok_or(DropReason::Truncated)?;
    let said = usize::from(u16::from_be_bytes([header[4], header[5]]));
    if !(8..=length).contains(&said) {
        return Err(DropReason::MalformedUdp);
    }
    Ok((Packet::Datagram, Said::Sends, Event::DATA, false))
}
