//! From bytes to what a packet is.

use std::net::IpAddr;

use lb_common::slot::{self, Said};
use lb_common::stats::DropReason;

use super::Segment;

/// Which part of its packet a fragment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// The first.
    First,
    /// Another one.
    Later,
}

/// A packet.
#[derive(Clone, Debug)]
pub struct Packet {
    /// IPv4.
    pub v4: bool,
    /// Offset of the network header.
    pub l3: usize,
    /// Offset of what follows, extension headers stepped over.
    pub l4: usize,
    /// Bytes from the network header on.
    pub total: usize,
    /// What follows.
    pub protocol: u8,
    /// Who sends.
    pub source: IpAddr,
    /// To whom.
    pub destination: IpAddr,
    /// Which part it is.
    pub part: Part,
    /// Its identification, as it lies in memory.
    pub id: u32,
    /// Its ports, if it has any.
    pub ports: Option<(u16, u16)>,
    /// Why it may not be believed.
    pub fault: Option<DropReason>,
}

fn word(frame: &[u8], at: usize) -> Option<u16> {
    let bytes = frame.get(at..at + 2)?;
    Some(u16::from_be_bytes([bytes[0], bytes[1]]))
}

fn v4(bytes: &[u8]) -> IpAddr {
    <[u8; 4]>::try_from(bytes).expect("4 bytes").into()
}

fn v6(bytes: &[u8]) -> IpAddr {
    // As the program does, IPv6 addresses stand for themselves, also those that IPv4 is mapped into.
    <[u8; 16]>::try_from(bytes).expect("16 bytes").into()
}

/// The farthest that extension headers may lead from the beginning of the frame.
const FARTHEST: usize = 1983;

impl Packet {
    /// `None` for what is not IP.
    pub(super) fn parse(frame: &[u8]) -> Result<Option<Self>, DropReason> {
        let mut l3 = 14;
        let mut kind = word(frame, 12).ok_or(DropReason::Truncated)?;
        for _ in 0..2 {
            if kind == 0x8100 || kind == 0x88a8 {
                kind = word(frame, l3 + 2).ok_or(DropReason::Truncated)?;
                l3 += 4;
            }
        }
        match kind {
            0x0800 => Self::parse_v4(frame, l3).map(Some),
            0x86dd => Self::parse_v6(frame, l3).map(Some),
            _ => Ok(None),
        }
    }

    fn parse_v4(frame: &[u8], l3: usize) -> Result<Self, DropReason> {
        let header = frame.get(l3..l3 + 20).ok_or(DropReason::Truncated)?;
        let length = usize::from(header[0] & 15) * 4;
        let total = usize::from(word(header, 2).expect("in the header"));
        let sound = header[0] >> 4 == 4 && length >= 20 && total >= length && l3 + total <= frame.len();
        let place = word(header, 6).expect("in the header");
        let part = match (place & 0x1fff, place & 0x2000) {
            (0, 0) => Part::Whole,
            (0, _) => Part::First,
            _ => Part::Later,
        };
        let mut packet = Self {
            v4: true,
            l3,
            l4: l3 + length,
            total,
            protocol: header[9],
            source: v4(&header[12..16]),
            destination: v4(&header[16..20]),
            part,
            id: u32::from(u16::from_ne_bytes([header[4], header[5]])),
            ports: None,
            fault: (!sound).then_some(DropReason::MalformedIpv4),
        };
        packet.read_ports(frame);
        Ok(packet)
    }

    fn parse_v6(frame: &[u8], l3: usize) -> Result<Self, DropReason> {
        let header = frame.get(l3..l3 + 40).ok_or(DropReason::Truncated)?;
        let total = 40 + usize::from(word(header, 4).expect("in the header"));
        let mut packet = Self {
            v4: false,
            l3,
            l4: l3 + 40,
            total,
            protocol: header[6],
            source: v6(&header[8..24]),
            destination: v6(&header[24..40]),
            part: Part::Whole,
            id: 0,
            ports: None,
            fault: None,
        };
        packet.fault = packet.walk(frame).err();
        let end = l3 + total;
        if header[0] >> 4 != 6 || end > frame.len() || packet.fault.is_none() && packet.l4 > end {
            packet.fault = Some(DropReason::MalformedIpv6);
        }
        packet.read_ports(frame);
        Ok(packet)
    }

    /// Steps over at most six extension headers.
    fn walk(&mut self, frame: &[u8]) -> Result<(), DropReason> {
        let mut steps = 0;
        while self.part != Part::Later && [0, 43, 44, 51, 60].contains(&self.protocol) {
            if steps == 6 {
                return Err(DropReason::ExtensionHeaders);
            }
            steps += 1;
            let read = |length| frame.get(self.l4..self.l4 + length).ok_or(DropReason::Truncated);
            let (next, length) = match self.protocol {
                44 => {
                    let header = read(8)?;
                    let place = word(header, 2).expect("in the header");
                    if place & !7 != 0 {
                        self.part = Part::Later;
                    } else if place & 1 != 0 {
                        self.part = Part::First;
                    } else {
                        self.part = Part::Whole;
                    }
                    self.id = match self.part {
                        Part::Whole => 0,
                        _ => u32::from_ne_bytes([header[4], header[5], header[6], header[7]]),
                    };
                    (header[0], 8)
                }
                51 => {
                    let header = read(2)?;
                    (header[0], (usize::from(header[1]) + 2) * 4)
                }
                _ => {
                    let header = read(2)?;
                    (header[0], (usize::from(header[1]) + 1) * 8)
                }
            };
            self.protocol = next;
            self.l4 += length;
        }
        if self.l4 > FARTHEST {
            Err(DropReason::ExtensionHeaders)
        } else {
            Ok(())
        }
    }

    fn read_ports(&mut self, frame: &[u8]) {
        if self.fault.is_some() || !self.has_ports() || self.part == Part::Later {
            return;
        }
        self.ports = word(frame, self.l4).zip(word(frame, self.l4 + 2));
        if self.ports.is_none() {
            self.fault = Some(DropReason::Truncated);
        }
    }

    pub(super) const fn has_ports(&self) -> bool {
        matches!(self.protocol, 6 | 17)
    }

    /// Bytes behind all headers of IP.
    pub(super) const fn length(&self) -> usize {
        self.l3 + self.total - self.l4
    }

    /// What the header of TCP or UDP says.
    pub(super) fn segment(&self, frame: &[u8]) -> Result<Segment, DropReason> {
        if self.part == Part::Later {
            return Ok(Segment::MENTION);
        }
        let tcp = self.protocol == 6;
        let shortest = if tcp { 20 } else { 8 };
        if self.part == Part::First && self.length() < shortest {
            return Err(DropReason::Truncated);
        }
        let header = frame.get(self.l4..self.l4 + shortest).ok_or(DropReason::Truncated)?;
        // Of a first fragment, how long the whole is is not known.
        let length = if self.part == Part::First {
            65_535
        } else {
            self.length()
        };
        if !tcp {
            let said = usize::from(word(header, 4).expect("in the header"));
            if said < 8 || said > length {
                return Err(DropReason::MalformedUdp);
            }
            return Ok(Segment {
                packet: slot::Packet::Datagram,
                said: Said::Sends,
                opens: false,
                header: None,
            });
        }
        let data = usize::from(header[12] >> 4) * 4;
        if data < 20 || data > length {
            return Err(DropReason::MalformedTcp);
        }
        let [fin, syn, rst, ack] = [1, 2, 4, 16].map(|flag| header[13] & flag != 0);
        let number = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let (number, acknowledged) = (number(4), number(8));
        let opens = syn && !ack;
        let packet = if rst {
            slot::Packet::Reset(number)
        } else if opens {
            slot::Packet::Syn(number)
        } else {
            slot::Packet::Segment(number)
        };
        let said = if fin || rst {
            Said::Ends
        } else if opens || length > data {
            Said::Sends
        } else {
            Said::Nothing
        };
        let header = super::Header {
            flags: header[13],
            number,
            acknowledged,
        };
        Ok(Segment {
            packet,
            said,
            opens,
            header: Some(header),
        })
    }
}

/// What an error quotes.
#[derive(Clone, Debug)]
pub struct Quote {
    /// Offset of the quoted network header.
    pub l3: usize,
    /// Offset of the quoted transport header.
    pub l4: usize,
    /// Who has sent what is quoted.
    pub source: IpAddr,
    /// To whom.
    pub destination: IpAddr,
    /// TCP or UDP.
    pub protocol: u8,
    /// The ports in it.
    pub ports: (u16, u16),
}

impl Quote {
    pub(super) fn parse(frame: &[u8], packet: &Packet) -> Option<Self> {
        let l3 = packet.l4 + 8;
        let (source, destination, protocol, l4) = if packet.v4 {
            let header = frame.get(l3..l3 + 20)?;
            let length = usize::from(header[0] & 15) * 4;
            if header[0] >> 4 != 4 || length < 20 || word(header, 6)? & 0x1fff != 0 {
                return None;
            }
            (v4(&header[12..16]), v4(&header[16..20]), header[9], l3 + length)
        } else {
            let header = frame.get(l3..l3 + 40)?;
            (v6(&header[8..24]), v6(&header[24..40]), header[6], l3 + 40)
        };
        let end = packet.l3 + packet.total;
        if !matches!(protocol, 6 | 17) || l4 + 8 > end {
            return None;
        }
        let ports = (word(frame, l4)?, word(frame, l4 + 2)?);
        Some(Self {
            l3,
            l4,
            source,
            destination,
            protocol,
            ports,
        })
    }
}
