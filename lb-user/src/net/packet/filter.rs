//! Socket filters (BPF in its classic form, socket(7)), as lists of instructions. Pure.

use std::net::IpAddr;

use nix::libc::{self, sock_filter};

/// Takes nothing.
pub(super) const NOTHING: [sock_filter; 1] = [statement(libc::BPF_RET | libc::BPF_K, 0)];

/// More sources than this are not told apart: the kernel limits the length of a filter.
const MOST_SOURCES: usize = 512;

/// So many keys are compared one by one.
const LEAF: usize = 4;

/// What a filter says of a packet that is taken: all of it.
const WHOLE: u32 = u32::MAX;

/// Where the kernel keeps what it knows of a packet (linux/filter.h), and its word for one that is for this host.
const PACKET_TYPE: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_PKTTYPE).cast_unsigned();
const PACKET_HOST: u32 = 0;

const TCP: u32 = 6;
const UDP: u32 = 17;
const ICMP: u32 = 1;
const ICMPV6: u32 = 58;

const LOAD_WORD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const LOAD_BYTE: u32 = libc::BPF_LD | libc::BPF_B | libc::BPF_ABS;
const JUMP_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
const JUMP_GREATER_OR_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
const JUMP: u32 = libc::BPF_JMP | libc::BPF_JA;
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;

const fn statement(code: u32, k: u32) -> sock_filter {
    sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    }
}

/// Skips so many instructions where it is so, and where it is not.
const fn jump(code: u32, k: u32, yes: u8, no: u8) -> sock_filter {
    sock_filter {
        code: code as u16,
        jt: yes,
        jf: no,
        k,
    }
}

/// Takes TCP and UDP from these sources, which are of the family, and ICMP errors: of packets that begin with an IP
/// header, and are for this host. IPv6 sources are told apart by a sum of theirs, so others may come along; and packets
/// with extension headers are not taken.
pub(super) fn from<'s>(v6: bool, sources: impl Iterator<Item = &'s IpAddr>) -> Vec<sock_filter> {
    let mut keys: Vec<u32> = sources.map(|source| key(*source)).collect();
    keys.sort_unstable();
    keys.dedup();
    if keys.is_empty() {
        return NOTHING.to_vec();
    }
    let mut program = vec![
        statement(LOAD_WORD, PACKET_TYPE),
        jump(JUMP_EQUAL, PACKET_HOST, 1, 0),
        statement(RETURN, 0),
        statement(LOAD_BYTE, if v6 { 6 } else { 9 }),
    ];
    let errors = errors(v6);
    program.extend([
        jump(JUMP_EQUAL, TCP, errors.len() as u8 + 2, 0),
        jump(JUMP_EQUAL, UDP, errors.len() as u8 + 1, 0),
        jump(JUMP_EQUAL, if v6 { ICMPV6 } else { ICMP }, 0, errors.len() as u8 - 1),
    ]);
    program.extend(errors);
    if v6 {
        program.push(statement(LOAD_WORD, 8));
        for word in [12, 16, 20] {
            program.extend([
                statement(libc::BPF_MISC | libc::BPF_TAX, 0),
                statement(LOAD_WORD, word),
                statement(libc::BPF_ALU | libc::BPF_XOR | libc::BPF_X, 0),
            ]);
        }
    } else {
        program.push(statement(LOAD_WORD, 12));
    }
    if keys.len() > MOST_SOURCES {
        program.push(statement(RETURN, WHOLE));
    } else {
        program.extend(search(&keys));
    }
    program
}

/// "Destination unreachable" and "time exceeded"; the last instruction takes nothing.
fn errors(v6: bool) -> Vec<sock_filter> {
    let types: [u32; 2] = if v6 { [1, 3] } else { [3, 11] };
    let load = if v6 {
        vec![statement(LOAD_BYTE, 40)]
    } else {
        vec![
            // X = length of the header.
            statement(libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH, 0),
            statement(libc::BPF_LD | libc::BPF_B | libc::BPF_IND, 0),
        ]
    };
    let judge = [
        jump(JUMP_EQUAL, types[0], 1, 0),
        jump(JUMP_EQUAL, types[1], 0, 1),
        statement(RETURN, WHOLE),
        statement(RETURN, 0),
    ];
    [load, judge.to_vec()].concat()
}

/// Takes the packet if the accumulator is one of the keys, which are sorted.
fn search(keys: &[u32]) -> Vec<sock_filter> {
    if keys.len() <= LEAF {
        let each = keys
            .iter()
            .flat_map(|&key| [jump(JUMP_EQUAL, key, 0, 1), statement(RETURN, WHOLE)]);
        return each.chain(NOTHING).collect();
    }
    let (below, above) = keys.split_at(keys.len() / 2);
    let (middle, below, above) = (above[0], search(below), search(above));
    let mut program = vec![
        jump(JUMP_GREATER_OR_EQUAL, middle, 0, 1),
        statement(JUMP, below.len() as u32),
    ];
    program.extend(below);
    program.extend(above);
    program
}

/// What a source is known by: all of an IPv4 address, the words of an IPv6 address in one.
fn key(source: IpAddr) -> u32 {
    match source {
        IpAddr::V4(v4) => v4.to_bits(),
        IpAddr::V6(v6) => {
            let words = v6.octets();
            let words = words.as_chunks::<4>().0.iter();
            words.fold(0, |key, &word| key ^ u32::from_be_bytes(word))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a filter, as the kernel would; does it take the packet?
    fn takes(program: &[sock_filter], packet: &[u8], packet_type: u32) -> bool {
        let (mut a, mut x, mut at) = (0u32, 0u32, 0usize);
        loop {
            let sock_filter { code, jt, jf, k } = program[at];
            at += 1;
            let code = u32::from(code);
            let branch = |yes| usize::from(if yes { jt } else { jf });
            if code == LOAD_WORD && k == PACKET_TYPE {
                a = packet_type;
            } else if code == LOAD_WORD {
                let Some(word) = packet.get(k as usize..k as usize + 4) else {
                    return false;
                };
                a = u32::from_be_bytes(word.try_into().unwrap());
            } else if code == LOAD_BYTE || code == libc::BPF_LD | libc::BPF_B | libc::BPF_IND {
                let place = if code == LOAD_BYTE { k } else { k + x };
                let Some(byte) = packet.get(place as usize) else {
                    return false;
                };
                a = (*byte).into();
            } else if code == libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH {
                x = u32::from(packet[k as usize] & 0xf) * 4;
            } else if code == libc::BPF_MISC | libc::BPF_TAX {
                x = a;
            } else if code == libc::BPF_ALU | libc::BPF_XOR | libc::BPF_X {
                a ^= x;
            } else if code == JUMP_EQUAL {
                at += branch(a == k);
            } else if code == JUMP_GREATER_OR_EQUAL {
                at += branch(a >= k);
            } else if code == JUMP {
                at += k as usize;
            } else {
                assert_eq!(code, RETURN);
                return k != 0;
            }
        }
    }

    fn packet(protocol: u8, source: IpAddr, first: u8) -> Vec<u8> {
        let mut packet = match source {
            IpAddr::V4(source) => {
                let mut packet = vec![0; 24];
                packet[0] = 0x46;
                packet[9] = protocol;
                packet[12..16].copy_from_slice(&source.octets());
                packet
            }
            IpAddr::V6(source) => {
                let mut packet = vec![0; 40];
                packet[0] = 0x60;
                packet[6] = protocol;
                packet[8..24].copy_from_slice(&source.octets());
                packet
            }
        };
        packet.extend([first, 0, 0, 0, 0, 0, 0, 0]);
        packet
    }

    #[test]
    fn it_takes_what_comes_from_sources_and_errors() {
        for v6 in [false, true] {
            let host = |n: u16| -> IpAddr {
                match v6 {
                    true => [0x2001, 0xdb8, 0, 0, 0, 0, 0, n].into(),
                    false => [192, 0, (n >> 8) as u8, n as u8].into(),
                }
            };
            for count in [1, 2, 3, 4, 5, 8, 9, 100, 511, 512] {
                let sources: Vec<_> = (0..count).map(|n| host(n * 2 + 1)).collect();
                let program = from(v6, sources.iter());
                assert!(program.len() < 2048, "{}", program.len());
                for n in 0..=count * 2 + 2 {
                    let known = n % 2 == 1 && n / 2 < count;
                    for protocol in [6, 17] {
                        let packet = packet(protocol, host(n), 0);
                        assert_eq!(takes(&program, &packet, PACKET_HOST), known, "{n} of {count}");
                        assert!(!takes(&program, &packet, 3), "for another host");
                    }
                }
                let (icmp, unreachable, exceeded, echo) = if v6 { (58, 1, 3, 129) } else { (1, 3, 11, 0) };
                for (kind, expected) in [(unreachable, true), (exceeded, true), (echo, false)] {
                    let router = packet(icmp, host(50_000), kind);
                    assert_eq!(takes(&program, &router, PACKET_HOST), expected, "{kind}");
                }
                assert!(
                    !takes(&program, &packet(47, host(1), 0), PACKET_HOST),
                    "another protocol"
                );
            }
            assert!(!takes(&from(v6, [].iter()), &packet(6, host(1), 0), PACKET_HOST));
            let many: Vec<_> = (0..600).map(host).collect();
            assert!(
                takes(&from(v6, many.iter()), &packet(6, host(60_000), 0), PACKET_HOST),
                "too many to tell apart"
            );
        }
    }
}
