//! Bars that lie, one a subject, with the range of another run and each round's figure.

use super::super::stats::Range;
use super::{WIDTH, chart, line, short, text, ticks};

/// One bar.
pub(in super::super) struct Bar<'a> {
    pub(in super::super) name: &'a str,
    /// `own`, `other` or `none`: style and pattern.
    pub(in super::super) class: &'static str,
    pub(in super::super) range: Range,
    pub(in super::super) samples: Vec<f64>,
    /// The range in words.
    pub(in super::super) label: String,
}

const LEFT: f64 = 92.0;
const RIGHT: f64 = 300.0;
const ROW: f64 = 25.0;
const TOP: f64 = 6.0;

/// Bars from 0, in the order given; `axis` names the unit.
pub(in super::super) fn bars(title: &str, axis: &str, bars: &[Bar]) -> String {
    let most = bars.iter().map(|bar| bar.range.high).fold(0.0, f64::max);
    let most = if most > 0.0 { most } else { 1.0 };
    let x = |value: f64| LEFT + (RIGHT - LEFT) * (value / most).clamp(0.0, 1.0);
    let bottom = TOP + ROW * bars.len() as f64;
    let mut body = String::new();
    for tick in ticks(most) {
        body += &line((x(tick), TOP), (x(tick), bottom), "grid");
        body += &text(x(tick), bottom + 15.0, "tick middle", &short(tick));
    }
    for (number, bar) in bars.iter().enumerate() {
        let top = TOP + ROW * number as f64;
        let middle = top + ROW / 2.0;
        body += &text(LEFT - 7.0, middle + 4.0, "name end", bar.name);
        body += &format!(
            "<rect x=\"{LEFT:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" class=\"bar {}\"/>",
            top + 4.0,
            (x(bar.range.median) - LEFT).max(0.5),
            ROW - 8.0,
            bar.class
        );
        if bar.range.samples > 1 {
            let (low, high) = (x(bar.range.low), x(bar.range.high));
            for class in ["halo", "whisker"] {
                body += &line((low, middle), (high, middle), class);
                body += &line((low, middle - 5.0), (low, middle + 5.0), class);
                body += &line((high, middle - 5.0), (high, middle + 5.0), class);
            }
        }
        for &sample in bar.samples.iter().filter(|sample| sample.is_finite()) {
            body += &format!(
                "<circle cx=\"{:.1}\" cy=\"{middle:.1}\" r=\"2\" class=\"round\"/>",
                x(sample)
            );
        }
        body += &text(RIGHT + 10.0, middle + 4.0, "value", &bar.label);
    }
    body += &line((LEFT, TOP), (LEFT, bottom), "axis");
    body += &text(f64::midpoint(LEFT, RIGHT), bottom + 32.0, "unit middle", axis);
    chart(WIDTH, bottom + 38.0, title, &body)
}
