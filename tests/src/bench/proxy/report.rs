//! Figures of one proxy beside those of HAProxy.

use std::fmt;
use std::time::Duration;

use super::subject::Subject;
use crate::bench::row::{Figures, Row, minimum};

/// As in rows.
const BENCH: &str = "proxy";

/// What others are compared with.
const REFERENCE: Subject = Subject::HaProxy;

/// A sample.
#[derive(Clone, Copy, Debug)]
pub(super) struct Figure {
    pub(super) unit: &'static str,
    pub(super) value: f64,
}

impl Figure {
    /// Time for each of so many.
    pub(super) fn micros(unit: &'static str, spent: Duration, done: u64) -> Self {
        let value = spent.as_secs_f64() * 1e6 / done as f64;
        Self { unit, value }
    }
}

/// Everything that was measured.
#[derive(Debug, Default)]
pub struct Report {
    samples: Vec<(String, Subject, Figure)>,
    /// How a case was measured, where that depends on the machine.
    settings: Vec<(String, Figure)>,
}

impl Report {
    pub(super) fn add(&mut self, case: &str, subject: Subject, figure: Figure) {
        self.samples.push((case.to_owned(), subject, figure));
    }

    pub(super) fn setting(&mut self, case: &str, unit: &'static str, value: f64) {
        self.settings.push((case.to_owned(), Figure { unit, value }));
    }

    fn values(&self, case: &str, subject: Subject) -> Vec<f64> {
        let samples = self
            .samples
            .iter()
            .filter(|(name, of, _)| name == case && *of == subject);
        samples.map(|(_, _, figure)| figure.value).collect()
    }
}

impl Figures for Report {
    /// One for each subject of each case, and then what cases were measured with.
    fn rows(&self) -> Vec<Row> {
        let mut cases: Vec<(&str, &'static str)> = Vec::new();
        for (case, _, figure) in &self.samples {
            if !cases.iter().any(|(known, _)| known == case) {
                cases.push((case, figure.unit));
            }
        }
        let mut rows = Vec::new();
        for (case, unit) in cases {
            let reference = minimum(&self.values(case, REFERENCE));
            for subject in Subject::ALL {
                let compared = (subject != REFERENCE).then_some((REFERENCE.name(), reference));
                let values = self.values(case, subject);
                rows.push(Row::of((BENCH, case, unit), subject.name(), values, compared));
            }
        }
        let settings = self
            .settings
            .iter()
            .map(|(case, figure)| Row::of((BENCH, case, figure.unit), "client", vec![figure.value], None));
        rows.extend(settings);
        rows
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.rows();
        let width = rows.iter().map(|row| row.case.len()).max().unwrap_or_default();
        writeln!(f, "{:width$}  subject       min   median  ratio", "")?;
        let mut before = "";
        for row in &rows {
            let case = if row.case == before { "" } else { &row.case };
            before = &row.case;
            let Row {
                subject,
                unit,
                min,
                median,
                ..
            } = row;
            write!(f, "{case:width$}  {subject:7}  {min:8.1} {median:8.1}")?;
            match row.ratio() {
                Some(ratio) => writeln!(f, "  {ratio:5.2}  {unit}")?,
                None => writeln!(f, "  {:5}  {unit}", "")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_compared_with_haproxy() {
        let mut report = Report::default();
        let samples = [
            (Subject::Fulcrum, [8.0, 6.0, 9.0]),
            (Subject::HaProxy, [14.0, 12.0, 13.0]),
            (Subject::Nginx, [18.0, 20.0, 22.0]),
        ];
        for (subject, values) in samples {
            for value in values {
                report.add("a case", subject, Figure { unit: "us", value });
            }
        }
        report.setting("a case", "connections", 50.0);
        let rows = report.rows();
        let seen: Vec<_> = rows
            .iter()
            .map(|row| (&*row.subject, row.min, row.median, row.ratio()))
            .collect();
        assert_eq!(
            seen,
            [
                ("fulcrum", 6.0, 8.0, Some(0.5)),
                ("haproxy", 12.0, 13.0, None),
                ("nginx", 18.0, 20.0, Some(1.5)),
                ("client", 50.0, 50.0, None),
            ]
        );
        assert_eq!(report.json().lines().count(), rows.len());
        assert!(report.to_string().contains(" 0.50  us"), "{report}");
    }
}
