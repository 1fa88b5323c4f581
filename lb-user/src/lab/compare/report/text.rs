//! A comparison for a terminal: plain text, at most 100 columns.

use super::super::model::{Comparison, Subject};
use super::figures::{COST, Figure, LATENCY, THROUGHPUT};
use super::matrix::{Cell, ROWS};
use super::{caveats, events, facts, numbers, reading};
use crate::lab::report::{self, WIDTH};

/// Where a second column begins in lists.
const INDENT: usize = 26;

/// All that was found out.
pub(in crate::lab) fn text(comparison: &Comparison) -> String {
    let mut out = String::new();
    for warning in facts::warnings(comparison.interrupted, comparison.settings.quick) {
        out += &wrapped("! ", warning);
    }
    let subjects = &comparison.subjects;

    out += &heading("What each of them does");
    for row in &ROWS {
        out += &answers(
            row.question,
            subjects.iter().map(|subject| (subject, (row.cell)(subject))),
        );
    }

    out += &heading("Throughput, in requests/s");
    out += &figures(subjects, &THROUGHPUT, &[]);
    out += &heading(&format!(
        "Latency at {} requests/s, in µs",
        numbers::number(comparison.settings.rate)
    ));
    out += &figures(
        subjects,
        &LATENCY,
        &[("failed", &|subject| {
            subject.latency.as_ref().map(|latency| numbers::count(latency.failed))
        })],
    );
    out += &heading("Cost: machine, processes and program in µs/request, program also in ns/packet");
    out += &figures(
        subjects,
        &COST,
        &[("memory", &|subject| subject.cost.memory.map(numbers::bytes))],
    );

    out += &heading("When something happens");
    for (of, title, _) in events::SHOWN {
        out += &wrapped(&format!("   {title:<31}"), &events::reading(subjects, of));
    }

    if !comparison.missing.is_empty() {
        out += &heading("Not compared");
        for missing in &comparison.missing {
            out += &listed(&missing.name, &missing.why);
        }
    }

    out += &heading("Where and how");
    for (name, value) in facts::environment(&comparison.environment)
        .iter()
        .chain(&facts::settings(&comparison.settings))
    {
        out += &listed(name, value);
    }
    out += &heading("What these figures cannot tell");
    for (title, words) in caveats::CAVEATS {
        out += &wrapped("   ", &format!("{title} {words}"));
    }
    out += &wrapped("   ", caveats::NOISE);
    out += &heading("To repeat it");
    out += &format!("   {}\n", comparison.command);
    out
}

fn heading(text: &str) -> String {
    format!("\n{text}\n{}\n", "-".repeat(text.chars().count()))
}

/// A question, and a line for each answer with all that gave it.
fn answers<'a>(question: &str, cells: impl Iterator<Item = (&'a Subject, Cell)>) -> String {
    let mut groups: Vec<(Cell, Vec<&str>)> = Vec::new();
    for (subject, cell) in cells {
        match groups.iter_mut().find(|(known, _)| *known == cell) {
            Some((_, names)) => names.push(&subject.name),
            None => groups.push((cell, vec![&subject.name])),
        }
    }
    let wide = groups
        .iter()
        .map(|(cell, _)| cell.text.chars().count())
        .max()
        .unwrap_or(0)
        .max(32);
    let mut out = format!("{question}\n");
    for (cell, names) in groups {
        let lead = format!("   {:<6}  {:<wide$}  ", cell.mark.word(), cell.text);
        out += &wrapped(&lead, &names.join(" "));
    }
    out
}

/// A column of words beside figures.
type Extra<'a> = (&'a str, &'a dyn Fn(&Subject) -> Option<String>);

/// A line for each subject, a column for each figure, and below it each figure in a sentence. Columns without any value
/// are left out.
fn figures(subjects: &[Subject], figures: &[Figure], extra: &[Extra]) -> String {
    let mut columns: Vec<(String, Vec<String>)> = Vec::new();
    for figure in figures {
        let cells = subjects.iter().map(|subject| {
            figure
                .range(subject)
                .map_or_else(|| "-".to_owned(), |range| numbers::range(&range))
        });
        let unit = figure.unit.split('/').next().unwrap_or(figure.unit);
        let head = if figure.unit.contains("/packet") || figure.unit.contains("/request") {
            format!("{}, {unit}", figure.short)
        } else {
            figure.short.to_owned()
        };
        columns.push((head, cells.collect()));
    }
    for (head, cell) in extra {
        let cells = subjects
            .iter()
            .map(|subject| cell(subject).unwrap_or_else(|| "-".to_owned()));
        columns.push(((*head).to_owned(), cells.collect()));
    }
    columns.retain(|(_, cells)| cells.iter().any(|cell| cell != "-"));
    if columns.is_empty() {
        return "   Not measured.\n".to_owned();
    }
    let mut lines: Vec<String> = std::iter::once("")
        .chain(subjects.iter().map(|subject| subject.name.as_str()))
        .map(|name| format!("   {name:<13}"))
        .collect();
    for (head, cells) in &columns {
        let wide = cells
            .iter()
            .chain([head])
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0);
        for (line, cell) in lines.iter_mut().zip(std::iter::once(head).chain(cells)) {
            *line += &format!("  {cell:>wide$}");
        }
    }
    let mut out = lines.join("\n") + "\n";
    for figure in figures.iter().filter(|figure| !figure.ranked(subjects).is_empty()) {
        out += &wrapped(&format!("   {}: ", figure.short), &reading::figure(figure, subjects));
    }
    out
}

/// A name, and what is to be said of it.
fn listed(name: &str, value: &str) -> String {
    wrapped(&format!("   {name:<width$}", width = INDENT - 3), value)
}

/// Words after a lead, each line below the first.
fn wrapped(lead: &str, words: &str) -> String {
    let indent = lead.chars().count().min(WIDTH * 2 / 3);
    report::wrapped(lead, indent, words) + "\n"
}
