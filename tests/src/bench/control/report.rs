//! Figures beside goals.

use std::fmt;

use crate::bench::row::{Figures, Row, median, minimum};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Figure {
    FirstStart,
    StartWork,
    Restart,
    AskedReload,
    NoticedReload,
    Scrape,
    ScrapedReload,
    Probing,
    Anonymous,
    Scraped,
    Resident,
    Peak,
}

impl Figure {
    const ALL: [Self; 12] = [
        Self::FirstStart,
        Self::StartWork,
        Self::Restart,
        Self::AskedReload,
        Self::NoticedReload,
        Self::Scrape,
        Self::ScrapedReload,
        Self::Probing,
        Self::Anonymous,
        Self::Scraped,
        Self::Resident,
        Self::Peak,
    ];

    /// Its name, its unit, and what it is to stay below.
    const fn facts(self) -> (&'static str, &'static str, Option<f64>) {
        match self {
            Self::FirstStart => ("start to ready, new maps", "s", Some(3.0)),
            Self::StartWork => ("processor time until then", "s", None),
            Self::Restart => ("start to ready, maps of the last run", "s", Some(3.0)),
            Self::AskedReload => ("reload of one line, asked for", "ms", Some(200.0)),
            Self::NoticedReload => ("reload of one line, noticed", "ms", Some(200.0)),
            Self::Scrape => ("scrape of /metrics", "ms", Some(100.0)),
            Self::ScrapedReload => ("reload of one line, asked for while scraped", "ms", Some(200.0)),
            Self::Probing => ("processor time, every backend probed once", "s", Some(2.5)),
            Self::Anonymous => ("memory of its own", "MB", Some(200.0)),
            Self::Scraped => ("the same, after scrapes", "MB", None),
            Self::Resident => ("memory with maps and program text", "MB", None),
            Self::Peak => ("this, at its highest", "MB", None),
        }
    }
}

/// Everything that was measured.
#[derive(Debug, Default)]
pub struct Report {
    samples: Vec<(Figure, f64)>,
}

impl Report {
    pub(super) fn add(&mut self, figure: Figure, value: f64) {
        self.samples.push((figure, value));
    }
}

impl Figures for Report {
    /// One for each figure that was measured.
    fn rows(&self) -> Vec<Row> {
        let row = |figure: Figure| {
            let samples = self.samples.iter().filter(|(other, _)| *other == figure);
            let values: Vec<f64> = samples.map(|&(_, value)| value).collect();
            let (case, unit, goal) = figure.facts();
            (!values.is_empty()).then(|| Row {
                bench: "control",
                case: case.to_owned(),
                subject: "fulcrum".to_owned(),
                reference: goal.map(|_| "goal"),
                unit,
                min: minimum(&values),
                median: median(values),
                reference_min: goal,
            })
        };
        Figure::ALL.into_iter().filter_map(row).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.rows();
        let width = rows.iter().map(|row| row.case.len()).max().unwrap_or_default();
        writeln!(f, "{:width$}      min   median    goal  ratio", "")?;
        for row in &rows {
            let Row {
                case,
                unit,
                min,
                median,
                ..
            } = row;
            write!(f, "{case:width$}  {min:7.2}  {median:7.2}")?;
            match (row.reference_min, row.ratio()) {
                (Some(goal), Some(ratio)) => writeln!(f, "  {goal:6.1}  {ratio:5.2}  {unit}")?,
                _ => writeln!(f, "  {:6}  {:5}  {unit}", "", "")?,
            }
        }
        Ok(())
    }
}
