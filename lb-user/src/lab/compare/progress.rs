//! What is said while a comparison runs, on standard error: a bar with the time that is left on a terminal, a line for
//! each part elsewhere.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use super::schedule::left;

/// Width of the bar, in characters.
const WIDTH: usize = 24;

#[derive(Debug)]
pub(super) struct Progress {
    /// In seconds, as guessed.
    all: f64,
    done: f64,
    began: Instant,
    terminal: bool,
    /// What was said last elsewhere.
    part: String,
}

impl Progress {
    pub(super) fn new(all: f64) -> Self {
        Self {
            all,
            done: 0.0,
            began: Instant::now(),
            terminal: io::stderr().is_terminal(),
            part: String::new(),
        }
    }

    /// So much of it is not to be done, or was done: seconds, as guessed.
    pub(super) fn add(&mut self, seconds: f64) {
        self.done += seconds;
    }

    /// Shows what is being done: a part of the whole, and what of it.
    pub(super) fn show(&mut self, part: &str, what: &str) {
        let rest = left(self.all, self.done, self.began.elapsed());
        if self.terminal {
            let line = line(self.done / self.all, rest, part, what);
            eprint!("\r\x1b[K{line}");
            // A terminal that is gone does not stop the comparison.
            let _ = io::stderr().flush();
        } else if self.part != part {
            part.clone_into(&mut self.part);
            eprintln!("{part} (about {} left)", time(rest));
        }
    }

    /// Says something that stays.
    pub(super) fn say(&self, what: &str) {
        self.clear();
        eprintln!("{what}");
    }

    pub(super) fn clear(&self) {
        if self.terminal {
            eprint!("\r\x1b[K");
            let _ = io::stderr().flush();
        }
    }
}

fn line(part_done: f64, rest: Duration, part: &str, what: &str) -> String {
    let part_done = part_done.clamp(0.0, 1.0);
    let full = (part_done * WIDTH as f64) as usize;
    format!(
        "[{}{}] {:>3.0} %  {} left  {part}: {what}",
        "#".repeat(full),
        "-".repeat(WIDTH - full),
        part_done * 100.0,
        time(rest)
    )
}

/// `3 min 20 s`
fn time(span: Duration) -> String {
    match span.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_fills() {
        assert_eq!(
            line(0.25, Duration::from_secs(200), "round 1 of 5", "dsr"),
            "[######------------------]  25 %  3 min 20 s left  round 1 of 5: dsr"
        );
        assert!(line(7.0, Duration::ZERO, "", "").starts_with("[########################] 100 %  0 s"));
    }
}
