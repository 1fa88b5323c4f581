//! Heads on their way: what goes on as it is, what does not, and what is added. Lines that stay are copied in one piece.

pub(super) mod forwarded;
pub(super) mod location;
pub(super) mod request;
pub(super) mod response;

use super::http1::Field;

/// Copies those lines of a head that `goes_on` wants to `out`, neighbours together.
#[inline]
fn copy(head: &[u8], fields: &[Field], out: &mut Vec<u8>, mut goes_on: impl FnMut(&Field) -> bool) {
    let mut run = None;
    for field in fields {
        match (goes_on(field), run) {
            (true, None) => run = Some((field.line.start, field.line.end)),
            (true, Some((start, _))) => run = Some((start, field.line.end)),
            (false, Some((start, end))) => {
                out.extend_from_slice(&head[start as usize..end as usize]);
                run = None;
            }
            (false, None) => {}
        }
    }
    if let Some((start, end)) = run {
        out.extend_from_slice(&head[start as usize..end as usize]);
    }
}

/// Adds a line.
fn line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}
