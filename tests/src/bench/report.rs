//! Figures, as a table for people and as rows for machines.

use std::fmt;

use super::case::Case;
use super::row::{Figures, Row, median, minimum};
use super::shared::{ADJUST, BARE, EMPTY};

/// As in rows.
const BENCH: &str = "dataplane";

/// The samples of one case on one load.
#[derive(Clone, Debug, Default)]
pub(super) struct Figure(Vec<f64>);

impl Figure {
    pub(super) fn add(&mut self, ns: f64) {
        self.0.push(ns);
    }

    fn min(&self) -> f64 {
        minimum(&self.0)
    }
}

/// Everything that was measured.
#[derive(Debug, Default)]
pub struct Report {
    cases: Vec<Measured>,
    facts: Vec<Fact>,
}

#[derive(Debug)]
struct Measured {
    name: String,
    target: u32,
    reference: u32,
    /// By load: the program, and the reference.
    loads: Vec<(Figure, Figure)>,
}

#[derive(Debug)]
struct Fact {
    case: String,
    subject: String,
    unit: &'static str,
    values: Vec<f64>,
}

impl Report {
    pub(super) fn add(&mut self, case: &Case, load: u32, subject: Figure, reference: Figure) {
        if load == 0 {
            self.cases.push(Measured {
                name: case.name.clone(),
                target: case.target,
                reference: case.reference,
                loads: Vec::new(),
            });
        }
        if let Some(known) = self.cases.iter_mut().find(|known| known.name == case.name) {
            known.loads.push((subject, reference));
        }
    }

    /// Notes something else that was seen, such as a size.
    pub(super) fn fact(&mut self, case: &str, subject: &str, unit: &'static str, value: f64) {
        let known = self.facts.iter_mut();
        match known
            .into_iter()
            .find(|fact| fact.case == case && fact.subject == subject)
        {
            Some(fact) => fact.values.push(value),
            None => self.facts.push(Fact {
                case: case.to_owned(),
                subject: subject.to_owned(),
                unit,
                values: vec![value],
            }),
        }
    }
}

impl Figures for Report {
    /// All rows: first the figures of the cases, then what else there is.
    fn rows(&self) -> Vec<Row> {
        let figures = self.cases.iter().map(|case| {
            let subjects = case.loads.iter().map(|(subject, _)| subject);
            let references = case.loads.iter().map(|(_, reference)| reference.min());
            Row {
                bench: BENCH,
                case: case.name.clone(),
                subject: match case.target {
                    EMPTY => "empty",
                    ADJUST => "adjust_head",
                    _ => "fulcrum",
                }
                .to_owned(),
                reference: Some(if case.reference == BARE { "fulcrum, unprotected" } else { "ipip" }),
                unit: "ns/packet",
                min: median(subjects.clone().map(Figure::min).collect()),
                median: median(subjects.flat_map(|figure| figure.0.iter().copied()).collect()),
                reference_min: Some(median(references.collect())),
            }
        });
        let facts = self.facts.iter().map(|fact| Row {
            bench: BENCH,
            case: fact.case.clone(),
            subject: fact.subject.clone(),
            reference: None,
            unit: fact.unit,
            min: minimum(&fact.values),
            median: median(fact.values.clone()),
            reference_min: None,
        });
        figures.chain(facts).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.rows();
        let width = rows.iter().map(|row| row.case.len()).max().unwrap_or_default();
        writeln!(f, "{:width$}     min  median    ipip  ratio", "ns per packet")?;
        for row in &rows {
            let (case, min, median) = (&row.case, row.min, row.median);
            match (row.reference_min, row.ratio()) {
                (Some(reference), Some(ratio)) => {
                    writeln!(
                        f,
                        "{case:width$}  {min:6.1}  {median:6.1}  {reference:6.1}  {ratio:5.2}"
                    )?;
                }
                _ => writeln!(f, "{case:width$}  {median:14.0} {}", row.unit)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::case::all;

    #[test]
    fn a_figure_is_the_median_of_the_minima() {
        let case = &all()[0];
        let mut report = Report::default();
        for (load, (mine, theirs)) in [([9.0, 3.0], 4.0), ([5.0, 8.0], 10.0), ([7.0, 7.0], 8.0)]
            .into_iter()
            .enumerate()
        {
            report.add(case, load as u32, Figure(mine.to_vec()), Figure(vec![theirs, 20.0]));
        }
        report.fact("size", "fulcrum", "bytes", 7.0);
        let rows = report.rows();
        assert_eq!(
            (rows[0].min, rows[0].median, rows[0].reference_min),
            (5.0, 7.0, Some(8.0))
        );
        assert_eq!(rows[0].ratio(), Some(0.625));
        assert_eq!((rows[1].min, rows[1].ratio()), (7.0, None));
        let first: serde_json::Value =
            serde_json::from_str(report.json().lines().next().unwrap_or_default()).expect("JSON");
        assert_eq!(first["ratio"], 0.625);
        assert_eq!(first["reference"], "ipip");
    }
}
