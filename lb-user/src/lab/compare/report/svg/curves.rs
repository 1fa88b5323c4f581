//! How long answers took, by which part of them: one subject before all others.
//!
//! The part runs along 1/(1-p), so that each step is ten times as rare; time is logarithmic too.

use super::super::numbers;
use super::super::stats::Range;
use super::{chart, line, text};

/// One subject's times.
pub(in super::super) struct Curve<'a> {
    pub(in super::super) name: &'a str,
    pub(in super::super) class: &'static str,
    /// (part of requests, microseconds), both rising.
    pub(in super::super) points: &'a [(f64, f64)],
    /// (part of requests, range of the rounds).
    pub(in super::super) ranges: Vec<(f64, Range)>,
}

/// Where the axis of times ends, the same for all charts that are to be compared. In microseconds, above 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) struct Limits {
    low: f64,
    high: f64,
}

impl Limits {
    /// Around all of them, at round times.
    pub(in super::super) fn of(curves: &[Curve]) -> Self {
        let times: Vec<f64> = curves
            .iter()
            .flat_map(|curve| curve.points)
            .filter(|(part, micros)| shown(*part) && *micros > 0.0 && micros.is_finite())
            .map(|(_, micros)| *micros)
            .collect();
        if times.is_empty() {
            return Self {
                low: 10.0,
                high: 1000.0,
            };
        }
        let least = times.iter().copied().fold(f64::MAX, f64::min);
        let most = times.iter().copied().fold(f64::MIN, f64::max);
        let around = round_times(least / 10.0, most * 10.0);
        let low = around.iter().copied().rfind(|time| *time <= least);
        let high = around.iter().copied().find(|time| *time > most);
        Self {
            low: low.unwrap_or(least / 10.0),
            high: high.unwrap_or(most * 10.0),
        }
    }

    /// Round times within, no more than fit.
    fn ticks(self) -> Vec<f64> {
        let mut ticks = round_times(self.low, self.high);
        if ticks.len() > 7 {
            ticks.retain(|time| (time.log10() - time.log10().round()).abs() < 1e-6);
        }
        ticks
    }
}

/// 1, 2, 5, 10... from `low` to `high`.
fn round_times(low: f64, high: f64) -> Vec<f64> {
    let powers = low.log10().floor() as i32..=high.log10().ceil() as i32;
    powers
        .flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10_f64.powi(power)))
        .filter(|time| (low * 0.999..=high * 1.001).contains(time))
        .collect()
}

const WIDTH: f64 = 330.0;
const HEIGHT: f64 = 226.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = WIDTH - 14.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = HEIGHT - 44.0;

/// Parts that have a tick.
const PARTS: [(f64, &str); 5] = [
    (0.5, "50 %"),
    (0.9, "90 %"),
    (0.99, "99 %"),
    (0.999, "99.9 %"),
    (0.9999, "99.99 %"),
];

/// From no request to all but one in 20,000.
fn shown(part: f64) -> bool {
    (0.0..0.999_95).contains(&part)
}

fn x(part: f64) -> f64 {
    LEFT + (RIGHT - LEFT) * -(1.0 - part).log10() / 4.3
}

/// The curve before `others`, which are there to be compared with; the first of them that is named `direct` is dashed.
pub(in super::super) fn curves(title: &str, curve: &Curve, others: &[&Curve], limits: Limits) -> String {
    let y = |micros: f64| {
        let part = (micros.max(1e-3) / limits.low).log10() / (limits.high / limits.low).log10();
        BOTTOM - (BOTTOM - TOP) * part.clamp(0.0, 1.0)
    };
    let path = |points: &[(f64, f64)], class: &str| {
        let places: Vec<String> = points
            .iter()
            .filter(|(part, micros)| shown(*part) && micros.is_finite())
            .map(|&(part, micros)| format!("{:.1},{:.1}", x(part), y(micros)))
            .collect();
        format!("<polyline points=\"{}\" class=\"{class}\"/>", places.join(" "))
    };
    let mut body = text(LEFT, 14.0, "panel", curve.name);
    for micros in limits.ticks() {
        body += &line((LEFT, y(micros)), (RIGHT, y(micros)), "grid");
        body += &text(LEFT - 6.0, y(micros) + 4.0, "tick end", &round_time(micros));
    }
    for (part, name) in PARTS {
        body += &line((x(part), TOP), (x(part), BOTTOM), "grid");
        body += &text(x(part), BOTTOM + 15.0, "tick middle", name);
    }
    for other in others {
        body += &path(other.points, "behind");
    }
    if let Some(direct) = others.iter().find(|other| other.class == "none") {
        body += &path(direct.points, "curve none");
    }
    body += &path(curve.points, &format!("curve {}", curve.class));
    for (part, range) in &curve.ranges {
        let (at, low, high) = (x(*part), y(range.low), y(range.high));
        if range.samples > 1 {
            body += &line((at, low), (at, high), "whisker");
            body += &line((at - 3.0, low), (at + 3.0, low), "whisker");
            body += &line((at - 3.0, high), (at + 3.0, high), "whisker");
        }
        body += &format!(
            "<circle cx=\"{at:.1}\" cy=\"{:.1}\" r=\"2.6\" class=\"median\"/>",
            y(range.median)
        );
    }
    body += &line((LEFT, BOTTOM), (RIGHT, BOTTOM), "axis");
    body += &text(
        f64::midpoint(LEFT, RIGHT),
        BOTTOM + 34.0,
        "unit middle",
        "part of the requests answered within this time",
    );
    chart(WIDTH, HEIGHT, title, &body)
}

/// A round time: "200 µs", "1 ms".
fn round_time(micros: f64) -> String {
    numbers::micros(micros).replace(".00", "").replace(".0", "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(points: &[(f64, f64)]) -> Limits {
        Limits::of(&[Curve {
            name: "",
            class: "own",
            points,
            ranges: Vec::new(),
        }])
    }

    #[test]
    fn axes_end_at_round_times() {
        let limits_of = |least: f64, most: f64| limits(&[(0.0, least), (0.999, most), (1.0, most * 100.0)]);
        assert_eq!(
            limits_of(88.0, 4_300.0),
            Limits {
                low: 50.0,
                high: 5_000.0
            }
        );
        assert_eq!(
            limits_of(88.0, 4_300.0).ticks(),
            [50.0, 100.0, 200.0, 500.0, 1_000.0, 2_000.0, 5_000.0]
        );
        assert_eq!(
            limits_of(88.0, 430_000.0).ticks(),
            [100.0, 1_000.0, 10_000.0, 100_000.0]
        );
        assert!(limits_of(100.0, 100.0).ticks().len() > 1);
        assert_eq!(limits(&[(0.5, 0.0), (0.6, f64::NAN)]), limits(&[]));
    }

    #[test]
    fn round_times_are_short() {
        assert_eq!(
            [10.0, 200.0, 1e3, 5e4, 1e6].map(round_time),
            ["10 µs", "200 µs", "1 ms", "50 ms", "1 s"]
        );
    }
}
