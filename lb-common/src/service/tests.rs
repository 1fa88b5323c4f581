use super::*;

#[test]
fn holding_ends_by_itself() {
    let word = |until: u32| feature::CLIENT_SOURCE | (until as u64) << feature::HOLD_UNTIL;
    assert!(!feature::holds(word(0), 7), "nobody has asked for it");
    assert!(feature::holds(word(9), 7) && feature::holds(word(9), 9));
    assert!(!feature::holds(word(9), 10));
    assert!(feature::holds(word(2), u32::MAX - 2), "over the end of the clock");
    assert!(!feature::holds(word(u32::MAX - 2), 2));
}

#[test]
fn a_decision_keeps_its_fields_apart() {
    let d = Decision::service(Mode::Dsr, Choice::Tuple, 0xff_ffff, 20, 0x7f_ffff);
    assert_eq!(
        (d.ring_block(), d.ring_log2(), d.member_base()),
        (0xff_ffff, 20, 0x7f_ffff)
    );
    assert_eq!(d.mode(), Some(Mode::Dsr));
    assert!(d.exists() && !d.overflowed() && !d.has(Decision::ECHO));
    let d = Decision::service(Mode::Tunnel, Choice::Least, 5, 14, 64);
    assert_eq!((d.ring_block(), d.ring_log2(), d.member_base()), (5, 14, 64));
    assert_eq!(d.member(MemberIndex(3)), MemberId(67));
    assert_eq!((d.mode(), d.choice()), (Some(Mode::Tunnel), Choice::Least));
    assert!(!Decision(Decision::OVERFLOWED).exists());
    let proxy = Decision::proxy(3);
    assert_eq!((proxy.mode(), proxy.choice()), (Some(Mode::Proxy), Choice::Tuple));
    assert_eq!((proxy.member_base(), proxy.ring_block()), (MEMBERS + 3, 0));
    assert!(proxy.exists() && !proxy.overflowed() && !proxy.has(Decision::NAT_SOURCE));
    let vip = Decision::address(Decision::ECHO | Decision::OWNED | 1 << 60);
    assert_eq!(vip, Decision(0b101_001));
    let vip = vip.with_blocks(1).with_blocks(16);
    assert_eq!(vip.blocks(), 1 << 1 | 1 << 16);
    assert!(vip.is_vip() && vip.has(Decision::ECHO | Decision::OWNED) && !vip.overflowed());
}

#[test]
fn every_mode_is_of_its_kind() {
    let kinds = |mode: Mode| {
        let decision = Decision(mode as u64);
        assert_eq!(decision.mode(), Some(mode));
        (
            decision.is_service(),
            decision.is_balanced(),
            decision.is_proxy(),
            decision.is_direct(),
            decision.is_vip(),
        )
    };
    assert_eq!(kinds(Mode::Address), (false, false, false, false, true));
    assert_eq!(kinds(Mode::Dsr), (true, true, false, true, false));
    assert_eq!(kinds(Mode::Nat), (true, true, false, false, false));
    assert_eq!(kinds(Mode::Backend), (false, false, false, false, false));
    assert_eq!(kinds(Mode::Source), (false, false, false, false, false));
    assert_eq!(kinds(Mode::Tunnel), (true, true, false, true, false));
    assert_eq!(kinds(Mode::Proxy), (true, false, true, false, false));
    assert_eq!(Decision::NONE.mode(), None);
}

#[test]
fn blocks_cover_a_range_and_nothing_else() {
    for (first, last) in [
        (80, 80),
        (8000, 8999),
        (1, 65535),
        (0, 65535),
        (65535, 65535),
        (1023, 1025),
        (4096, 8191),
    ] {
        let mut next = u32::from(first);
        let mut blocks = 0;
        for block in PortBlock::cover(first, last) {
            assert_eq!(u32::from(block.first()), next);
            for port in [block.first(), block.first() + ((1u32 << block.free()) - 1) as u16] {
                assert_eq!(PortBlock::of(port, block.free()), block);
            }
            next += 1 << block.free();
            blocks += 1;
        }
        assert_eq!(next, u32::from(last) + 1, "{first}-{last}");
        assert!(blocks <= 30);
    }
    assert!(PortBlock::cover(0, 65535).eq([PortBlock::ALL]));
}

#[test]
fn a_block_is_no_port() {
    let a = Ipv4Be::new([192, 0, 2, 1]);
    let block = KeyV4::block(a, PortBlock::of(8080, 3), protocol::TCP);
    assert_ne!(block, KeyV4::new(a, PortBe::new(8080), protocol::TCP));
    assert_eq!(block, KeyV4::block(a, PortBlock::of(8087, 3), protocol::TCP));
    assert_eq!(block.address(), a);
    assert_eq!(
        KeyV4::block(a, PortBlock::of(8080, 0), protocol::TCP),
        KeyV4::new(a, PortBe::new(8080), protocol::TCP)
    );
}

#[test]
fn keys_that_differ_in_one_field_differ() {
    let a = Ipv4Be::new([192, 0, 2, 1]);
    let key = KeyV4::new(a, PortBe::new(80), protocol::TCP);
    assert_ne!(key, KeyV4::new(a, PortBe::new(80), protocol::UDP));
    assert_ne!(key, KeyV4::new(a, PortBe::new(81), protocol::TCP));
    assert_ne!(
        key,
        KeyV4::new(Ipv4Be::new([192, 0, 2, 2]), PortBe::new(80), protocol::TCP)
    );
}

#[test]
fn neighbouring_keys_spread_over_buckets() {
    // 4,096 ports of one VIP in 16,384 buckets of four: few buckets may be full.
    let mut fill = [0u8; SERVICE_BUCKETS as usize];
    let a = Ipv4Be::new([192, 0, 2, 1]);
    for port in 1..=4096 {
        fill[KeyV4::new(a, PortBe::new(port), protocol::TCP).bucket() as usize] += 1;
    }
    let over: usize = fill.iter().map(|&n| usize::from(n.saturating_sub(4))).sum();
    assert!(over < 10, "{over} of 4096 keys overflow");
}
