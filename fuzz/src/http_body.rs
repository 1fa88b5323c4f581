//! Chunked bodies: the same verdict whatever the pieces, the same whether the framing passes or is taken off, and what is taken
//! reads the same for hyper.
//!
//! An input is a body, and what follows it.

use lb_user::proxy::http1::{Body, Framing, RequestHead, Scanner};

use crate::http::{BOUNDS, body, compare_with_hyper, cuts};

/// What stands before it.
const HEAD: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Panics when a body is not read as it should.
pub fn check(data: &[u8]) {
    agrees(data);
}

/// True when hyper takes it, too.
fn agrees(data: &[u8]) -> bool {
    let whole = in_pieces(data, &[]);
    assert_eq!(in_pieces(data, &cuts(data)), whole);
    assert_eq!(in_pieces(data, &(0..data.len()).collect::<Vec<_>>()), whole);
    let Some((length, trailers)) = whole else {
        return false;
    };
    let Some((end, content)) = body(Framing::Chunked, data) else {
        panic!("it is over for one and not for the other");
    };
    assert!(length == end && length <= data.len() && trailers.len() <= length);
    let message = [HEAD, &data[..length]].concat();
    let mut head = RequestHead::default();
    assert_eq!(head.read(&message, &BOUNDS), Ok(true));
    compare_with_hyper(&message, &head, &content)
}

/// Where it ends, and its trailers; `None` where it is none or not whole.
fn in_pieces(data: &[u8], ends: &[usize]) -> Option<(usize, Vec<u8>)> {
    let mut scanner = Scanner::default();
    let mut plain = Body::of(Framing::Chunked);
    let (mut passed, mut at) = (0, 0);
    for &end in ends.iter().chain([&data.len()]) {
        let raw = scanner.pass(&data[passed..end]);
        loop {
            match plain.data(&data[at..end]) {
                Ok((0, 0)) => break,
                Ok((skip, length)) => at += skip + length,
                Err(error) => {
                    assert_eq!(raw, Err(error));
                    return None;
                }
            }
        }
        passed += raw.expect("the other way did not fail");
        assert_eq!((passed, scanner.is_over()), (at, plain.is_over()));
        assert!(scanner.is_over() || passed == end, "what is left belongs to somebody");
    }
    scanner.is_over().then(|| (passed, scanner.trailers().to_vec()))
}

#[cfg(test)]
mod tests {
    use super::agrees;

    #[test]
    fn there_is_something_to_compare() {
        assert!(agrees(b"5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\nrest"));
        assert!(!agrees(b"5\r\nhello"));
    }
}
