//! Sizes as they are written: `32KiB`, `100MiB`, or a whole number of bytes.

use std::ops::RangeInclusive;

use super::fault::Checked;
use super::raw::{Value, excerpt};

/// Units from the largest to the smallest, in bytes.
const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

const FORMAT: &str = "write bytes as a number, or with a unit in quotes, as in \"32KiB\", \"100MiB\" or \"2GiB\"";

/// A size within limits, in bytes.
pub(super) fn size(value: &Value<'_>, limits: RangeInclusive<u64>) -> Checked<u64> {
    let size = match (value.text(), value.integer()) {
        (Some(text), _) => parse(text).ok_or_else(|| {
            let fault = value.fault(format!("\"{}\" is not a size", excerpt(text)));
            fault.hint(FORMAT)
        })?,
        (None, Some(bytes)) => bytes,
        (None, None) => return Err(value.mistyped("a size").hint(FORMAT)),
    };
    if !limits.contains(&size) {
        let (least, most) = (format(*limits.start()), format(*limits.end()));
        return Err(value.fault(format!("`{}` must be from {least} to {most}", value.key())));
    }
    Ok(size)
}

/// A whole number with its unit, nothing between them.
fn parse(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let (_, bytes) = UNITS.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*bytes)
}

/// In the largest unit that leaves no rest.
fn format(size: u64) -> String {
    match UNITS.iter().find(|(_, bytes)| size > 0 && size.is_multiple_of(*bytes)) {
        Some((unit, bytes)) => format!("{}{unit}", size / bytes),
        None => format!("{size} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_numbers_with_units() {
        for (text, bytes) in [
            ("32KiB", 32 << 10),
            ("100MiB", 100 << 20),
            ("1GiB", 1 << 30),
            ("7TiB", 7 << 40),
        ] {
            assert_eq!(parse(text), Some(bytes), "{text}");
            assert_eq!(format(bytes), text);
        }
        assert_eq!(
            (format(0), format(1_025)),
            ("0 bytes".to_owned(), "1025 bytes".to_owned())
        );
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "",
            "1",
            "KiB",
            "1 KiB",
            "1KB",
            "1kib",
            "1K",
            "-1KiB",
            "1.5MiB",
            "1MiB1KiB",
            "99999999TiB",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
