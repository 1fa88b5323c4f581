//! The same verdict whatever the pieces: of heads and bodies that are right, and of what chance makes of them.

use proptest::prelude::*;

use super::super::{Body, Framing, HeadError, RequestHead, ResponseHead, Scanner};
use super::BOUNDS;

/// What there is to say of a request.
type Verdict = Result<Option<(usize, Framing, Vec<(u32, u32)>)>, HeadError>;

fn in_pieces(bytes: &[u8], cuts: &[usize]) -> Verdict {
    let mut head = RequestHead::default();
    for &end in cuts.iter().chain([&bytes.len()]) {
        if head.read(&bytes[..end], &BOUNDS)? {
            let values = head
                .fields
                .all()
                .iter()
                .map(|field| (field.value.start, field.value.end))
                .collect();
            return Ok(Some((head.length, head.framing, values)));
        }
    }
    Ok(None)
}

fn response_in_pieces(bytes: &[u8], cuts: &[usize]) -> Result<Option<(usize, Framing, u16)>, HeadError> {
    let mut head = ResponseHead::default();
    for &end in cuts.iter().chain([&bytes.len()]) {
        if head.read(&bytes[..end], &BOUNDS, false)? {
            return Ok(Some((head.length, head.framing, head.status)));
        }
    }
    Ok(None)
}

/// How much of a body passes, and its data.
fn body_in_pieces(bytes: &[u8], cuts: &[usize]) -> Option<(usize, bool, Vec<u8>, Vec<u8>)> {
    let (mut raw, mut body) = (Scanner::default(), Body::of(Framing::Chunked));
    let (mut passed, mut at, mut data) = (0, 0, Vec::new());
    for &end in cuts.iter().chain([&bytes.len()]) {
        passed += raw.pass(&bytes[passed..end]).ok()?;
        loop {
            let (skip, length) = body.data(&bytes[at..end]).ok()?;
            data.extend_from_slice(&bytes[at + skip..at + skip + length]);
            at += skip + length;
            if skip + length == 0 {
                break;
            }
        }
    }
    assert_eq!(
        (passed, raw.is_over(), raw.trailers()),
        (at, body.is_over(), body.trailers()),
        "both ways are one"
    );
    Some((passed, raw.is_over(), raw.trailers().to_vec(), data))
}

/// Places to cut at, in order.
fn cuts(length: usize, chance: &[prop::sample::Index]) -> Vec<usize> {
    let mut cuts: Vec<usize> = chance.iter().map(|index| index.index(length + 1)).collect();
    cuts.sort_unstable();
    cuts
}

/// Bytes of these parts, some of which chance replaces.
fn mutated(parts: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let parts = prop::collection::vec(prop::sample::select(parts), 0..24);
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
    (parts, changes).prop_map(|(parts, changes)| {
        let mut bytes = parts.concat().into_bytes();
        for (place, byte) in changes {
            if !bytes.is_empty() {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
        }
        bytes
    })
}

const HEAD: &[&str] = &[
    "GET / HTTP/1.1\r\nHost: a\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\n",
    "POST http://a/ HTTP/1.1\r\n",
    "HTTP/1.1 200 OK\r\n",
    "Content-Length: 5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Connection: close, x\r\n",
    "X: y\r\n",
    "X: y\n",
    "X: \r",
    " folded\r\n",
    "Expect: 100-continue\r\n",
    "\r\n",
    "\r\n",
];

const BODY: &[&str] = &[
    "5\r\nhello\r\n",
    "1\r\n\r\r\n",
    "a;x=y\r\n0123456789\r\n",
    "0\r\n",
    "\r\n",
    "X: y\r\n",
    "5",
    "\r",
    "\n",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn of_requests(bytes in mutated(HEAD), chance in prop::collection::vec(any::<prop::sample::Index>(), 0..6)) {
        let whole = in_pieces(&bytes, &[]);
        prop_assert_eq!(in_pieces(&bytes, &cuts(bytes.len(), &chance)), whole.clone());
        let each: Vec<usize> = (0..bytes.len()).collect();
        prop_assert_eq!(in_pieces(&bytes, &each), whole);
    }

    #[test]
    fn of_responses(bytes in mutated(HEAD), chance in prop::collection::vec(any::<prop::sample::Index>(), 0..6)) {
        let bytes = [b"HTTP/1.1 200 OK\r\n", &bytes[..]].concat();
        let whole = response_in_pieces(&bytes, &[]);
        prop_assert_eq!(response_in_pieces(&bytes, &cuts(bytes.len(), &chance)), whole);
        let each: Vec<usize> = (0..bytes.len()).collect();
        prop_assert_eq!(response_in_pieces(&bytes, &each), whole);
    }

    #[test]
    fn of_bodies(bytes in mutated(BODY), chance in prop::collection::vec(any::<prop::sample::Index>(), 0..6)) {
        let whole = body_in_pieces(&bytes, &[]);
        prop_assert_eq!(body_in_pieces(&bytes, &cuts(bytes.len(), &chance)), whole.clone());
        let each: Vec<usize> = (0..bytes.len()).collect();
        prop_assert_eq!(body_in_pieces(&bytes, &each), whole);
    }
}

#[test]
fn large_heads_are_refused_at_the_same_place() {
    let mut bytes = b"GET / HTTP/1.1\r\nHost: a\r\nX: ".to_vec();
    bytes.resize(BOUNDS.bytes + 100, b'y');
    bytes.extend_from_slice(b"\n");
    let each: Vec<usize> = (0..bytes.len()).collect();
    assert_eq!(in_pieces(&bytes, &[]), Err(HeadError::TooLarge));
    assert_eq!(in_pieces(&bytes, &each), Err(HeadError::TooLarge));
}
