//! Tables of a page.

use super::super::super::model::Subject;
use super::super::figures::Figure;
use super::super::stats::Range;
use super::super::svg::escape;
use super::super::{numbers, reading};

/// A table that scrolls by itself where the screen is narrower.
pub(super) fn table(class: &str, caption: &str, head: &str, rows: &str) -> String {
    let columns = if class == "matrix" {
        "<colgroup><col class=\"questions\"></colgroup>"
    } else {
        ""
    };
    format!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{0}\"><table class=\"{class}\">\n\
         <caption>{0}</caption>\n{columns}<thead>{head}</thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n",
        escape(caption)
    )
}

/// Something that most readers skip.
pub(super) fn folded(title: &str, content: &str) -> String {
    format!("<details><summary>{}</summary>\n{content}</details>\n", escape(title))
}

/// A figure with what it is to direct, and whom nothing tells apart.
pub(super) fn details(of: &Figure, subjects: &[Subject]) -> String {
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
pub(super) fn together(
    caption: &str,
    figures: &[&Figure],
    subjects: &[Subject],
    extra: &str,
    words: &dyn Fn(&Subject) -> Option<String>,
) -> String {
    if subjects.is_empty() {
        return String::new();
    }
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
