//! Heads and chunked bodies by their bytes: what is refused and how, what is taken, and that pieces change nothing.

mod chunked;
mod pieces;
mod requests;
mod responses;

use super::{Bounds, HeadError, RequestHead, ResponseHead};

/// Small enough to be met by tests.
const BOUNDS: Bounds = Bounds {
    bytes: 1024,
    fields: 8,
    target: 128,
};

/// Reads a request that is whole.
fn request(bytes: &[u8]) -> Result<RequestHead, HeadError> {
    let mut head = RequestHead::default();
    match head.read(bytes, &BOUNDS)? {
        true => Ok(head),
        false => panic!("more is wanted: {}", bytes.escape_ascii()),
    }
}

/// Reads a response to GET that is whole.
fn response(bytes: &[u8]) -> Result<ResponseHead, HeadError> {
    let mut head = ResponseHead::default();
    match head.read(bytes, &BOUNDS, false)? {
        true => Ok(head),
        false => panic!("more is wanted: {}", bytes.escape_ascii()),
    }
}
