//! A verb made of parts: all of them run, also after one has failed, and the last line counts them.

use std::env;
use std::time::Instant;

use anyhow::{Result, bail};

/// Set in CI: what would be skipped fails instead.
const NO_SKIP: &str = "FULCRUM_NO_SKIP";

/// Whether skipping is refused.
pub(crate) fn no_skip() -> bool {
    env::var_os(NO_SKIP).is_some_and(|value| !value.is_empty() && value != "0")
}

/// How the parts of a verb have ended so far.
#[derive(Debug)]
pub(crate) struct Parts {
    verb: &'static str,
    no_skip: bool,
    passed: usize,
    failed: Vec<String>,
    skipped: usize,
}

impl Parts {
    /// None has run yet.
    pub(crate) fn new(verb: &'static str) -> Self {
        Self {
            verb,
            no_skip: no_skip(),
            passed: 0,
            failed: Vec::new(),
            skipped: 0,
        }
    }

    /// Runs a part; prints its error and goes on.
    pub(crate) fn run(&mut self, name: &str, part: impl FnOnce() -> Result<()>) {
        eprintln!("== {name}");
        let start = Instant::now();
        match part() {
            Ok(()) => self.passed += 1,
            Err(error) => {
                eprintln!("== {name}: failed after {:.0?}: {error:#}", start.elapsed());
                self.failed.push(name.to_owned());
            }
        }
    }

    /// Notes a part that cannot run here, and why.
    pub(crate) fn skip(&mut self, name: &str, why: &str) {
        if self.no_skip {
            eprintln!("== {name}: refusing to skip, since {NO_SKIP} is set: {why}");
            self.failed.push(name.to_owned());
        } else {
            eprintln!("== {name}: skipped: {why}");
            self.skipped += 1;
        }
    }

    /// Prints the count; an error when a part failed.
    pub(crate) fn finish(self) -> Result<()> {
        let Self {
            verb,
            passed,
            failed,
            skipped,
            ..
        } = self;
        let count = format!(
            "cargo xtask {verb}: {passed} passed, {} failed, {skipped} skipped",
            failed.len()
        );
        if !failed.is_empty() {
            bail!("{count}; failed: {}", failed.join(", "));
        }
        eprintln!("{count}");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    fn parts(no_skip: bool) -> Parts {
        Parts {
            no_skip,
            ..Parts::new("test")
        }
    }

    #[test]
    fn all_parts_run_and_one_failure_fails_the_verb() {
        let mut parts = parts(false);
        let mut ran = 0;
        parts.run("one", || Err(anyhow!("broken")));
        parts.run("two", || {
            ran += 1;
            Ok(())
        });
        parts.skip("three", "no root");
        assert_eq!(ran, 1);
        let message = parts.finish().unwrap_err().to_string();
        assert_eq!(message, "cargo xtask test: 1 passed, 1 failed, 1 skipped; failed: one");
    }

    #[test]
    fn a_skip_fails_where_skipping_is_refused() {
        let mut lenient = parts(false);
        lenient.skip("root tests", "no root");
        assert!(lenient.finish().is_ok());
        let mut strict = parts(true);
        strict.skip("root tests", "no root");
        assert!(strict.finish().is_err());
    }
}
