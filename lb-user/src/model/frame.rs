//! What a captured frame says of itself.

use std::net::IpAddr;

use lb_common::addr::{Ipv4Be, Ipv6Be};
use lb_common::flow::Ports;
use lb_common::parse::{Bytes, Ethernet, Frame as _, Ipv4, Ipv6, Part, ether_type, ipv6, l4};
use lb_common::service::protocol;

/// The addresses of a packet, and what goes with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    /// IP protocol number of what lies behind the network header and its extension headers.
    pub protocol: u8,
    /// Who sent it.
    pub source: IpAddr,
    /// To whom.
    pub destination: IpAddr,
    /// Source and destination port, of TCP and UDP; not of later fragments.
    pub ports: Option<(u16, u16)>,
    /// Flags of TCP, as in the 14th byte of its header.
    pub flags: Option<u8>,
    /// It is a part of a packet.
    pub fragment: bool,
}

impl Headers {
    /// Reads them, as far as they are there; `None` when that is not IP.
    #[must_use]
    pub fn read(frame: &[u8]) -> Option<Self> {
        let frame = &Bytes(frame);
        let Ethernet { ether_type, l3 } = Ethernet::read(frame)?;
        let (source, destination, protocol, at, part) = match ether_type {
            ether_type::IPV4 => {
                let ip = Ipv4::read(frame, l3)?;
                let at = l3 + ip.header();
                (v4(ip.source), v4(ip.destination), ip.protocol, at, ip.part())
            }
            ether_type::IPV6 => {
                let ip = Ipv6::read(frame, l3)?;
                let behind = l3 + Ipv6::LEN;
                let (protocol, at, part) = match ipv6::walk(frame, ip.next, behind) {
                    Ok(walked) => (walked.protocol, walked.offset, walked.part),
                    Err(_) => (ip.next, usize::MAX, Part::WHOLE),
                };
                (ip.source.to_ip(), ip.destination.to_ip(), protocol, at, part)
            }
            _ => return None,
        };
        let has_ports = l4::has_ports(protocol) && !part.is_later();
        let ports = frame.read::<Ports>(at).filter(|_| has_ports);
        let flags = at.checked_add(13).and_then(|at| frame.read::<u8>(at));
        Some(Self {
            protocol,
            source,
            destination,
            ports: ports.map(|ports| (ports.source.host(), ports.destination.host())),
            flags: flags.filter(|_| has_ports && protocol == protocol::TCP),
            fragment: !part.is_whole(),
        })
    }
}

fn v4(address: Ipv4Be) -> IpAddr {
    Ipv6Be::mapped_v4(address).to_ip()
}

/// Flags of TCP as tcpdump writes them: `S`, `S.`, `P.`, `F.`, `R`; `.` is ACK.
#[must_use]
pub fn flags(bits: u8) -> String {
    const LETTERS: [(u8, char); 8] = [
        (0x02, 'S'),
        (0x01, 'F'),
        (0x04, 'R'),
        (0x08, 'P'),
        (0x20, 'U'),
        (0x40, 'E'),
        (0x80, 'W'),
        (0x10, '.'),
    ];
    let set = LETTERS.iter().filter(|(bit, _)| bits & bit != 0);
    set.map(|(_, letter)| letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ethernet, one tag, IPv4 with an option word, TCP with SYN and ACK.
    fn frame() -> Vec<u8> {
        let mut frame = [[0; 12].as_slice(), &[0x81, 0, 0, 7, 8, 0]].concat();
        frame.extend([
            0x46, 0, 0, 44, 0, 0, 0, 0, 64, 6, 0, 0, 192, 0, 2, 1, 198, 51, 100, 2, 1, 1, 1, 1,
        ]);
        frame.extend([0x9c, 0x40, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x12, 0, 0, 0, 0, 0, 0]);
        frame
    }

    #[test]
    fn headers_are_read_as_far_as_they_are_there() {
        let whole = Headers::read(&frame()).unwrap();
        let expected = Headers {
            protocol: 6,
            source: "192.0.2.1".parse().unwrap(),
            destination: "198.51.100.2".parse().unwrap(),
            ports: Some((40_000, 80)),
            flags: Some(0x12),
            fragment: false,
        };
        assert_eq!(whole, expected);
        let cut = Headers::read(&frame()[..18 + 24 + 4]).unwrap();
        assert_eq!(
            cut,
            Headers {
                flags: None,
                ..expected
            }
        );
        assert_eq!(Headers::read(&frame()[..30]), None);
        let mut later = frame();
        later[18 + 7] = 100;
        let later = Headers::read(&later).unwrap();
        assert!(later.fragment && later.ports.is_none() && later.flags.is_none());
        assert_eq!(Headers::read(&[0; 14]), None, "no IP");
    }

    #[test]
    fn flags_are_written_as_people_know_them() {
        for (bits, text) in [
            (0x02, "S"),
            (0x12, "S."),
            (0x18, "P."),
            (0x11, "F."),
            (0x04, "R"),
            (0x10, "."),
            (0, ""),
        ] {
            assert_eq!(flags(bits), text);
        }
    }
}
