//! How the daemon logs: to standard error, as text or as JSON.
//!
//! Where standard error is the journal (systemd.exec(5), `JOURNAL_STREAM`), each line begins with its priority
//! (sd-daemon(3)), so that `journalctl -p warning` finds what matters, and text has no time of its own. What comes again
//! and again is held back ([`repeats`]), and what is logged can be changed while the daemon runs.

#[cfg(test)]
mod documented;
mod repeats;

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, anyhow};
use clap::ValueEnum;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, ParseError};
use tracing_subscriber::fmt::format::{self, Format, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, reload};

use super::args;
use crate::control::Levels;
use repeats::{Limit, Repeats};

/// Sets what is logged where `--log-level` does not.
const VARIABLE: &str = "FULCRUM_LOG";

/// What a line looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    /// For people
    #[default]
    Text,
    /// One JSON object per line
    Json,
}

/// The log that has begun.
#[derive(Debug)]
pub(super) struct Log {
    switch: Arc<Switch>,
    repeats: Arc<Repeats>,
}

/// What is logged, and how to change it.
#[derive(Debug)]
struct Switch {
    levels: Mutex<String>,
    filter: reload::Handle<EnvFilter, Registry>,
}

/// Begins to log. A level that cannot be read is an error when it is an argument, and counts as `info` when it is a
/// variable: commands that have nothing to log shall not fail for it.
pub(super) fn start(log: &args::Log) -> Result<Log> {
    let (levels, filter) = match &log.level {
        Some(levels) => (levels.clone(), filter(levels).context("--log-level")?),
        None => of_variable(std::env::var(VARIABLE).ok()),
    };
    let (filter, handle) = reload::Layer::new(filter);
    let repeats = Arc::new(Repeats::default());
    let journal = is_journal();
    let format = Format::default().with_target(false);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(!journal && super::colors(&io::stderr()));
    let lines = match (log.format, journal) {
        (LogFormat::Text, false) => lines.event_format(format).boxed(),
        (LogFormat::Text, true) => lines.event_format(Prioritised(format.without_time())).boxed(),
        (LogFormat::Json, false) => lines.json().event_format(json(format)).boxed(),
        (LogFormat::Json, true) => lines.json().event_format(Prioritised(json(format))).boxed(),
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(Limit(Arc::clone(&repeats)))
        .with(lines)
        .init();
    let switch = Arc::new(Switch {
        levels: Mutex::new(levels),
        filter: handle,
    });
    Ok(Log { switch, repeats })
}

impl Log {
    /// What changes the levels.
    pub(super) fn levels(&self) -> Arc<dyn Levels> {
        Arc::clone(&self.switch) as _
    }

    /// Says what is held back, each when its time has come.
    pub(super) async fn tell(&self) -> Infallible {
        self.repeats.tell().await
    }

    /// Says what is held back still.
    pub(super) fn finish(&self) {
        self.repeats.finish();
    }
}

impl Levels for Switch {
    fn get(&self) -> String {
        self.levels.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, levels: &str) -> Result<(), String> {
        let filter = filter(levels).map_err(|error| format!("{error:#}"))?;
        // Both under the lock, so that of two who set them one has the last word.
        let mut known = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        self.filter.reload(filter).map_err(|error| error.to_string())?;
        levels.clone_into(&mut known);
        Ok(())
    }
}

/// What is logged at `levels`. A word of its own has to be a level: it would be taken for a part, and all else be silent.
fn filter(levels: &str) -> Result<EnvFilter> {
    let is_level = |word: &str| word.parse::<LevelFilter>().is_ok();
    let parsed = match levels.split(',').find(|part| !part.contains('=') && !is_level(part)) {
        Some(word) => Err(anyhow!("there is no level `{word}`")),
        None => parse(levels).map_err(anyhow::Error::from),
    };
    parsed.with_context(|| {
        format!("{levels}: write error, warn, info, debug or trace, also for a part, as in info,lb_user::health=debug")
    })
}

/// What the variable says, and `info` where it says nothing that can be read.
fn of_variable(levels: Option<String>) -> (String, EnvFilter) {
    levels
        .filter(|levels| !levels.is_empty())
        .and_then(|levels| parse(&levels).ok().map(|filter| (levels, filter)))
        .unwrap_or_else(|| ("info".to_owned(), EnvFilter::new("info")))
}

/// What watches files tells of each write into their folders at `trace`: of a log among them that would be a line about each
/// line, without end. Whoever names the part gets it.
fn parse(levels: &str) -> Result<EnvFilter, ParseError> {
    format!("notify=info,{levels}").parse()
}

/// Fields beside the message, in one object without others inside.
fn json(lines: Format) -> Format<format::Json> {
    lines
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
}

/// Is standard error the journal?
fn is_journal() -> bool {
    let stderr = std::fs::metadata("/proc/self/fd/2");
    let variable = std::env::var("JOURNAL_STREAM");
    matches!((stderr, variable), (Ok(file), Ok(stream)) if names(&stream, file.dev(), file.ino()))
}

/// Does `stream`, as in `JOURNAL_STREAM`, name this file?
fn names(stream: &str, device: u64, inode: u64) -> bool {
    stream == format!("{device}:{inode}")
}

/// Lines with their priorities first.
struct Prioritised<F>(F);

impl<S, N, F> FormatEvent<S, N> for Prioritised<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut text = String::new();
        self.0.format_event(context, Writer::new(&mut text), event)?;
        let priority = priority(*event.metadata().level());
        // The journal makes an entry of each line.
        text.lines().try_for_each(|line| writeln!(writer, "<{priority}>{line}"))
    }
}

/// The number of a level in syslog(3).
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    #[derive(Clone, Default)]
    pub(super) struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Lines {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    impl Lines {
        pub(super) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    fn log() {
        tracing::info!(services = 2, "running");
        tracing::error!("refused:\nline 3");
        tracing::warn!(reason = %"a: b", "tried again");
    }

    #[test]
    fn the_journal_gets_priorities_and_no_times() {
        let lines = Lines::default();
        let format = Prioritised(Format::default().with_target(false).without_time());
        let subscriber = tracing_subscriber::fmt()
            .with_writer(lines.clone())
            .with_ansi(false)
            .event_format(format)
            .finish();
        tracing::subscriber::with_default(subscriber, log);
        let expected = "<6> INFO running services=2\n<3>ERROR refused:\n<3>line 3\n<4> WARN tried again reason=a: b\n";
        assert_eq!(lines.text(), expected);
    }

    #[test]
    fn json_is_one_flat_object_per_line() {
        let lines = Lines::default();
        let format = Prioritised(json(Format::default().with_target(false)));
        let subscriber = tracing_subscriber::fmt()
            .with_writer(lines.clone())
            .json()
            .event_format(format)
            .finish();
        tracing::subscriber::with_default(subscriber, log);
        let text = lines.text();
        let objects: Vec<serde_json::Value> = text
            .lines()
            .zip(["<6>", "<3>", "<4>"])
            .map(|(line, priority)| serde_json::from_str(line.strip_prefix(priority).unwrap()).unwrap())
            .collect();
        assert_eq!(objects.len(), text.lines().count());
        assert_eq!(objects[0]["services"], 2);
        assert_eq!(objects[1]["message"], "refused:\nline 3");
        assert_eq!(
            (&objects[2]["level"], &objects[2]["reason"]),
            (&"WARN".into(), &"a: b".into())
        );
        assert!(objects.iter().all(|object| object["timestamp"].is_string()));
    }

    #[test]
    fn the_variable_counts_where_it_says_something() {
        let levels = |variable: Option<&str>| of_variable(variable.map(str::to_owned)).0;
        assert_eq!([None, Some(""), Some("lb_user=loud")].map(levels), ["info"; 3]);
        assert_eq!(levels(Some("debug")), "debug");
        // What watches files is not told of, but to whoever names it.
        assert!(
            of_variable(Some("trace".to_owned()))
                .1
                .to_string()
                .contains("notify=info")
        );
        assert!(
            parse("trace,notify=trace")
                .unwrap()
                .to_string()
                .contains("notify=trace")
        );
    }

    #[test]
    fn levels_are_read_and_refused() {
        for good in ["warn", "info,lb_user::health=debug", "lb_user=trace", "off", "DEBUG"] {
            assert!(filter(good).is_ok(), "{good}");
        }
        for bad in ["loud", "info,health", "lb_user=loud"] {
            let refused = format!("{:#}", filter(bad).unwrap_err());
            assert!(refused.starts_with(&format!("{bad}: write error, warn")), "{refused}");
        }
    }

    #[test]
    fn levels_change_while_it_runs() {
        let lines = Lines::default();
        let (filter, handle) = reload::Layer::new(filter("warn").unwrap());
        let switch = Switch {
            levels: Mutex::new("warn".to_owned()),
            filter: handle,
        };
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(lines.clone())
            .with_ansi(false);
        let subscriber = tracing_subscriber::registry().with(filter).with(layer);
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("before");
            switch.set("error,lb_user::cli=info").unwrap();
            tracing::info!("meanwhile");
            assert!(switch.set("loud").unwrap_err().starts_with("loud: write error, warn"));
            tracing::info!("still");
            assert_eq!(switch.get(), "error,lb_user::cli=info");
            switch.set("off").unwrap();
            tracing::error!("afterwards");
        });
        let text = lines.text();
        assert!(text.contains("meanwhile") && text.contains("still"), "{text}");
        assert!(!text.contains("before") && !text.contains("afterwards"), "{text}");
    }

    #[test]
    fn the_journal_is_known_by_its_file() {
        assert!(names("8:12345", 8, 12345));
        for other in ["8:12346", "9:12345", "", "8", "8:12345:1"] {
            assert!(!names(other, 8, 12345), "{other}");
        }
    }
}
