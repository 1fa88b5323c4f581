//! Lines that come again and again are held back.
//!
//! The same event (place in the program, message and fields) is written [`MOST`] times within [`WINDOW`]; the others of
//! that window are counted, and one line at its end says how many they were. What differs in a field, such as the backend,
//! is another event. Warnings and errors alone are limited: an `info` says that something has changed, and of changes back and
//! forth, each is news; whoever asks for `debug` and `trace` wants all. At most [`KEYS`] events are kept in mind; what finds no
//! room is written.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt::{self, Write as _};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// An event is written so many times in a window.
const MOST: u64 = 5;

/// 10 s, from the first time on.
const WINDOW: Duration = Duration::from_secs(10);

/// Events that are kept in mind; each takes half a kilobyte at most.
const KEYS: usize = 1024;

/// Bytes of an event's text that are kept, for the line that says how often it came.
const TEXT: usize = 300;

/// The field that the line has which says so.
const REPEATED: &str = "repeated";

/// What has been logged lately.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    windows: Mutex<Windows>,
    /// Told when something is held back for the first time.
    holds: Notify,
    hasher: RandomState,
}

impl Repeats {
    /// Says what has been held back, each when its window is over.
    pub(super) async fn tell(&self) -> Infallible {
        loop {
            let (over, next) = self.windows().over(Instant::now());
            over.iter().for_each(Held::log);
            let end = async {
                match next {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = end => {}
                () = self.holds.notified() => {}
            }
        }
    }

    /// Says what has been held back and not been said yet: nothing more is logged.
    pub(super) fn finish(&self) {
        let (over, _) = self.windows().over(Instant::now() + WINDOW);
        over.iter().for_each(Held::log);
    }

    fn windows(&self) -> MutexGuard<'_, Windows> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writes(&self, event: &Event<'_>) -> bool {
        let metadata = event.metadata();
        let level = *metadata.level();
        if level > Level::WARN || metadata.fields().field(REPEATED).is_some() {
            return true;
        }
        let mut text = Text::default();
        event.record(&mut text);
        let key = self.hasher.hash_one((metadata.callsite(), &text.0));
        let verdict = self.windows().see(key, level, text.0, Instant::now());
        if verdict == Verdict::FirstHeld {
            self.holds.notify_one();
        }
        verdict == Verdict::Written
    }
}

/// Keeps repeats from all layers.
pub(super) struct Limit(pub(super) Arc<Repeats>);

impl<S: Subscriber> Layer<S> for Limit {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        self.0.writes(event)
    }
}

/// Message and fields of an event, as a line has them.
#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // The message comes first. Writing to a string does not fail.
        let _ = match field.name() {
            "message" => write!(self.0, "{value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}

/// The pure part.
#[derive(Debug, Default)]
struct Windows(HashMap<u64, Seen>);

#[derive(Debug)]
struct Seen {
    end: Instant,
    times: u64,
    level: Level,
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Written,
    FirstHeld,
    Held,
}

/// What was held back in a window that is over.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    repeated: u64,
    level: Level,
    event: String,
}

impl Seen {
    /// What was held back; it stays until that has been said.
    fn held(&self) -> u64 {
        self.times.saturating_sub(MOST)
    }
}

impl Windows {
    /// An event, known by its hash, comes.
    fn see(&mut self, key: u64, level: Level, mut text: String, now: Instant) -> Verdict {
        if let Some(seen) = self.0.get_mut(&key)
            && (now < seen.end || seen.held() > 0)
        {
            seen.times += 1;
            return match seen.held() {
                0 => Verdict::Written,
                1 => Verdict::FirstHeld,
                _ => Verdict::Held,
            };
        }
        if self.0.len() >= KEYS {
            self.0.retain(|_, seen| now < seen.end || seen.held() > 0);
        }
        if self.0.len() < KEYS {
            text.truncate(text.floor_char_boundary(TEXT));
            text.shrink_to_fit();
            let seen = Seen {
                end: now + WINDOW,
                times: 1,
                level,
                text,
            };
            self.0.insert(key, seen);
        }
        Verdict::Written
    }

    /// Forgets the windows that are over: what they have held back, and when the next one ends that holds something back.
    fn over(&mut self, now: Instant) -> (Vec<Held>, Option<Instant>) {
        let over = self.0.extract_if(|_, seen| now >= seen.end);
        let held = over.filter(|(_, seen)| seen.held() > 0).map(|(_, seen)| Held {
            repeated: seen.held(),
            level: seen.level,
            event: seen.text,
        });
        let held = held.collect();
        let holding = self.0.values().filter(|seen| seen.held() > 0);
        (held, holding.map(|seen| seen.end).min())
    }
}

impl Held {
    fn log(&self) {
        let Self { repeated, level, event } = self;
        match *level {
            Level::ERROR => tracing::error!(repeated, event, "came again and again: held back"),
            _ => tracing::warn!(repeated, event, "came again and again: held back"),
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::super::tests::Lines;
    use super::*;

    fn see(windows: &mut Windows, key: u64, now: Instant) -> Verdict {
        windows.see(key, Level::WARN, format!("event {key}"), now)
    }

    #[test]
    fn five_in_a_window_are_written_and_the_others_counted() {
        let (mut windows, start) = (Windows::default(), Instant::now());
        for _ in 0..MOST {
            assert_eq!(see(&mut windows, 1, start), Verdict::Written);
        }
        assert_eq!(windows.over(start), (vec![], None));
        assert_eq!(see(&mut windows, 1, start), Verdict::FirstHeld);
        assert_eq!(see(&mut windows, 1, start), Verdict::Held);
        // Another event is another matter.
        assert_eq!(see(&mut windows, 2, start), Verdict::Written);
        let end = start + WINDOW;
        assert_eq!(windows.over(start), (vec![], Some(end)));
        // Late, but nobody has told yet.
        assert_eq!(see(&mut windows, 1, end), Verdict::Held);
        let held = Held {
            repeated: 3,
            level: Level::WARN,
            event: "event 1".to_owned(),
        };
        assert_eq!(windows.over(end), (vec![held], None));
        assert_eq!(see(&mut windows, 1, end), Verdict::Written);
    }

    #[test]
    fn a_window_without_too_many_is_followed_by_another() {
        let (mut windows, start) = (Windows::default(), Instant::now());
        for round in 0..10 {
            for _ in 0..MOST {
                assert_eq!(see(&mut windows, 1, start + WINDOW * round), Verdict::Written);
            }
        }
    }

    #[test]
    fn memory_is_bounded_and_what_finds_no_room_is_written() {
        let (mut windows, start) = (Windows::default(), Instant::now());
        for key in 0..2 * KEYS as u64 {
            assert_eq!(see(&mut windows, key, start), Verdict::Written);
        }
        assert_eq!(windows.0.len(), KEYS);
        let last = 2 * KEYS as u64;
        for _ in 0..2 * MOST {
            assert_eq!(see(&mut windows, last, start), Verdict::Written);
        }
        // Later there is room.
        see(&mut windows, last, start + WINDOW);
        assert_eq!(windows.0.len(), 1);
        let long = "ä".repeat(TEXT);
        windows.see(0, Level::WARN, long, start + WINDOW);
        assert!(windows.0[&0].text.capacity() <= TEXT);
    }

    #[test]
    fn fields_make_the_difference_and_changes_are_not_limited() {
        let (lines, repeats) = (Lines::default(), Arc::new(Repeats::default()));
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(lines.clone())
            .with_ansi(false)
            .with_target(false)
            .without_time();
        let subscriber = tracing_subscriber::registry()
            .with(Limit(Arc::clone(&repeats)))
            .with(layer);
        tracing::subscriber::with_default(subscriber, || {
            for _ in 0..20 {
                for backend in ["a", "b"] {
                    tracing::warn!(backend, "down");
                }
                tracing::info!("changed");
                tracing::debug!("probed");
            }
            repeats.finish();
        });
        let text = lines.text();
        let count = |line: &str| text.lines().filter(|l| l.trim() == line).count();
        let most = MOST as usize;
        assert_eq!(count("WARN down backend=\"a\""), most, "{text}");
        assert_eq!(count("WARN down backend=\"b\""), most);
        assert_eq!((count("INFO changed"), count("DEBUG probed")), (20, 20));
        for backend in ["a", "b"] {
            let line =
                format!(r#"WARN came again and again: held back repeated=15 event="down backend=\"{backend}\"""#);
            assert_eq!(count(&line), 1, "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn somebody_is_told_that_something_is_held_back() {
        // What is logged here is the same place in the code as in the test above, which must not become one that nobody hears.
        let _heard = tracing::subscriber::set_default(tracing_subscriber::registry());
        let repeats = Arc::new(Repeats::default());
        let telling = tokio::spawn({
            let repeats = Arc::clone(&repeats);
            async move { match repeats.tell().await {} }
        });
        for _ in 0..=MOST {
            if see(&mut repeats.windows(), 1, Instant::now() - WINDOW) == Verdict::FirstHeld {
                repeats.holds.notify_one();
            }
        }
        while !repeats.windows().0.is_empty() {
            tokio::task::yield_now().await;
        }
        telling.abort();
    }
}
