//! The rows of every bench, and how they are printed for machines.

use serde_json::json;

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The bench.
    pub bench: &'static str,
    /// What was measured.
    pub case: String,
    /// What it was measured on.
    pub subject: String,
    /// What it is beside; none for what has no counterpart.
    pub reference: Option<&'static str>,
    /// Of `min` and `median`.
    pub unit: &'static str,
    /// The smallest sample; of several loads, the median of their smallest.
    pub min: f64,
    /// The median of all samples.
    pub median: f64,
    /// `min` of the reference.
    pub reference_min: Option<f64>,
}

impl Row {
    /// `min` over that of the reference.
    #[must_use]
    pub fn ratio(&self) -> Option<f64> {
        self.reference_min.map(|reference| self.min / reference)
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "bench": self.bench,
            "case": self.case,
            "subject": self.subject,
            "reference": self.reference,
            "unit": self.unit,
            "min": self.min,
            "median": self.median,
            "ratio": self.ratio(),
        })
    }
}

/// Rows for machines, one JSON object a line.
#[must_use]
pub fn json(rows: &[Row]) -> String {
    rows.iter().map(|row| format!("{}\n", row.json())).collect()
}

/// The middle one; of an even number, the mean of the two in the middle.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        even if even % 2 == 0 => f64::midpoint(values[middle - 1], values[middle]),
        _ => values[middle],
    }
}
