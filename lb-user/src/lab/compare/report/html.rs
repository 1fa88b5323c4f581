//! A comparison as one page of HTML: no script, nothing from elsewhere, readable on paper and without colours.

use super::super::model::{Comparison, EventOf, Missing, Subject};
use super::figures::{COST, Figure, LATENCY, THROUGHPUT};
use super::matrix::ROWS;
use super::stats::Range;
use super::svg::{self, Bar, Curve, Limits, escape};
use super::{caveats, events, numbers, reading, tables};

const STYLE: &str = include_str!("page.css");

/// Sections: anchor and heading.
const SECTIONS: [(&str, &str); 8] = [
    ("does", "What each of them does"),
    ("throughput", "Throughput"),
    ("latency", "Latency"),
    ("events", "When something happens"),
    ("cost", "What it costs"),
    ("subjects", "What was compared"),
    ("limits", "What this machine cannot tell"),
    ("repeat", "Where, how, and how to repeat it"),
];

/// The whole page.
pub(in crate::lab) fn html(comparison: &Comparison) -> String {
    let subjects = &comparison.subjects;
    let sections = [
        matrix(subjects),
        throughput(subjects),
        latency(comparison),
        happened(subjects),
        cost(subjects),
        compared(subjects, &comparison.missing),
        limits(),
        repeat(comparison),
    ];
    let mut body = opening(comparison);
    for ((id, title), content) in SECTIONS.iter().zip(sections) {
        body += &format!("<section id=\"{id}\">\n<h2>{title}</h2>\n{content}</section>\n");
    }
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>Ways to balance, compared by Fulcrum</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n{}{body}</body>\n</html>\n",
        svg::PATTERNS
    )
}

/// Heading, warnings, the shortest summary, contents.
fn opening(comparison: &Comparison) -> String {
    let subjects = &comparison.subjects;
    let names: Vec<&str> = subjects.iter().map(|subject| subject.name.as_str()).collect();
    let mut out = format!(
        "<header>\n<p class=\"brand\">Fulcrum · lab compare</p>\n<h1>Ways to balance, compared</h1>\n\
         <p class=\"lead\">One workload, the same servers, and {}: {}. All of it in network namespaces on one machine{}, in {}.</p>\n",
        numbers::some(names.len() as u64, "way to reach them", "ways to reach them"),
        escape(&events::listed(&names)),
        match comparison.begun.as_str() {
            "" => String::new(),
            begun => format!(", begun {}", escape(begun)),
        },
        numbers::seconds(comparison.took)
    );
    for warning in tables::warnings(comparison.interrupted, comparison.settings.quick) {
        out += &format!("<p class=\"warning\" role=\"note\">{warning}</p>\n");
    }
    out += "<dl class=\"short\">\n";
    for (title, words) in [
        ("Throughput", reading::figure(&THROUGHPUT[0], subjects)),
        ("New connections", reading::figure(&THROUGHPUT[1], subjects)),
        ("Machine time", reading::figure(&COST[0], subjects)),
        ("A server dies", events::reading(subjects, EventOf::Killed)),
    ] {
        out += &format!("<div><dt>{title}</dt><dd>{}</dd></div>\n", escape(&words));
    }
    out += "</dl>\n<nav aria-label=\"Contents\"><ol>\n";
    for (id, title) in SECTIONS {
        out += &format!("<li><a href=\"#{id}\">{title}</a></li>\n");
    }
    out + "</ol></nav>\n</header>\n"
}

/// A table that scrolls by itself where the screen is narrower.
fn table(class: &str, caption: &str, head: &str, rows: &str) -> String {
    format!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{0}\"><table class=\"{class}\">\n\
         <caption>{0}</caption>\n<thead>{head}</thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n",
        escape(caption)
    )
}

fn matrix(subjects: &[Subject]) -> String {
    // Layers side by side, in their order.
    let mut ordered: Vec<&Subject> = subjects.iter().collect();
    ordered.sort_by_key(|subject| subject.layer);
    let mut layers = String::new();
    for group in ordered.chunk_by(|one, other| one.layer == other.layer) {
        let name = match group[0].layer {
            0 => "none".to_owned(),
            layer => format!("layer {layer}"),
        };
        layers += &format!("<th scope=\"colgroup\" colspan=\"{}\">{name}</th>", group.len());
    }
    let names: String = ordered
        .iter()
        .map(|subject| {
            let class = if subject.own { " class=\"own-name\"" } else { "" };
            format!("<th scope=\"col\"{class}>{}</th>", escape(&subject.name))
        })
        .collect();
    let mut rows = String::new();
    for row in &ROWS {
        rows += &format!("<tr><th scope=\"row\">{}</th>", row.question);
        for subject in &ordered {
            let cell = (row.cell)(subject);
            rows += &format!(
                "<td class=\"{0}\"><span class=\"symbol\" role=\"img\" aria-label=\"{1}\">{2}</span>\
                 <span class=\"seen\">{3}</span></td>",
                cell.mark.word().replace('–', "unseen"),
                cell.mark.word(),
                cell.mark.symbol(),
                escape(&cell.text)
            );
        }
        rows += "</tr>\n";
    }
    let head = format!("<tr><th></th>{layers}</tr>\n<tr><th></th>{names}</tr>");
    "<p>Each cell is what was observed in this run: ✓ yes, ◐ partly, ✗ no, – not observed. A dash says nothing of what \
     a subject could do. Names of Fulcrum's modes are underlined.</p>\n"
        .to_owned()
        + &table("matrix", "Behaviour, by observation", &head, &rows)
}

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
fn bars(of: &Figure, subjects: &[Subject]) -> String {
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

const KEY: &str = "<p class=\"key\"><span><i class=\"swatch own\"></i>Fulcrum</span>\
    <span><i class=\"swatch other\"></i>others</span><span><i class=\"swatch none\"></i>no balancer</span>\
    <span><i class=\"sign\">├─┤</i>where another run's median is to be expected</span>\
    <span><i class=\"sign\">•</i>a round</span></p>\n";

fn throughput(subjects: &[Subject]) -> String {
    let charts: String = THROUGHPUT.iter().map(|of| bars(of, subjects)).collect();
    format!(
        "{KEY}<div class=\"charts\">\n{charts}</div>\n{}",
        THROUGHPUT.iter().map(|of| details(of, subjects)).collect::<String>()
    )
}

fn latency(comparison: &Comparison) -> String {
    let subjects = &comparison.subjects;
    let mut out = format!(
        "<p>All of them at the same {} requests/s, whatever they can do at most. A time runs from when a request was due, \
         so one that had to wait for its turn is not flattered.</p>\n{KEY}<div class=\"charts\">\n",
        numbers::number(comparison.settings.rate)
    );
    out += &[&LATENCY[0], &LATENCY[2]].map(|of| bars(of, subjects)).concat();
    out += "</div>\n";
    out += &panels(subjects);
    let columns: Vec<&Figure> = LATENCY.iter().collect();
    out + &together(
        "Latency in µs, with where another run's median is to be expected",
        &columns,
        subjects,
        "failed",
        &|subject| subject.latency.as_ref().map(|latency| numbers::count(latency.failed)),
    )
}

/// A small chart of times for each subject, all on the same axes.
fn panels(subjects: &[Subject]) -> String {
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

fn happened(subjects: &[Subject]) -> String {
    let mut out =
        "<p>Requests at a steady pace, each with a connection of its own, while something is done to a server or \
        to the balancer. Beside them, connections that are kept: how many were cut.</p>\n<div class=\"charts\">\n"
            .to_owned();
    for (of, title, note) in events::SHOWN {
        let seen: Vec<_> = subjects
            .iter()
            .filter_map(|subject| {
                let event = events::of(subject, of)?;
                Some((subject.name.as_str(), events::outcome(event), event))
            })
            .collect();
        let chart = if seen.is_empty() {
            String::new()
        } else {
            svg::strips(&format!("{title}: requests along time in seconds"), &seen)
        };
        let id = title.to_lowercase().replace(' ', "-");
        out += &figure(&id, title, note, &chart, &events::reading(subjects, of));
    }
    out += "</div>\n";
    let mut rows = String::new();
    for (of, title, _) in events::SHOWN {
        for subject in subjects {
            for (reason, times) in events::of(subject, of).iter().flat_map(|event| &event.reasons) {
                rows += &format!(
                    "<tr><td>{title}</td><th scope=\"row\">{}</th><td class=\"figure\">{}</td><td>{}</td></tr>\n",
                    escape(&subject.name),
                    numbers::count(*times),
                    escape(reason)
                );
            }
        }
    }
    if !rows.is_empty() {
        let head = "<tr><th scope=\"col\">what</th><th scope=\"col\">subject</th><th scope=\"col\">requests</th>\
            <th scope=\"col\">why they failed</th></tr>";
        out += &folded("Why requests failed", &table("", "Why requests failed", head, &rows));
    }
    out
}

fn cost(subjects: &[Subject]) -> String {
    let charts: String = COST
        .iter()
        .filter(|of| !of.ranked(subjects).is_empty())
        .map(|of| bars(of, subjects))
        .collect();
    let columns: Vec<&Figure> = COST.iter().collect();
    format!(
        "<p>Measured during the throughput samples. The machine's time is the one to compare: what the kernel does for \
         packets is in nobody else's.</p>\n{KEY}<div class=\"charts\">\n{charts}</div>\n{}{}",
        details(&COST[0], subjects),
        together("Time and memory", &columns, subjects, "private memory", &|subject| {
            subject.cost.memory.map(numbers::bytes)
        })
    )
}

/// Something that most readers skip.
fn folded(title: &str, content: &str) -> String {
    format!("<details><summary>{}</summary>\n{content}</details>\n", escape(title))
}

/// A figure with what it is to direct, and whom nothing tells apart.
fn details(of: &Figure, subjects: &[Subject]) -> String {
    let ranked = of.ranked(subjects);
    if ranked.is_empty() {
        return String::new();
    }
    let direct: Option<Range> = ranked
        .iter()
        .find(|(subject, _)| subject.layer == 0)
        .map(|(_, range)| *range);
    let mut rows = String::new();
    for one in &ranked {
        let against = match direct {
            Some(direct) if one.0.layer != 0 => reading::against(&one.1, &direct),
            _ => "–".to_owned(),
        };
        let alike = reading::alike(&ranked, one);
        rows += &format!(
            "<tr><th scope=\"row\">{}</th><td class=\"figure\">{}</td><td class=\"figure\">{against}</td><td>{}</td></tr>\n",
            escape(&one.0.name),
            numbers::range(&one.1),
            if alike.is_empty() {
                "–".to_owned()
            } else {
                escape(&alike.join(", "))
            }
        );
    }
    let head = format!(
        "<tr><th scope=\"col\">subject</th><th scope=\"col\" class=\"figure\">{}</th>\
         <th scope=\"col\" class=\"figure\">to direct</th><th scope=\"col\">{} to</th></tr>",
        of.unit,
        reading::ALIKE
    );
    folded(
        &format!("{}: figures, and who differs from whom", of.title),
        &table("", of.title, &head, &rows),
    )
}

/// Several figures of each subject, and a column of words.
fn together(
    caption: &str,
    figures: &[&Figure],
    subjects: &[Subject],
    extra: &str,
    words: &dyn Fn(&Subject) -> Option<String>,
) -> String {
    let mut head = "<tr><th scope=\"col\">subject</th>".to_owned();
    for figure in figures {
        head += &format!(
            "<th scope=\"col\" class=\"figure\">{}<br><small>{}</small></th>",
            figure.short, figure.unit
        );
    }
    head += &format!("<th scope=\"col\" class=\"figure\">{extra}</th></tr>");
    let mut rows = String::new();
    for subject in subjects {
        let cells: Vec<String> = figures
            .iter()
            .map(|figure| figure.range(subject).map(|range| numbers::range(&range)))
            .chain([words(subject)])
            .map(|cell| format!("<td class=\"figure\">{}</td>", cell.unwrap_or_else(|| "–".to_owned())))
            .collect();
        rows += &format!(
            "<tr><th scope=\"row\">{}</th>{}</tr>\n",
            escape(&subject.name),
            cells.concat()
        );
    }
    table("", caption, &head, &rows)
}

fn compared(subjects: &[Subject], missing: &[Missing]) -> String {
    let mut rows = String::new();
    for subject in subjects {
        let layer = match subject.layer {
            0 => "–".to_owned(),
            layer => layer.to_string(),
        };
        rows += &format!(
            "<tr><th scope=\"row\">{}</th><td>{layer}</td><td>{}</td></tr>\n",
            escape(&subject.name),
            escape(&subject.what)
        );
    }
    let head = "<tr><th scope=\"col\">subject</th><th scope=\"col\">layer</th><th scope=\"col\">what it is</th></tr>";
    let mut out = table("", "Ways to balance", head, &rows);
    if !missing.is_empty() {
        out += "<h3>Not compared</h3>\n<dl class=\"facts\">\n";
        for missing in missing {
            out += &format!("<dt>{}</dt><dd>{}</dd>\n", escape(&missing.name), escape(&missing.why));
        }
        out += "</dl>\n";
    }
    out
}

fn limits() -> String {
    let mut out = "<ul class=\"caveats\">\n".to_owned();
    for (title, words) in caveats::CAVEATS {
        out += &format!("<li><strong>{title}</strong> {words}</li>\n");
    }
    out + &format!("</ul>\n<h3>When two differ</h3>\n<p>{}</p>\n", escape(caveats::NOISE))
}

fn repeat(comparison: &Comparison) -> String {
    let mut out = format!("<pre><code>{}</code></pre>\n", escape(&comparison.command));
    for (title, rows) in [
        ("Where it was measured", tables::environment(&comparison.environment)),
        ("Settings", tables::settings(&comparison.settings)),
    ] {
        out += &format!("<h3>{title}</h3>\n<dl class=\"facts\">\n");
        for (name, value) in rows {
            out += &format!("<dt>{}</dt><dd>{}</dd>\n", escape(&name), escape(&value));
        }
        out += "</dl>\n";
    }
    out
}
