//! What tracked things make of a priority. Pure.

use crate::model::vrrp::Track;

/// What follows from everything that is tracked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// 1 to 255.
    pub(super) priority: u8,
    /// What is down.
    pub(super) down: Vec<String>,
    /// Why the node takes no part.
    pub(super) fault: Option<String>,
}

/// The outcome of tracks, each of which is up or down. Who owns the addresses (255) stays so, and nobody becomes it.
pub(super) fn outcome<'t>(base: u8, tracks: impl Iterator<Item = (&'t Track, bool)>) -> Outcome {
    let mut priority = i32::from(base);
    let (mut down, mut fault) = (Vec::new(), None);
    for (track, up) in tracks {
        if !up {
            down.push(track.subject.to_string());
        }
        match (track.weight, up) {
            (0, false) => fault = fault.or_else(|| Some(format!("{} is down", track.subject))),
            (weight @ ..0, false) | (weight @ 1.., true) => priority += i32::from(weight),
            (1.., false) | (..=0, true) => {}
        }
    }
    let priority = if base == u8::MAX {
        base
    } else {
        priority.clamp(1, 254) as u8
    };
    Outcome { priority, down, fault }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::vrrp::Tracked;

    #[test]
    fn weights_count_where_they_should() {
        let track = |weight| Track {
            subject: Tracked::Interface("eth1".into()),
            weight,
        };
        for (base, tracks, priority, down, fault) in [
            (100, &[][..], 100, 0, false),
            (100, &[(-30, true)], 100, 0, false),
            (100, &[(-30, false)], 70, 1, false),
            (100, &[(30, true)], 130, 0, false),
            (100, &[(30, false)], 100, 1, false),
            (100, &[(0, true)], 100, 0, false),
            (100, &[(0, false)], 100, 1, true),
            (100, &[(-30, false), (-30, false), (50, true)], 90, 2, false),
            (100, &[(-253, false)], 1, 1, false),
            (100, &[(253, true)], 254, 0, false),
            (255, &[(-30, false)], 255, 1, false),
            (255, &[(0, false)], 255, 1, true),
        ] {
            let tracks: Vec<_> = tracks.iter().map(|&(weight, up)| (track(weight), up)).collect();
            let outcome = outcome(base, tracks.iter().map(|(track, up)| (track, *up)));
            let seen = (outcome.priority, outcome.down.len(), outcome.fault.is_some());
            assert_eq!(seen, (priority, down, fault), "{base} {tracks:?}");
        }
    }
}
