//! A chart in one sentence, from the data: the pairs that people ask about.

use super::super::model::Subject;
use super::figures::Figure;
use super::numbers;
use super::stats::{Difference, Range};

/// What two subjects are to each other where nothing tells them apart.
pub(super) const ALIKE: &str = "no difference beyond noise";

type Measured<'a> = (&'a Subject, Range);

/// The best mode of Fulcrum and the best other, layer by layer; then Fulcrum's best of each layer. Where there are no
/// such pairs, the ends of the list.
pub(super) fn figure(figure: &Figure, subjects: &[Subject]) -> String {
    let ranked = figure.ranked(subjects);
    let best = |layer: u8, own: bool| {
        ranked
            .iter()
            .find(|(subject, _)| subject.layer == layer && subject.own == own)
    };
    let mut pairs = vec![
        (best(4, true), best(4, false)),
        (best(7, true), best(7, false)),
        (best(4, true), best(7, true)),
    ];
    pairs.retain(|(one, other)| one.is_some() && other.is_some());
    if pairs.is_empty() && ranked.len() > 1 {
        pairs.push((ranked.first(), ranked.last()));
    }
    let sentences: Vec<String> = pairs
        .into_iter()
        .filter_map(|(one, other)| Some(pair(figure, one?, other?)))
        .collect();
    match (sentences.is_empty(), ranked.first()) {
        (false, _) => sentences.join("; ") + ".",
        (true, Some((subject, range))) => {
            format!(
                "Only {} was measured: {} {}.",
                subject.name,
                numbers::range(range),
                figure.unit
            )
        }
        (true, None) => "Not measured.".to_owned(),
    }
}

/// "dsr answers 1.9 times the requests of proxy", whichever is more.
fn pair(figure: &Figure, one: &Measured, other: &Measured) -> String {
    let (more, less) = if one.1.median >= other.1.median {
        (one, other)
    } else {
        (other, one)
    };
    match more.1.against(&less.1) {
        Difference::Times(times) => format!(
            "{} {} {} times {} {}",
            more.0.name,
            figure.takes,
            numbers::times(times),
            figure.of,
            less.0.name
        ),
        Difference::None => format!("{} and {}: {ALIKE}", one.0.name, other.0.name),
        Difference::Nothing => format!(
            "{}: {} {}, {}: none",
            more.0.name,
            numbers::number(more.1.median),
            figure.unit,
            less.0.name
        ),
        Difference::Unknown => format!(
            "{} and {}: one sample, so the noise is unknown",
            one.0.name, other.0.name
        ),
    }
}

/// What `range` is to that of the subject without a balancer.
pub(super) fn against(range: &Range, direct: &Range) -> String {
    match range.against(direct) {
        Difference::Times(times) if times >= 0.1 => format!("{times:.2} ×"),
        Difference::Times(times) => format!("{times:.3} ×"),
        Difference::None => ALIKE.to_owned(),
        Difference::Nothing => "direct has none".to_owned(),
        Difference::Unknown => "noise unknown".to_owned(),
    }
}

/// Other subjects that nothing tells apart from this one.
pub(super) fn alike<'a>(ranked: &[Measured<'a>], one: &Measured) -> Vec<&'a str> {
    ranked
        .iter()
        .filter(|(other, range)| other.name != one.0.name && range.against(&one.1) == Difference::None)
        .map(|(other, _)| other.name.as_str())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::figures::THROUGHPUT;
    use super::*;

    fn subject(name: &str, layer: u8, own: bool, requests: &[f64]) -> Subject {
        Subject {
            name: name.to_owned(),
            layer,
            own,
            requests: requests.to_vec(),
            ..Subject::default()
        }
    }

    #[test]
    fn pairs_are_told() {
        let subjects = [
            subject("dsr", 4, true, &[200.0, 201.0, 199.0]),
            subject("ipvs", 4, false, &[198.0, 203.0, 200.0]),
            subject("proxy", 7, true, &[100.0, 101.0, 99.0]),
            subject("other", 7, false, &[150.0, 151.0, 149.0]),
        ];
        assert_eq!(
            figure(&THROUGHPUT[0], &subjects),
            "dsr and ipvs: no difference beyond noise; other answers 1.5 times the requests of proxy; \
             dsr answers 2.0 times the requests of proxy."
        );
    }

    #[test]
    fn little_is_told_of_little() {
        assert_eq!(figure(&THROUGHPUT[0], &[]), "Not measured.");
        let one = subject("dsr", 4, true, &[200.0]);
        assert_eq!(
            figure(&THROUGHPUT[0], std::slice::from_ref(&one)),
            "Only dsr was measured: 200 requests/s."
        );
        let two = [one, subject("nat", 4, true, &[100.0])];
        assert_eq!(
            figure(&THROUGHPUT[0], &two),
            "dsr and nat: one sample, so the noise is unknown."
        );
        let collapsed = [
            subject("dsr", 4, true, &[200.0, 201.0, 199.0]),
            subject("nat", 4, true, &[0.0, 0.0, 0.0]),
        ];
        assert_eq!(figure(&THROUGHPUT[0], &collapsed), "dsr: 200 requests/s, nat: none.");
    }
}
