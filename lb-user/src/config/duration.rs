//! Durations as they are written: `250ms`, `2s`, `1m30s`, `2h15m`, `180d`.

use std::time::Duration;

/// Units from the largest to the smallest, in milliseconds.
const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Whole numbers, each with its unit, larger units first, no unit twice, nothing between them.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let mut units = UNITS.iter();
    let mut rest = text;
    let mut total = 0u64;
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let (unit, after) = after.split_at(after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len()));
        let (_, millis) = units.find(|(name, _)| *name == unit)?;
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(*millis)?)?;
        rest = after;
    }
    (!text.is_empty()).then(|| Duration::from_millis(total))
}

/// As of [`parse`], for arguments.
pub(crate) fn span(text: &str) -> Result<Duration, String> {
    match parse(text) {
        Some(span) if !span.is_zero() => Ok(span),
        _ => Err("write a time above zero, as in 500ms, 30s, 5m or 2h".to_owned()),
    }
}

/// The reverse of [`parse`], for whole milliseconds. Days are shown as hours: most durations are far below one.
#[must_use]
pub(crate) fn format(duration: Duration) -> String {
    let mut rest = duration.as_millis();
    let mut text = String::new();
    for (unit, millis) in &UNITS[1..] {
        let number = rest / u128::from(*millis);
        rest %= u128::from(*millis);
        if number > 0 {
            text += &format!("{number}{unit}");
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_numbers_with_units() {
        for (text, millis) in [
            ("250ms", 250),
            ("2s", 2_000),
            ("1m30s", 90_000),
            ("2h15m", 8_100_000),
            ("1h1ms", 3_600_001),
            ("90s", 90_000),
            ("180d", 15_552_000_000),
            ("1d12h", 129_600_000),
            ("0s", 0),
        ] {
            assert_eq!(parse(text), Some(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "",
            "2",
            "s",
            "2 s",
            " 2s",
            "2s ",
            "1.5s",
            "-1s",
            "+1s",
            "2S",
            "2sec",
            "1s1s",
            "1s1m",
            "1ms1s",
            "2D",
            "1h1d",
            "2µs",
            "s2",
            "٣s",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_the_same(millis: u64) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse(&format(duration)), Some(duration));
        }
    }
}
