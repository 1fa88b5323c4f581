use proptest::prelude::*;

use super::*;

fn check(expect_record: bool) -> DnsProbe {
    DnsProbe {
        name: "www.example".to_owned(),
        record: RecordType::Aaaa,
        expect_record,
    }
}

/// The answer to a query: flags, counts of questions and records, and what follows the question.
fn answer(query: &[u8], flags: [u8; 2], counts: [u8; 2], rest: &[u8]) -> Vec<u8> {
    let mut answer = query.to_vec();
    answer[2..4].copy_from_slice(&flags);
    (answer[5], answer[7]) = (counts[0], counts[1]);
    answer.extend(rest);
    answer
}

#[test]
fn a_query_is_as_the_standard_says() {
    let expected = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03www\x07example\0\0\x1c\0\x01";
    assert_eq!(query(0x1234, "www.example", RecordType::Aaaa), expected);
    let root = b"\0\0\x01\0\0\x01\0\0\0\0\0\0\0\0\x02\0\x01";
    assert_eq!(query(0, ".", RecordType::Ns), root);
}

#[test]
fn answers_are_judged() {
    let query = query(7, "www.example", RecordType::Aaaa);
    let aaaa = |name: &[u8]| [name, b"\0\x1c\0\x01\0\0\0\x3c\0\x10", &[1; 16]].concat();
    let cname = b"\xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x02\xc0\x10".to_vec();
    let no_record = Err(Failure::NoRecord(RecordType::Aaaa));
    for (flags, counts, rest, wanted, expected) in [
        ([0x81, 0x80], [1, 0], vec![], false, Ok(())),
        ([0x84, 0x00], [1, 0], vec![], true, no_record),
        ([0x81, 0x80], [1, 1], aaaa(b"\xc0\x0c"), true, Ok(())),
        (
            [0x81, 0x80],
            [1, 2],
            [cname.clone(), aaaa(b"\x01x\xc0\x10")].concat(),
            true,
            Ok(()),
        ),
        ([0x81, 0x80], [1, 1], aaaa(b"\x03www\x07example\0"), true, Ok(())),
        ([0x81, 0x80], [1, 1], cname, true, no_record),
        // It breaks off: without the record, good where none is wanted.
        ([0x83, 0x80], [1, 1], vec![0xc0], true, no_record),
        ([0x83, 0x80], [1, 1], vec![0xc0], false, Ok(())),
        ([0x81, 0x83], [1, 0], vec![], false, Err(Failure::Code(3))),
        ([0x81, 0x85], [0, 0], vec![], false, Err(Failure::Code(5))),
        ([0x81, 0x80], [0, 0], vec![], false, Err(Failure::Stray)),
        ([0x81, 0x80], [2, 0], vec![], false, Err(Failure::Stray)),
        ([0x01, 0x80], [1, 0], vec![], false, Err(Failure::Stray)),
    ] {
        let answer = answer(&query, flags, counts, &rest);
        assert_eq!(judge(&answer, &query, &check(wanted)), expected, "{answer:02x?}");
    }
    let mut shouted = answer(&query, [0x80, 0], [1, 0], &[]);
    shouted[13..16].copy_from_slice(b"WWW");
    assert_eq!(
        judge(&shouted, &query, &check(false)),
        Ok(()),
        "names are equal in any case"
    );
    let mut other_type = shouted.clone();
    other_type[26] = 1;
    assert_eq!(judge(&other_type, &query, &check(false)), Err(Failure::Stray));
}

#[test]
fn codes_have_names() {
    let words = [3, 5, 15].map(|code| Failure::Code(code).to_string());
    assert_eq!(
        words,
        [
            "NXDOMAIN, wanted NOERROR",
            "REFUSED, wanted NOERROR",
            "code 15, wanted NOERROR"
        ]
    );
}

proptest! {
    #[test]
    fn no_answer_breaks_the_judge(answer in prop::collection::vec(any::<u8>(), 0..200), expect_record: bool) {
        let query = query(7, "www.example", RecordType::Aaaa);
        let _ = judge(&answer, &query, &check(expect_record));
        // The same behind a head that is as it should be, so that the records are reached.
        let good = self::answer(&query, [0x81, 0x80], [1, 200], &answer);
        let judged = judge(&good, &query, &check(expect_record));
        prop_assert!(judged == Ok(()) || expect_record && judged == Err(Failure::NoRecord(RecordType::Aaaa)));
        for length in 0..good.len() {
            let _ = judge(&good[..length], &query, &check(expect_record));
        }
    }
}
