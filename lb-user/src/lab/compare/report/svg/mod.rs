//! A few kinds of charts as SVG, for one page.
//!
//! Each chart is one `<svg>` with a title for those who cannot see it, units on its axes, and labels where things are
//! rather than a legend. Nothing is told by colour alone: patterns, dashes and places say the same. Colours come from
//! the page's style by class. Charts are drawn 440 units wide, which is readable on a telephone, two beside each other
//! on a desk; units are CSS pixels there.

mod bars;
mod curves;
mod strips;

pub(super) use bars::{Bar, bars};
pub(super) use curves::{Curve, Limits, curves};
pub(super) use strips::strips;

/// Of charts.
const WIDTH: f64 = 440.0;

/// Patterns that charts refer to, once for a page.
pub(super) const PATTERNS: &str = concat!(
    r#"<svg width="0" height="0" class="patterns" aria-hidden="true" focusable="false"><defs>"#,
    r#"<pattern id="hatch-other" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">"#,
    r#"<rect width="6" height="6" class="other-ground"/><rect width="2.5" height="6" class="other-line"/></pattern>"#,
    r#"<pattern id="hatch-fail" width="4" height="4" patternUnits="userSpaceOnUse" patternTransform="rotate(-45)">"#,
    r#"<rect width="4" height="4" class="fail-ground"/><rect width="1.8" height="4" class="fail-line"/></pattern>"#,
    "</defs></svg>\n",
);

/// Text within HTML and within the values of attributes.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// An `<svg>` that scales with its place.
fn chart(width: f64, height: f64, title: &str, body: &str) -> String {
    let title = escape(title);
    format!(
        "<svg viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" aria-label=\"{title}\"><title>{title}</title>{body}</svg>\n"
    )
}

fn text(x: f64, y: f64, class: &str, content: &str) -> String {
    format!(
        "<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\">{}</text>",
        escape(content)
    )
}

fn line(from: (f64, f64), to: (f64, f64), class: &str) -> String {
    format!(
        "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" class=\"{class}\"/>",
        from.0, from.1, to.0, to.1
    )
}

/// Round steps from 0 to `most`, between three and six of them.
fn ticks(most: f64) -> Vec<f64> {
    if !(most.is_finite() && most > 0.0) {
        return vec![0.0];
    }
    let power = 10_f64.powf((most / 5.0).log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| most / step <= 5.0)
        .unwrap_or(most);
    (0..=(most / step).floor() as u32)
        .map(|number| f64::from(number) * step)
        .collect()
}

/// A tick in as few letters as it takes: 20k, 500, 0.5.
fn short(value: f64) -> String {
    match value {
        large if large >= 1e6 => format!("{}M", large / 1e6),
        large if large >= 1e3 => format!("{}k", large / 1e3),
        small => format!("{}", (small * 1e6).round() / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_escapes() {
        assert_eq!(
            escape("<script>\"a\" & 'b'</script>"),
            "&lt;script&gt;&quot;a&quot; &amp; &#39;b&#39;&lt;/script&gt;"
        );
    }

    #[test]
    fn steps_are_round() {
        assert_eq!(ticks(41_234.0), [0.0, 10_000.0, 20_000.0, 30_000.0, 40_000.0]);
        assert_eq!(ticks(0.9), [0.0, 0.2, 0.4, 0.6000000000000001, 0.8]);
        assert_eq!(ticks(0.0), [0.0]);
        assert_eq!(ticks(f64::NAN), [0.0]);
        assert_eq!([20_000.0, 500.0, 0.6000000000000001].map(short), ["20k", "500", "0.6"]);
    }
}
