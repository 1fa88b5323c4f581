//! Times of lines, in UTC. Most lines have the second of the one before, which is kept.

use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use super::format::decimal;
use crate::model::date::date;

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// The last second, written both ways.
#[derive(Debug, Default)]
pub(super) struct Stamp {
    second: Option<u64>,
    common: Vec<u8>,
    rfc3339: Vec<u8>,
}

impl Stamp {
    /// `[28/Nov/2026:14:48:40 +0000]`
    pub(super) fn common(&mut self, time: SystemTime, line: &mut Vec<u8>) {
        self.at(time);
        line.extend_from_slice(&self.common);
    }

    /// `2026-11-28T14:48:40.250Z` (RFC 3339)
    pub(super) fn rfc3339(&mut self, time: SystemTime, line: &mut Vec<u8>) {
        let millisecond = self.at(time);
        line.extend_from_slice(&self.rfc3339);
        line.extend_from_slice(match millisecond {
            0..10 => b".00",
            10..100 => b".0",
            _ => b".",
        });
        decimal(millisecond.into(), line);
        line.push(b'Z');
    }

    /// Makes it that of `time`; returns its milliseconds. What is before 1970 is 1970.
    fn at(&mut self, time: SystemTime) -> u32 {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        if self.second != Some(since.as_secs()) {
            self.second = Some(since.as_secs());
            self.write(since.as_secs());
        }
        since.subsec_millis()
    }

    fn write(&mut self, second: u64) {
        let (year, month, day) = date(second / 86_400);
        let (hour, minute, second) = (second / 3600 % 24, second / 60 % 60, second % 60);
        let name = MONTHS[month as usize - 1];
        self.common.clear();
        self.rfc3339.clear();
        // Writing into a Vec does not fail.
        let _ = write!(
            self.common,
            "[{day:02}/{name}/{year:04}:{hour:02}:{minute:02}:{second:02} +0000]"
        );
        let _ = write!(
            self.rfc3339,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn both(stamp: &mut Stamp, milliseconds: u64) -> [String; 2] {
        let time = UNIX_EPOCH + Duration::from_millis(milliseconds);
        let (mut common, mut rfc3339) = (Vec::new(), Vec::new());
        stamp.common(time, &mut common);
        stamp.rfc3339(time, &mut rfc3339);
        [common, rfc3339].map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn times() {
        let mut stamp = Stamp::default();
        for (milliseconds, common, rfc3339) in [
            (0, "[01/Jan/1970:00:00:00 +0000]", "1970-01-01T00:00:00.000Z"),
            (
                951_782_399_007,
                "[28/Feb/2000:23:59:59 +0000]",
                "2000-02-28T23:59:59.007Z",
            ),
            (
                951_782_400_050,
                "[29/Feb/2000:00:00:00 +0000]",
                "2000-02-29T00:00:00.050Z",
            ),
            (
                951_782_400_999,
                "[29/Feb/2000:00:00:00 +0000]",
                "2000-02-29T00:00:00.999Z",
            ),
            (
                951_868_800_000,
                "[01/Mar/2000:00:00:00 +0000]",
                "2000-03-01T00:00:00.000Z",
            ),
            (
                1_795_877_320_250,
                "[28/Nov/2026:14:48:40 +0000]",
                "2026-11-28T14:48:40.250Z",
            ),
            (
                4_107_542_400_000,
                "[01/Mar/2100:00:00:00 +0000]",
                "2100-03-01T00:00:00.000Z",
            ),
        ] {
            assert_eq!(both(&mut stamp, milliseconds), [common, rfc3339]);
        }
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut last = (1969, 12, 31);
        for days in 0..60_000 {
            let (year, month, day) = date(days);
            let next = [
                (last.0, last.1, last.2 + 1),
                (last.0, last.1 + 1, 1),
                (last.0 + 1, 1, 1),
            ];
            assert!(next.contains(&(year, month, day)), "{last:?} {days}");
            last = (year, month, day);
        }
        assert_eq!(last, (2134, 4, 10));
    }
}
