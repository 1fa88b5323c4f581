use super::*;

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A datagram of either family.
fn datagrams() -> [Vec<u8>; 2] {
    [
        datagram(address("10.0.0.1:40000"), address("192.0.2.10:53"), b"hello"),
        datagram(address("[fd00::1]:40000"), address("[2001:db8::10]:53"), b"hello"),
    ]
}

#[test]
fn datagrams_are_for_the_next_hop_alone_and_read_back() {
    for (packet, v6) in datagrams().iter().zip([false, true]) {
        let expected = Received {
            protocol: Protocol::Udp,
            local: address(if v6 { "[2001:db8::10]:53" } else { "192.0.2.10:53" }),
            remote: address(if v6 { "[fd00::1]:40000" } else { "10.0.0.1:40000" }),
            content: Content::Packet,
        };
        assert_eq!(parse(packet), Some(expected));
        assert_eq!(payload(packet), Some(&b"hello"[..]));
        let (source, destination, _, segment) = ip(packet).unwrap();
        let udp = UdpPacket::new_checked(segment).unwrap();
        assert!(udp.verify_checksum(&source.into(), &destination.into()));
        assert_eq!(packet[if v6 { 7 } else { 8 }], 1, "the hop limit");
        if !v6 {
            assert!(Ipv4Packet::new_checked(&packet[..]).unwrap().verify_checksum());
        }
    }
}

#[test]
fn outer_headers_are_those_of_the_program() {
    let tunnel = Tunnel {
        source_v4: ([172, 20, 0, 0].into(), 12),
        source_v6: ("2001:db8:ff::".parse().unwrap(), 32),
    };
    for (packet, inner) in datagrams().iter().zip([4, 41]) {
        for backend in ["10.1.0.6", "2001:db8:1::6"].map(|ip| ip.parse::<IpAddr>().unwrap()) {
            let sources: std::collections::BTreeSet<_> = (40_000..40_064)
                .map(|variation| {
                    let outer = outer(&tunnel, backend, packet, variation);
                    let (source, destination, next, payload) = ip(&outer).unwrap();
                    assert_eq!((destination, u8::from(next), payload), (backend, inner, &packet[..]));
                    match source {
                        IpAddr::V4(v4) => {
                            let header = Ipv4Packet::new_checked(&outer[..]).unwrap();
                            assert!(header.verify_checksum());
                            // No identification, not to be fragmented, 64 hops.
                            assert_eq!(outer[4..9], [0, 0, 0x40, 0, 64]);
                            assert_eq!(v4.to_bits() & !0xfff, u32::from_be_bytes([172, 20, 0, 0]));
                        }
                        IpAddr::V6(v6) => {
                            assert_eq!(outer[7], 64);
                            assert_eq!(v6.octets()[..12], tunnel.source_v6.0.octets()[..12]);
                        }
                    }
                    source
                })
                .collect();
            assert!(sources.len() > 48, "they vary: {}", sources.len());
        }
    }
    let fixed = Tunnel {
        source_v4: ([10, 0, 0, 1].into(), 0),
        ..tunnel
    };
    let outer = outer(&fixed, [10, 1, 0, 6].into(), &datagrams()[0], 40_001);
    assert_eq!(ip(&outer).unwrap().0, IpAddr::from([10, 0, 0, 1]));
}

/// An ICMP error of either family from a router, which quotes so much of a datagram.
fn error(quoted: &[u8], kind: u8, code: u8) -> Vec<u8> {
    let v6 = quoted[0] >> 4 == 6;
    let length = 8 + quoted.len();
    let (source, destination, next) = match v6 {
        true => (
            "fd00::99".parse().unwrap(),
            "fd00::1".parse().unwrap(),
            IpProtocol::Icmpv6,
        ),
        false => (
            IpAddr::from([10, 0, 0, 99]),
            IpAddr::from([10, 0, 0, 1]),
            IpProtocol::Icmp,
        ),
    };
    let header = IpRepr::new(source.into(), destination.into(), next, length, 64);
    let mut packet = vec![0; header.buffer_len()];
    header.emit(&mut packet[..], &ChecksumCapabilities::default());
    let at = header.header_len();
    (packet[at], packet[at + 1]) = (kind, code);
    packet[at + 8..].copy_from_slice(quoted);
    packet
}

#[test]
fn errors_belong_to_what_they_quote() {
    let [v4, v6] = datagrams();
    for (packet, kind, code, expected) in [
        (&v4, 3, 3, Some(IcmpError::Port)),
        (&v4, 3, 0, Some(IcmpError::Unreachable(Errno::ENETUNREACH))),
        (&v4, 3, 1, Some(IcmpError::Unreachable(Errno::EHOSTUNREACH))),
        (&v4, 3, 13, Some(IcmpError::Unreachable(Errno::EHOSTUNREACH))),
        (&v4, 11, 0, Some(IcmpError::HopLimit)),
        (&v4, 3, 4, None),
        (&v4, 0, 0, None),
        (&v6, 1, 4, Some(IcmpError::Port)),
        (&v6, 1, 0, Some(IcmpError::Unreachable(Errno::ENETUNREACH))),
        (&v6, 1, 3, Some(IcmpError::Unreachable(Errno::EHOSTUNREACH))),
        (&v6, 3, 0, Some(IcmpError::HopLimit)),
        (&v6, 129, 0, None),
    ] {
        // As little as RFC 792 asks for, and all.
        for length in [if packet[0] >> 4 == 4 { 28 } else { 48 }, packet.len()] {
            let received = parse(&error(&packet[..length], kind, code));
            let v4 = packet[0] >> 4 == 4;
            let expected = expected.map(|error| Received {
                protocol: Protocol::Udp,
                local: address(if v4 { "10.0.0.1:40000" } else { "[fd00::1]:40000" }),
                remote: address(if v4 { "192.0.2.10:53" } else { "[2001:db8::10]:53" }),
                content: Content::Error(error),
            });
            assert_eq!(received, expected, "{kind} {code}");
        }
    }
}

#[test]
fn nonsense_is_nobodys() {
    for packet in datagrams() {
        for length in 0..packet.len() {
            let cut = &packet[..length];
            // What breaks off is not taken, and never reads beyond its end.
            assert_eq!(parse(cut), None, "{length}");
            for (kind, code) in [(3, 3), (1, 4)] {
                if length > 0 {
                    let _ = parse(&error(cut, kind, code));
                }
            }
        }
        let mut fragment = packet.clone();
        if fragment[0] >> 4 == 4 {
            fragment[6] = 0x20;
            assert_eq!(parse(&fragment), None);
        }
    }
    assert_eq!(parse(&[0x10; 60]), None);
    assert_eq!(parse(&[]), None);
}
