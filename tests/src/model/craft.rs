//! Random packets: mostly right, of few flows that come again, in every shape.

use std::net::{IpAddr, SocketAddr};

use lb_common::nat::NatKey;
use lb_user::model::Protocol;

use crate::nat::Flow;
use crate::packet::{self, ACK, FIN, RST, SYN};
use crate::rig::{CLIENT, NODE, mac_of};
use crate::shape::{PROVIDER, VLAN, authentication, extension, fragments, tagged, with_extensions, with_options};

/// xorshift64*, so that a failure can be repeated.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// From a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        // Zero would stay zero.
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// One below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        ((self.number() >> 32) % end as u64) as usize
    }

    /// True once in `n` times.
    pub fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of these.
    pub fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

/// Where packets go, and where some come from.
pub struct Targets {
    /// VIPs with ports, of services and of none.
    pub vips: Vec<(SocketAddr, Protocol)>,
    /// Sources besides the clients that come again.
    pub sources: Vec<IpAddr>,
}

/// A cookie that was given out.
#[derive(Clone, Copy, Debug)]
pub struct Cookie {
    /// To whom, and by whom.
    pub flow: NatKey,
    /// The number of the SYN.
    pub number: u32,
    /// That of the answer.
    pub cookie: u32,
}

/// What others may know of what the program has done.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The flows of backends' answers to the node.
    pub answers: Vec<NatKey>,
    /// Cookies that were given out.
    pub cookies: Vec<Cookie>,
}

impl Targets {
    /// A packet of a client, of a backend, or an error of either.
    #[must_use]
    pub fn frame(&self, random: &mut Random, known: &Known) -> Vec<u8> {
        let Known { answers, cookies } = known;
        let answer = !answers.is_empty() && random.once_in(6);
        let (flow, mac) = if answer {
            let flow = Flow::of(&answers[random.below(answers.len())]);
            (flow, mac_of(flow.source.ip()))
        } else {
            (self.flow(random), CLIENT)
        };
        let packet = match random.below(12) {
            _ if !cookies.is_empty() && random.once_in(10) => {
                let cookie = cookies[random.below(cookies.len())];
                acknowledgement(random, &cookie)
            }
            0 | 1 => error(random, flow),
            2 if random.once_in(3) => message(random, flow),
            _ => segment(random, flow),
        };
        let packet = shaped(random, packet);
        let tags: &[(u16, u16)] = match random.below(16) {
            0 => &[(VLAN, 5)],
            1 => &[(PROVIDER, 0x2007)],
            2 => &[(PROVIDER, 7), (VLAN, 9)],
            3 if random.once_in(4) => &[(VLAN, 1), (VLAN, 2), (VLAN, 3)],
            _ => &[],
        };
        let mut frame = tagged(NODE, mac, tags, &packet);
        // Padding of its own in another buffer is not counted.
        if frame.len() < 3000 && random.once_in(10) {
            frame.resize(frame.len() + random.below(40), random.number() as u8);
        }
        // What lies in several buffers is read as far as the first one goes, of which the model knows nothing.
        if frame.len() < 3000 && random.once_in(4) {
            mangle(random, &mut frame);
        }
        frame
    }

    fn flow(&self, random: &mut Random) -> Flow {
        let (destination, protocol) = self.vips[random.below(self.vips.len())];
        let protocol = match (random.once_in(20), protocol) {
            (true, Protocol::Tcp) => Protocol::Udp,
            (true, Protocol::Udp) => Protocol::Tcp,
            _ => protocol,
        };
        let host = random.below(4) as u8 + 1;
        let mut ip: IpAddr = if destination.is_ipv4() {
            [198, 51, 100, host].into()
        } else {
            [0x2001, 0xdb8, 1, 0, 0, 0, 0, u16::from(host)].into()
        };
        if random.once_in(60) {
            ip = destination.ip();
        } else if random.once_in(6) {
            let other = random.of(&self.sources);
            ip = if other.is_ipv4() == ip.is_ipv4() { other } else { ip };
        }
        let source = SocketAddr::new(ip, 40_000 + random.below(24) as u16);
        Flow {
            protocol,
            source,
            destination,
        }
    }
}

fn data(random: &mut Random) -> Vec<u8> {
    let length = match random.below(40) {
        0..10 => 0,
        10..35 => random.below(60),
        35..38 => 1380 + random.below(120),
        38 => random.below(1500),
        _ => 2900 + random.below(5000),
    };
    vec![random.number() as u8; length]
}

fn segment(random: &mut Random, flow: Flow) -> Vec<u8> {
    let any = random.number() as u8;
    let flags = random.of(&[SYN, SYN, ACK, ACK, ACK, ACK, ACK | FIN, RST, SYN | ACK, any]);
    let mut packet = flow.packet(flags, &data(random));
    if flow.protocol == Protocol::Tcp && flags == SYN && random.once_in(2) {
        packet = packet::syn(flow.source, flow.destination, &options(random), &data(random));
    }
    let header = if packet[0] >> 4 == 4 { 20 } else { 40 };
    if flow.protocol == Protocol::Udp {
        if random.once_in(4) {
            packet[header + 6..header + 8].fill(0);
        }
        return packet;
    }
    let number: u32 = match random.below(5) {
        0 => 1000,
        1 => 1001,
        2 => 70_000,
        3 => 5,
        _ => random.number() as u32,
    };
    let segment = &mut packet[header..];
    segment[4..8].copy_from_slice(&number.to_be_bytes());
    segment[16..18].fill(0);
    let sum = packet::pseudo(flow.source.ip(), flow.destination.ip(), 6, segment);
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// Options of a SYN: as systems send them, in another order, or nonsense.
fn options(random: &mut Random) -> Vec<u8> {
    let nonsense = [random.number() as u8, random.below(12) as u8];
    let each: [&[u8]; 8] = [
        &[2, 4, 5, 180],
        &[4, 2],
        &[8, 10, 0, 0, 1, 2, 0, 0, 0, 0],
        &[3, 3, nonsense[1]],
        &[3, 3, 200],
        &[1],
        &[0],
        &nonsense,
    ];
    let mut options = match random.below(3) {
        0 => each[..4].concat(),
        _ => (0..random.below(6)).flat_map(|_| random.of(&each).to_vec()).collect(),
    };
    options.truncate(40);
    options.resize(options.len().next_multiple_of(4), random.of(&[0, 1]));
    options
}

/// What sends a cookie back, or another number.
fn acknowledgement(random: &mut Random, cookie: &Cookie) -> Vec<u8> {
    let flow = Flow::of(&cookie.flow);
    let flags = random.of(&[ACK, ACK, ACK, ACK | FIN, SYN | ACK, RST, 0]);
    let mut packet = flow.packet(flags, &data(random));
    let header = if packet[0] >> 4 == 4 { 20 } else { 40 };
    let wrong = if random.once_in(4) { 1000 } else { 0 };
    let numbers = [cookie.number, cookie.cookie.wrapping_add(wrong)].map(|number| number.wrapping_add(1).to_be_bytes());
    packet[header + 4..header + 12].copy_from_slice(&numbers.concat());
    packet
}

/// An error about what the other side has sent.
fn error(random: &mut Random, flow: Flow) -> Vec<u8> {
    let v4 = flow.source.is_ipv4();
    let about = segment(random, flow.reversed());
    let about = if random.once_in(4) {
        shaped(random, about)
    } else {
        about
    };
    let header = if v4 { 20 } else { 40 };
    let length = header + random.of(&[7, 8, 16, 18, 20, 24, 100, 1400]);
    let quote = &about[..about.len().min(length)];
    let (kind, code) = if v4 {
        random.of(&[(3, 1), (3, 4), (11, 0), (12, 0), (5, 0)])
    } else {
        random.of(&[(1, 4), (2, 0), (3, 0), (4, 1), (137, 0)])
    };
    let from = match (random.once_in(2), v4) {
        (true, true) => [203, 0, 113, 9].into(),
        (true, false) => [0x2001, 0xdb8, 9, 0, 0, 0, 0, 9].into(),
        _ => flow.source.ip(),
    };
    packet::icmp(
        from,
        flow.destination.ip(),
        kind,
        code,
        &[&[0, 0, 5, 0], quote].concat(),
    )
}

/// Echo, and what is neither of TCP nor of UDP.
fn message(random: &mut Random, flow: Flow) -> Vec<u8> {
    let (from, to) = (flow.source.ip(), flow.destination.ip());
    let rest = data(random);
    let kind = match (from.is_ipv4(), random.below(3)) {
        (true, 0) => 8,
        (false, 0) => 128,
        (true, 1) => 0,
        (false, 1) => 135,
        _ => return packet::ip(from, to, random.of(&[47, 50, 132, 59, 1, 58]), &rest),
    };
    let mut packet = packet::icmp(from, to, kind, 0, &rest);
    if kind == 135 && random.once_in(2) {
        // As it has to be.
        packet[7] = 255;
    }
    packet
}

fn shaped(random: &mut Random, packet: Vec<u8>) -> Vec<u8> {
    let v4 = packet[0] >> 4 == 4;
    match random.below(10) {
        0 if v4 => with_options(&packet, &vec![1; 4 * (1 + random.below(10))]),
        0 | 1 if !v4 => {
            let most = if random.once_in(8) { 8 } else { 3 };
            let count = 1 + random.below(most);
            let header = |random: &mut Random| match random.below(5) {
                0 => authentication(random.below(4) as u8),
                1 => (44, vec![0, 0, random.of(&[0, 0, 0, 1]), 0, 0, 0, random.below(8) as u8]),
                _ => {
                    let kind = random.of(&[0, 43, 60]);
                    let more = if random.once_in(20) {
                        random.below(200)
                    } else {
                        random.below(3)
                    };
                    extension(kind, more as u8)
                }
            };
            let headers: Vec<_> = (0..count).map(|_| header(random)).collect();
            with_extensions(&packet, &headers)
        }
        2 | 3 if packet.len() > 48 => {
            let size = random.of(&[8, 24, 64, 512, 1400]);
            let all = fragments(&packet, size, random.below(6) as u16);
            let later = if random.once_in(2) { 0 } else { random.below(all.len()) };
            all[later].clone()
        }
        _ => packet,
    }
}

/// Wrong bytes, mostly where headers are, or fewer.
fn mangle(random: &mut Random, frame: &mut Vec<u8>) {
    for _ in 0..=random.below(3) {
        let end = if random.once_in(4) {
            frame.len()
        } else {
            frame.len().min(90)
        };
        let at = random.below(end);
        frame[at] = match random.below(3) {
            0 => frame[at] ^ 1 << random.below(8),
            1 => random.of(&[0, 1, 4, 6, 17, 44, 0x45, 0x60, 0xff]),
            _ => random.number() as u8,
        };
    }
    if random.once_in(8) {
        frame.truncate(14 + random.below(frame.len() - 13));
    }
}
