//! Cookies of a request (RFC 6265 §5.4).

use super::http1::{Fields, Known};

/// The value of the first cookie of this name.
#[must_use]
pub(super) fn cookie<'h>(head: &'h [u8], fields: &Fields, name: &[u8]) -> Option<&'h [u8]> {
    let lines = fields.all().iter().filter(|field| field.known == Known::Cookie);
    let mut pairs = lines.flat_map(|line| line.value.of(head).split(|&byte| byte == b';'));
    pairs.find_map(|pair| {
        let pair = pair.trim_ascii();
        let equals = memchr::memchr(b'=', pair)?;
        (pair[..equals] == *name).then(|| &pair[equals + 1..])
    })
}
