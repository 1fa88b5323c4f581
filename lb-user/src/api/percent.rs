//! Percent-encoding (RFC 3986 §2.1), as paths and queries need it.

use std::fmt::Write as _;

/// `text` for a segment of a path or a value of a query. What names and addresses consist of, apart from the brackets
/// and the zone of IPv6, stays as it is (§3.3, §3.4).
pub(super) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        let _ = match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b':' | b'.' | b'-' | b'_' => {
                write!(encoded, "{}", char::from(byte))
            }
            _ => write!(encoded, "%{byte:02X}"),
        };
    }
    encoded
}

/// What was encoded; `None` when that, or what comes of it, is malformed.
pub(super) fn decode(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let (high, low) = (bytes.next()?, bytes.next()?);
                let digit = |byte| char::from(byte).to_digit(16);
                u8::try_from(digit(high)? * 16 + digit(low)?).ok()?
            }
            _ => byte,
        });
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(text in ".{0,40}") {
            let encoded = encode(&text);
            prop_assert!(encoded.bytes().all(|b| b.is_ascii_graphic() && !b"/?#[]&=".contains(&b)), "{encoded}");
            prop_assert_eq!(decode(&encoded), Some(text));
        }
    }
}
