//! Requests a second of one program beside those of another.

use std::fmt;

use super::case::Case;
use crate::bench::row::{Figures, Row, minimum};

/// As in rows.
const BENCH: &str = "load";

/// Ours.
pub(super) const FULCRUM: &str = "fulcrum";

const UNIT: &str = "us/request";

/// Everything that was measured.
#[derive(Debug, Default)]
pub struct Report {
    /// Case, reference, subject, and time of a request in microseconds.
    samples: Vec<(&'static str, &'static str, &'static str, f64)>,
}

impl Report {
    pub(super) fn add(&mut self, case: &Case, subject: &'static str, rate: f64) {
        self.samples.push((case.name, case.reference, subject, 1e6 / rate));
    }

    fn values(&self, case: &str, subject: &str) -> Vec<f64> {
        let of = self
            .samples
            .iter()
            .filter(|sample| sample.0 == case && sample.2 == subject);
        of.map(|sample| sample.3).collect()
    }
}

impl Figures for Report {
    /// Two for each case: ours, and that which it is compared with.
    fn rows(&self) -> Vec<Row> {
        let mut cases: Vec<(&'static str, &'static str)> = Vec::new();
        for &(case, reference, ..) in &self.samples {
            if !cases.contains(&(case, reference)) {
                cases.push((case, reference));
            }
        }
        let rows = cases.into_iter().flat_map(|(case, reference)| {
            [FULCRUM, reference].map(|subject| {
                let compared = (subject == FULCRUM).then(|| (reference, minimum(&self.values(case, reference))));
                Row::of((BENCH, case, UNIT), subject, self.values(case, subject), compared)
            })
        });
        rows.collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.rows();
        let width = rows.iter().map(|row| row.case.len()).max().unwrap_or_default();
        writeln!(f, "{:width$}  subject       min   median  ratio  requests/s", "")?;
        for row in &rows {
            let ratio = row.ratio().map(|ratio| format!("{ratio:.2}")).unwrap_or_default();
            writeln!(
                f,
                "{:width$}  {:7}  {:8.2} {:8.2}  {ratio:>5}  {:10.0}",
                row.case,
                row.subject,
                row.min,
                row.median,
                1e6 / row.min,
            )?;
        }
        Ok(())
    }
}
