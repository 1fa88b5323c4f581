//! The rows of every bench, and how they are printed for machines.

use std::fmt;

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
    /// Of samples of a subject, beside the name and the smallest sample of a reference.
    pub(super) fn of(
        (bench, case, unit): (&'static str, &str, &'static str),
        subject: &str,
        samples: Vec<f64>,
        reference: Option<(&'static str, f64)>,
    ) -> Self {
        Self {
            bench,
            case: case.to_owned(),
            subject: subject.to_owned(),
            reference: reference.map(|(name, _)| name),
            unit,
            min: minimum(&samples),
            median: median(samples),
            reference_min: reference.map(|(_, min)| min),
        }
    }

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

/// What a bench has measured: rows for machines, a table for people.
pub trait Figures: fmt::Display {
    /// All rows.
    fn rows(&self) -> Vec<Row>;

    /// The rows, one JSON object a line.
    fn json(&self) -> String {
        self.rows().iter().map(|row| format!("{}\n", row.json())).collect()
    }

    /// Prints the one or the other.
    fn print(&self, json: bool) {
        if json {
            print!("{}", self.json());
        } else {
            print!("{self}");
        }
    }
}

/// The smallest one; of none, infinity.
pub(super) fn minimum(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
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
