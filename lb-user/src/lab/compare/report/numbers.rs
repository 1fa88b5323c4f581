//! Figures as people read them: three digits, thousands apart, units that suit.

use super::stats::Range;

/// To three digits: 41,200, 97.3, 0.42.
pub(super) fn number(value: f64) -> String {
    to_place(value, place(value) - 2)
}

/// A count, exactly.
pub(super) fn count(value: u64) -> String {
    to_place(value as f64, 0)
}

/// A median with how far another run may lie from it, both to the same place: "41,200 ± 1,900"; of one sample, "41,200".
/// Of the median there are two digits at least, however far that is.
pub(super) fn range(range: &Range) -> String {
    if range.samples < 2 || range.half() <= 0.0 {
        return number(range.median);
    }
    let last = (place(range.half()) - 1).max(-2);
    let of_median = last.min(place(range.median) - 1).max(-2);
    format!(
        "{} ± {}",
        to_place(range.median, of_median),
        to_place(range.half(), last)
    )
}

/// How many times: two digits.
pub(super) fn times(value: f64) -> String {
    if value < 10.0 {
        format!("{value:.1}")
    } else {
        to_place(value, place(value) - 1)
    }
}

/// Of microseconds, in the unit that suits: "312 µs", "12.4 ms".
pub(super) fn micros(value: f64) -> String {
    match value {
        small if small < 1e3 => format!("{} µs", number(small)),
        middle if middle < 1e6 => format!("{} ms", number(middle / 1e3)),
        large => format!("{} s", number(large / 1e6)),
    }
}

/// Of seconds: "0.3 s", "42 s", "12 min".
pub(super) fn seconds(value: f64) -> String {
    match value {
        short if short < 10.0 => format!("{short:.1} s"),
        middle if middle < 120.0 => format!("{middle:.0} s"),
        long => format!("{:.0} min", long / 60.0),
    }
}

/// Of bytes, in mebibytes or gibibytes.
pub(super) fn bytes(value: u64) -> String {
    let mebibytes = value as f64 / 1_048_576.0;
    if mebibytes < 1024.0 {
        format!("{} MiB", number(mebibytes))
    } else {
        format!("{} GiB", number(mebibytes / 1024.0))
    }
}

/// One thing or several: "1 server", "3 servers".
pub(super) fn some(value: u64, one: &str, several: &str) -> String {
    format!("{} {}", count(value), if value == 1 { one } else { several })
}

/// The power of ten of the first digit.
fn place(value: f64) -> i32 {
    let value = value.abs();
    if value > 0.0 && value.is_finite() {
        value.log10().floor() as i32
    } else {
        0
    }
}

/// Rounded to a power of ten, with at most two decimals.
fn to_place(value: f64, last: i32) -> String {
    let unit = 10_f64.powi(last.max(0));
    let decimals = usize::try_from(-last).unwrap_or(0).min(2);
    let text = format!("{:.decimals$}", (value / unit).round_ties_even() * unit);
    let text = if decimals > 0 {
        format!("{value:.decimals$}")
    } else {
        text
    };
    let (whole, rest) = text
        .split_once('.')
        .map_or((text.as_str(), None), |(whole, rest)| (whole, Some(rest)));
    let mut grouped = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    rest.map_or(grouped.clone(), |rest| format!("{grouped}.{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits() {
        for (value, text) in [
            (0.0, "0.00"),
            (0.004, "0.00"),
            (0.4239, "0.42"),
            (9.731, "9.73"),
            (97.31, "97.3"),
            (412.4, "412"),
            (41_234.0, "41,200"),
            (1_234_567.0, "1,230,000"),
        ] {
            assert_eq!(number(value), text);
        }
        assert_eq!(count(1_234_567), "1,234,567");
    }

    #[test]
    fn ranges_share_their_last_place() {
        let show = |median: f64, half: f64| {
            range(&Range {
                median,
                low: median - half,
                high: median + half,
                samples: 5,
            })
        };
        assert_eq!(show(41_234.0, 1_870.0), "41,200 ± 1,900");
        assert_eq!(show(3.412, 0.172), "3.41 ± 0.17");
        assert_eq!(show(312.4, 15.6), "312 ± 16");
        assert_eq!(show(341.0, 37_120.0), "340 ± 37,000");
        assert_eq!(show(0.0, 0.0), "0.00");
        assert_eq!(range(&Range::of(&[7.0]).unwrap()), "7.00");
    }

    #[test]
    fn units_that_suit() {
        assert_eq!(micros(312.0), "312 µs");
        assert_eq!(micros(12_400.0), "12.4 ms");
        assert_eq!(micros(2_500_000.0), "2.50 s");
        assert_eq!(seconds(0.34), "0.3 s");
        assert_eq!(seconds(42.0), "42 s");
        assert_eq!(seconds(1440.0), "24 min");
        assert_eq!(bytes(12 << 20), "12.0 MiB");
        assert_eq!(bytes(3 << 30), "3.00 GiB");
        assert_eq!(some(1, "server", "servers"), "1 server");
        assert_eq!(times(1.84), "1.8");
        assert_eq!(times(124.0), "120");
    }
}
