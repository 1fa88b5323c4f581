//! What a client sent, made safe for a line.

/// As Apache writes it (`ap_escape_logitem`): quotes and backslashes after a backslash, a few control characters by their
/// letter, and whatever else is not printable ASCII as `\xhh`.
pub(super) fn text(bytes: &[u8], line: &mut Vec<u8>) {
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|&byte| !is_plain(byte)) {
        line.extend_from_slice(&rest[..at]);
        line.push(b'\\');
        match rest[at] {
            byte @ (b'"' | b'\\') => line.push(byte),
            0x08 => line.push(b'b'),
            b'\n' => line.push(b'n'),
            b'\r' => line.push(b'r'),
            b'\t' => line.push(b't'),
            0x0b => line.push(b'v'),
            byte => {
                line.push(b'x');
                hex(byte, line);
            }
        }
        rest = &rest[at + 1..];
    }
    line.extend_from_slice(rest);
}

const fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'
}

/// A string of JSON (RFC 8259 §7), quotes and all. What is not UTF-8 becomes U+FFFD.
pub(super) fn json(bytes: &[u8], line: &mut Vec<u8>) {
    line.push(b'"');
    for chunk in bytes.utf8_chunks() {
        let mut rest = chunk.valid().as_bytes();
        let special = |&byte: &u8| byte < 0x20 || byte == b'"' || byte == b'\\' || byte == 0x7f;
        while let Some(at) = rest.iter().position(special) {
            line.extend_from_slice(&rest[..at]);
            line.push(b'\\');
            match rest[at] {
                byte @ (b'"' | b'\\') => line.push(byte),
                b'\n' => line.push(b'n'),
                b'\r' => line.push(b'r'),
                b'\t' => line.push(b't'),
                byte => {
                    line.extend_from_slice(b"u00");
                    hex(byte, line);
                }
            }
            rest = &rest[at + 1..];
        }
        line.extend_from_slice(rest);
        if !chunk.invalid().is_empty() {
            line.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    line.push(b'"');
}

fn hex(byte: u8, line: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    line.extend([DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn made(escape: fn(&[u8], &mut Vec<u8>), bytes: &[u8]) -> String {
        let mut line = Vec::new();
        escape(bytes, &mut line);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn as_apache_does() {
        let escaped = made(text, b"a\"b\\c\x08\n\r\t\x0b\x00\x1b\x7f\xc3\xa4~ ");
        assert_eq!(escaped, r#"a\"b\\c\b\n\r\t\v\x00\x1b\x7f\xc3\xa4~ "#);
    }

    #[test]
    fn what_is_not_utf8_is_seen_to_be_not() {
        assert_eq!(
            made(json, b"\xc3\xa4\xff\x01\"\x7f"),
            "\"\u{e4}\u{fffd}\\u0001\\\"\\u007f\""
        );
    }

    proptest! {
        #[test]
        fn nothing_leaves_its_place(bytes: Vec<u8>) {
            let escaped = made(text, &bytes);
            prop_assert!(escaped.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            let bare = escaped.replace(r"\\", "").replace("\\\"", "");
            prop_assert!(!bare.contains('"'));
            let read: String = serde_json::from_str(&made(json, &bytes)).unwrap();
            prop_assert_eq!(read, String::from_utf8_lossy(&bytes));
        }
    }
}
