//! For how long nobody answered.

use std::fmt;
use std::time::Duration;

use super::case::{ALL, Death};
use super::told;
use crate::bench::row::{Figures, Row, minimum};

/// As in rows.
const BENCH: &str = "failover";

/// Ours.
pub(super) const FULCRUM: &str = "fulcrum";

/// What it is beside.
pub(super) const KEEPALIVED: &str = "keepalived";

/// Everything that was measured.
#[derive(Debug)]
pub struct Report {
    has_reference: bool,
    /// Case, subject, and milliseconds.
    samples: Vec<(&'static str, &'static str, f64)>,
}

impl Report {
    pub(super) fn new(has_reference: bool) -> Self {
        Self {
            has_reference,
            samples: Vec::new(),
        }
    }

    pub(super) fn has_reference(&self) -> bool {
        self.has_reference
    }

    pub(super) fn add(&mut self, case: &'static str, subject: &'static str, gap: Duration) {
        self.samples.push((case, subject, gap.as_secs_f64() * 1e3));
    }

    fn values(&self, case: &str, subject: &str) -> Vec<f64> {
        let of = self
            .samples
            .iter()
            .filter(|sample| sample.0 == case && sample.1 == subject);
        of.map(|sample| sample.2).collect()
    }
}

impl Figures for Report {
    /// Two for each death: ours, and, where it is installed, that of keepalived.
    fn rows(&self) -> Vec<Row> {
        let subjects: &[&'static str] = if self.has_reference {
            &[FULCRUM, KEEPALIVED]
        } else {
            &[FULCRUM]
        };
        let names = ALL.iter().map(|case| case.name).chain([told::NAME]);
        let all = names.flat_map(|case| subjects.iter().map(move |subject| (case, *subject)));
        let rows = all.filter_map(|(case, subject)| {
            let values = self.values(case, subject);
            let is_compared = subject == FULCRUM && self.has_reference && case != told::NAME;
            let compared = is_compared.then_some(KEEPALIVED);
            let compared = compared.map(|reference| (reference, minimum(&self.values(case, reference))));
            (!values.is_empty()).then(|| Row::of((BENCH, case, "ms"), subject, values, compared))
        });
        rows.collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.rows();
        let width = rows.iter().map(|row| row.case.len()).max().unwrap_or_default();
        writeln!(
            f,
            "{:width$}  subject          min    median       max  ratio     bound",
            "ms"
        )?;
        for row in &rows {
            let ratio = row.ratio().map(|ratio| format!("{ratio:.2}")).unwrap_or_default();
            let most = self.values(&row.case, &row.subject).into_iter().fold(0.0, f64::max);
            let bound = ALL
                .iter()
                .find(|case| case.name == row.case && case.death == Death::Machine);
            let bound = bound.map(|case| format!("{:.1}", case.bound().as_secs_f64() * 1e3));
            writeln!(
                f,
                "{:width$}  {:10}  {:8.1}  {:8.1}  {most:8.1}  {ratio:>5}  {:>8}",
                row.case,
                row.subject,
                row.min,
                row.median,
                bound.unwrap_or_default(),
            )?;
        }
        Ok(())
    }
}
