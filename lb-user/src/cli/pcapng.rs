//! Captures that Wireshark and tshark read: pcapng (draft-ietf-opsawg-pcapng), little-endian, with what became of a packet
//! as its comment.

use std::io::{self, Write};

/// LINKTYPE_ETHERNET
const ETHERNET: u16 = 1;
const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const PACKET: u32 = 6;
const COMMENT: u16 = 1;
const IF_NAME: u16 = 2;
const APPLICATION: u16 = 4;
const END: u16 = 0;

/// A packet of a capture.
pub(super) struct Packet<'a> {
    /// Microseconds since 1970 (UTC).
    pub(super) time_us: u64,
    /// Where it came in.
    pub(super) interface: &'a str,
    /// Its bytes, as far as they are there.
    pub(super) frame: &'a [u8],
    /// How many there were.
    pub(super) length: u32,
    /// What is to be said of it.
    pub(super) comment: &'a str,
}

/// A capture that is being written.
pub(super) struct Capture<W> {
    to: W,
    /// In the order of their blocks.
    interfaces: Vec<String>,
    snap: u32,
}

impl<W: Write> Capture<W> {
    /// Begins a capture of frames that are cut after `snap` bytes.
    pub(super) fn begin(mut to: W, snap: u32) -> io::Result<Self> {
        let mut body = 0x1a2b_3c4d_u32.to_le_bytes().to_vec();
        for version in [1_u16, 0] {
            body.extend(version.to_le_bytes());
        }
        // Nobody knows yet how long the section becomes.
        body.extend(u64::MAX.to_le_bytes());
        option(&mut body, APPLICATION, concat!("fulcrum ", env!("CARGO_PKG_VERSION")));
        block(&mut to, SECTION, &body)?;
        Ok(Self {
            to,
            interfaces: Vec::new(),
            snap,
        })
    }

    /// Writes a packet, all of it or nothing that a reader would stumble over.
    pub(super) fn write(&mut self, packet: &Packet<'_>) -> io::Result<()> {
        let number = self.interface(packet.interface)?;
        let mut body = number.to_le_bytes().to_vec();
        let time = [(packet.time_us >> 32) as u32, packet.time_us as u32];
        let lengths = [packet.frame.len() as u32, packet.length];
        for word in time.into_iter().chain(lengths) {
            body.extend(word.to_le_bytes());
        }
        body.extend(packet.frame);
        pad(&mut body);
        option(&mut body, COMMENT, packet.comment);
        block(&mut self.to, PACKET, &body)
    }

    /// What is written so far is where it belongs.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }

    /// The number of an interface; its block is written when it is new.
    fn interface(&mut self, name: &str) -> io::Result<u32> {
        if let Some(number) = self.interfaces.iter().position(|known| known == name) {
            return Ok(number as u32);
        }
        let mut body = ETHERNET.to_le_bytes().to_vec();
        body.extend([0; 2]);
        body.extend(self.snap.to_le_bytes());
        option(&mut body, IF_NAME, name);
        block(&mut self.to, INTERFACE, &body)?;
        self.interfaces.push(name.to_owned());
        Ok(self.interfaces.len() as u32 - 1)
    }
}

/// A block: its length stands on both sides.
fn block(to: &mut impl Write, kind: u32, body: &[u8]) -> io::Result<()> {
    let length = (body.len() as u32 + 12).to_le_bytes();
    to.write_all(&[&kind.to_le_bytes(), &length, body, &length].concat())
}

/// One option, and the end of options.
fn option(body: &mut Vec<u8>, code: u16, text: &str) {
    // None is longer than this: names and comments are ours.
    let text = &text.as_bytes()[..text.len().min(usize::from(u16::MAX))];
    body.extend(code.to_le_bytes());
    body.extend((text.len() as u16).to_le_bytes());
    body.extend(text);
    pad(body);
    body.extend(END.to_le_bytes());
    body.extend([0; 2]);
}

/// Everything begins at a multiple of four bytes.
fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_as_long_as_they_say() {
        let mut bytes = Vec::new();
        let mut capture = Capture::begin(&mut bytes, 128).unwrap();
        for (interface, frame) in [("eth0", &[1, 2, 3][..]), ("eth1", &[4; 8]), ("eth0", &[])] {
            let packet = Packet {
                time_us: 0x1_0000_0002,
                interface,
                frame,
                length: 60,
                comment: "web/web1",
            };
            capture.write(&packet).unwrap();
        }
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let (mut at, mut kinds) = (0, Vec::new());
        while at < bytes.len() {
            let length = word(at + 4) as usize;
            assert!(length.is_multiple_of(4) && word(at + length - 4) as usize == length);
            if word(at) == PACKET {
                kinds.push((PACKET, word(at + 8)));
                assert_eq!((word(at + 12), word(at + 16)), (1, 2));
            } else {
                kinds.push((word(at), 0));
            }
            at += length;
        }
        let expected = [
            (SECTION, 0),
            (INTERFACE, 0),
            (PACKET, 0),
            (INTERFACE, 0),
            (PACKET, 1),
            (PACKET, 0),
        ];
        assert_eq!(kinds, expected);
    }
}
