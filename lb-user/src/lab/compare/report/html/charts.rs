//! Charts of a page: each a figure with a title, what it is, and what it says in one sentence.

use super::super::super::model::{EventOf, Subject};
use super::super::figures::{Figure, LATENCY};
use super::super::svg::{self, Bar, Curve, Limits, escape};
use super::super::{events, numbers, reading};

/// What bars are made of.
pub(super) const KEY: &str = "<p class=\"key\"><span><i class=\"swatch own\"></i>Fulcrum</span>\
    <span><i class=\"swatch other\"></i>others</span><span><i class=\"swatch none\"></i>no balancer</span>\
    <span><i class=\"sign\">├─┤</i>where another run's median is to be expected</span>\
    <span><i class=\"sign\">○</i>a round</span><span>end of a bar: median of the rounds</span></p>\n";

fn class(subject: &Subject) -> &'static str {
    match (subject.layer, subject.own) {
        (0, _) => "none",
        (_, true) => "own",
        (_, false) => "other",
    }
}

/// A figure with its chart, and what it says.
fn figure(id: &str, title: &str, note: &str, chart: &str, words: &str) -> String {
    format!(
        "<figure id=\"{id}\">\n<h3>{}</h3>\n<p class=\"note\">{}</p>\n{chart}<figcaption>{}</figcaption>\n</figure>\n",
        escape(title),
        escape(note),
        escape(words)
    )
}

/// Bars of a figure, or nothing where nobody has it.
pub(super) fn bars(of: &Figure, subjects: &[Subject]) -> String {
    let bars: Vec<Bar> = of
        .ranked(subjects)
        .into_iter()
        .map(|(subject, range)| Bar {
            name: &subject.name,
            class: class(subject),
            range,
            samples: (of.samples)(subject),
            label: numbers::range(&range),
        })
        .collect();
    let better = if of.more_is_better {
        "more is better"
    } else {
        "less is better"
    };
    let chart = if bars.is_empty() {
        String::new()
    } else {
        svg::bars(of.title, &format!("{} ({better})", of.unit), &bars)
    };
    figure(of.id, of.title, of.note, &chart, &reading::figure(of, subjects))
}

/// A small chart of times for each subject, all on the same axes.
pub(super) fn panels(subjects: &[Subject]) -> String {
    let parts = [0.5, 0.9, 0.99, 0.999];
    let curves: Vec<Curve> = subjects
        .iter()
        .filter_map(|subject| {
            let latency = subject.latency.as_ref()?;
            let ranges = parts.iter().zip(&LATENCY);
            Some(Curve {
                name: &subject.name,
                class: class(subject),
                points: &latency.curve,
                ranges: ranges
                    .filter_map(|(&part, figure)| Some((part, figure.range(subject)?)))
                    .collect(),
            })
        })
        .collect();
    if curves.is_empty() {
        return String::new();
    }
    let limits = Limits::of(&curves);
    let mut charts = String::new();
    for (number, curve) in curves.iter().enumerate() {
        let others: Vec<&Curve> = curves
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != number)
            .map(|(_, other)| other)
            .collect();
        let title = format!("Latency of {} in µs by part of the requests", curve.name);
        charts += &svg::curves(&title, curve, &others, limits);
    }
    figure(
        "curves",
        "How long all but the slowest took",
        "Time from when a request was due, both axes logarithmic: each step to the right leaves ten times fewer requests. \
         The subject is the thick line, direct the dashed one, the others are thin and grey; dots are medians of the \
         rounds, with where another run's are to be expected.",
        &format!("<div class=\"panels\">\n{charts}</div>\n"),
        &format!("At 99.9 %: {}", reading::figure(&LATENCY[3], subjects)),
    )
}

/// What became of requests along time, a strip a subject.
pub(super) fn happened(of: EventOf, title: &str, note: &str, subjects: &[Subject]) -> String {
    let seen: Vec<_> = subjects
        .iter()
        .filter_map(|subject| {
            let event = events::of(subject, of)?;
            Some((subject.name.as_str(), events::outcome(event, "connections cut"), event))
        })
        .collect();
    let chart = if seen.is_empty() {
        String::new()
    } else {
        svg::strips(&format!("{title}: requests along time in seconds"), &seen)
    };
    let id = title.to_lowercase().replace(' ', "-");
    figure(&id, title, note, &chart, &events::reading(subjects, of))
}
