//! Slow start: a backend that comes up takes its share of new flows in [`STEPS`] steps, so that cold caches and new
//! connection pools are not hit by all of it at once. Pure: time is an argument.
//!
//! A backend starts slowly when it comes up after it was down, disabled, or not in the file. Those that a service had when
//! it was first seen with a slow start, by a new file or by a daemon that starts, have their whole share at once: nobody
//! would be there to take the rest of the flows, or they have been serving all along.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::model::{AdminState, Backend, Config, Health, MemberKey, Service};

/// From a tenth of the share to the whole of it, which it has when the time is over.
pub(super) const STEPS: u16 = 10;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct SlowStarts {
    members: BTreeMap<MemberKey, Start>,
    services: BTreeSet<Arc<str>>,
    next: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
enum Start {
    /// The next time it is up, it begins.
    Cold,
    /// It began then.
    Warming(Instant),
    /// It has its whole share, as soon as it is up.
    Warm,
}

impl SlowStarts {
    /// The step that each backend is at which has less than its share, from 1 to one less than [`STEPS`].
    pub(super) fn observe(
        &mut self,
        config: &Config,
        health: impl Fn(&Service, &Backend) -> Health,
        now: Instant,
    ) -> BTreeMap<MemberKey, u16> {
        let before = std::mem::take(&mut self.members);
        let known = std::mem::take(&mut self.services);
        let mut steps = BTreeMap::new();
        self.next = None;
        for service in &config.services {
            let Some(whole) = service.health.slow_start else {
                continue;
            };
            let probed = |backend: &&Backend| backend.state != AdminState::Disabled && !backend.leaving;
            for backend in service.backends.iter().filter(probed) {
                let member = MemberKey::of(service, backend);
                let new = || {
                    let cold = known.contains(&service.name);
                    if cold { Start::Cold } else { Start::Warm }
                };
                let start = before.get(&member).copied().unwrap_or_else(new);
                let mut start = match (start, health(service, backend)) {
                    (_, Health::Down) => Start::Cold,
                    (Start::Cold, Health::Up) => Start::Warming(now),
                    (start, Health::Up | Health::Unknown) => start,
                };
                if let Start::Warming(since) = start {
                    match step(since, whole, now) {
                        Some((step, next)) => {
                            steps.insert(member.clone(), step);
                            self.next = Some(self.next.map_or(next, |first| first.min(next)));
                        }
                        None => start = Start::Warm,
                    }
                }
                self.members.insert(member, start);
            }
            self.services.insert(Arc::clone(&service.name));
        }
        steps
    }

    /// When the next step is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.next
    }
}

/// The step of a start that began at `since` and takes `whole`, and when it ends; `None` when the start is over.
fn step(since: Instant, whole: Duration, now: Instant) -> Option<(u16, Instant)> {
    let ends = |step: u16| since + whole * u32::from(step) / u32::from(STEPS - 1);
    (1..STEPS).map(|step| (step, ends(step))).find(|(_, ends)| now < *ends)
}

/// The weights of a service some of whose backends are at a step. All are scaled where that is needed for a weight of 1 to
/// have a tenth, and a positive one stays positive. Without steps they are as they are.
pub(super) fn scaled(weights: &[(u16, Option<u16>)]) -> Vec<u16> {
    let scale = match weights.iter().map(|(weight, _)| *weight).max() {
        Some(most @ 1..) if weights.iter().any(|(_, step)| step.is_some()) => STEPS.min(u16::MAX / most),
        _ => 1,
    };
    let of = |&(weight, step): &(u16, Option<u16>)| {
        let whole = weight * scale;
        let part = u32::from(whole) * u32::from(step.unwrap_or(STEPS)) / u32::from(STEPS);
        // A part of a u16.
        (part as u16).max(weight.min(1))
    };
    weights.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BACKENDS: [&str; 3] = ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"];

    /// A service with the first `backends` of them, of which some are disabled.
    fn config(backends: usize, disabled: &[usize]) -> Config {
        let backend = |i: usize| {
            let state = if disabled.contains(&i) { "disabled" } else { "active" };
            format!(
                "[[service.backend]]\naddress = \"{}\"\nstate = \"{state}\"\n",
                BACKENDS[i]
            )
        };
        let backends: String = (0..backends).map(backend).collect();
        let toml = format!(
            "[node]\nname = \"lb1\"\ninterfaces = [\"eth0\"]\n[[service]]\nname = \"web\"\naddress = \"192.0.2.10:80\"\n\
             mode = \"dsr\"\n[service.health]\nslow-start = \"27s\"\n{backends}"
        );
        crate::config::parse("test.toml", &toml)
            .unwrap_or_else(|e| panic!("{e}"))
            .config
    }

    struct Stage {
        starts: SlowStarts,
        start: Instant,
    }

    impl Stage {
        fn new() -> Self {
            Self {
                starts: SlowStarts::default(),
                start: Instant::now(),
            }
        }

        /// The steps of all three, 0 for none, and in how many milliseconds the next one is due.
        fn look(&mut self, config: &Config, health: [Health; 3], millis: u64) -> ([u16; 3], Option<u64>) {
            let now = self.start + Duration::from_millis(millis);
            let number = |address: &str| BACKENDS.iter().position(|b| *b == address).unwrap();
            let of = |_: &Service, backend: &Backend| health[number(&backend.address.to_string())];
            let steps = self.starts.observe(config, of, now);
            let mut all = [0; 3];
            for (member, step) in steps {
                all[number(&member.backend.to_string())] = step;
            }
            (all, self.starts.next().map(|next| (next - now).as_millis() as u64))
        }
    }

    use Health::{Down, Unknown, Up};

    #[test]
    fn whoever_comes_back_starts_slowly() {
        let (mut stage, config) = (Stage::new(), config(3, &[]));
        assert_eq!(stage.look(&config, [Unknown; 3], 0), ([0; 3], None));
        assert_eq!(
            stage.look(&config, [Up, Up, Down], 1_000),
            ([0; 3], None),
            "the first ones do not"
        );
        assert_eq!(stage.look(&config, [Up, Down, Up], 10_000), ([0, 0, 1], Some(3_000)));
        assert_eq!(stage.look(&config, [Up, Up, Up], 13_000), ([0, 1, 2], Some(3_000)));
        assert_eq!(stage.look(&config, [Up, Up, Up], 36_999), ([0, 8, 9], Some(1)));
        assert_eq!(stage.look(&config, [Up, Up, Up], 37_000), ([0, 9, 0], Some(3_000)));
        assert_eq!(stage.look(&config, [Up, Up, Up], 40_000), ([0; 3], None));
        assert_eq!(stage.look(&config, [Up, Up, Up], 43_000), ([0; 3], None));
        // Down in the middle of it: from the beginning.
        stage.look(&config, [Down, Up, Up], 50_000);
        stage.look(&config, [Up, Up, Up], 51_000);
        stage.look(&config, [Down, Up, Up], 70_000);
        assert_eq!(stage.look(&config, [Up, Up, Up], 71_000), ([1, 0, 0], Some(3_000)));
    }

    #[test]
    fn whoever_is_new_beside_others_starts_slowly() {
        let mut stage = Stage::new();
        assert_eq!(stage.look(&config(2, &[1]), [Up; 3], 0), ([0; 3], None));
        assert_eq!(stage.look(&config(2, &[]), [Up, Unknown, Up], 1_000), ([0; 3], None));
        assert_eq!(stage.look(&config(2, &[]), [Up; 3], 2_000), ([0, 1, 0], Some(3_000)));
        assert_eq!(stage.look(&config(3, &[]), [Up; 3], 3_000), ([0, 1, 1], Some(2_000)));
        // Nobody waits when the file does not want it any more.
        let mut at_once = config(3, &[]);
        at_once.services[0].health.slow_start = None;
        assert_eq!(stage.look(&at_once, [Up; 3], 4_000), ([0; 3], None));
        assert_eq!(stage.look(&config(3, &[]), [Up; 3], 5_000), ([0; 3], None));
    }

    #[test]
    fn weights_are_scaled_while_somebody_starts() {
        assert_eq!(scaled(&[(1, None), (5, None), (0, None)]), [1, 5, 0]);
        assert_eq!(scaled(&[(1, None), (1, Some(1))]), [10, 1]);
        assert_eq!(scaled(&[(3, None), (2, Some(7)), (0, Some(7))]), [30, 14, 0]);
        assert_eq!(
            scaled(&[(65_535, None), (65_535, Some(1)), (1, Some(1))]),
            [65_535, 6_553, 1]
        );
        assert_eq!(scaled(&[]), [0; 0]);
    }

    proptest! {
        #[test]
        fn shares_only_grow_up_to_the_whole(weights in prop::collection::vec(0u16.., 2..6), whole in 10u64..100_000) {
            let whole = Duration::from_millis(whole);
            let since = Instant::now();
            let mut last = 0.0;
            for ninth in 0..=9 {
                let at = step(since, whole, since + whole * ninth / 9);
                prop_assert_eq!(at.is_none(), ninth == 9);
                let step = at.map(|(step, _)| step);
                let all: Vec<_> = weights.iter().enumerate().map(|(i, &w)| (w, step.filter(|_| i == 0))).collect();
                let scaled = scaled(&all);
                for (now, whole) in scaled.iter().zip(&weights) {
                    prop_assert_eq!(*now > 0, *whole > 0);
                }
                let share = f64::from(scaled[0]) / scaled.iter().map(|&w| f64::from(w)).sum::<f64>().max(1.0);
                prop_assert!(share >= last, "{} after {} at step {:?}", share, last, step);
                last = share;
            }
        }
    }
}
