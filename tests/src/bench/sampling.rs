//! Which cases, how often and how long: the same for benches that run programs.

use anyhow::{Result, ensure};

/// See the module.
#[derive(Clone, Debug, clap::Args)]
pub struct Sampling {
    /// Say only whether it works: the figures mean nothing
    #[arg(long)]
    pub quick: bool,
    /// Only cases whose name contains this; may be given several times
    #[arg(long = "case", value_name = "NAME")]
    pub cases: Vec<String>,
    /// Samples of each program and case
    #[arg(long, default_value_t = 7)]
    rounds: u32,
    /// How long a sample takes
    #[arg(long, default_value_t = 2)]
    seconds: u32,
}

impl Sampling {
    /// Says whether these cases work, or all.
    #[must_use]
    pub fn quick(cases: Vec<String>) -> Self {
        Self {
            quick: true,
            cases,
            rounds: 1,
            seconds: 1,
        }
    }

    pub(super) fn rounds(&self) -> u32 {
        if self.quick { 1 } else { self.rounds }
    }

    pub(super) fn seconds(&self) -> u32 {
        if self.quick { 1 } else { self.seconds }
    }

    /// Those whose name contains one of those that were asked for, or all.
    ///
    /// # Errors
    /// When there are none, or nothing is to be measured of them.
    pub(super) fn wanted<'c, C>(&self, all: &'c [C], name: impl Fn(&C) -> &str) -> Result<Vec<&'c C>> {
        ensure!(self.rounds() > 0 && self.seconds() > 0, "there is nothing to measure");
        let is_wanted =
            |case: &&C| self.cases.is_empty() || self.cases.iter().any(|part| name(case).contains(part.as_str()));
        let cases: Vec<&C> = all.iter().filter(is_wanted).collect();
        let names: Vec<&str> = all.iter().map(&name).collect();
        ensure!(
            !cases.is_empty(),
            "no name of a case contains {}; there are:\n{}",
            self.cases.join(" or "),
            names.join("\n")
        );
        Ok(cases)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [&str; 3] = ["TLS, HTTP/2", "TLS, full handshakes", "TLS, idle connections"];

    fn wanted(parts: &[&str]) -> Result<Vec<&'static &'static str>> {
        let parts = parts.iter().map(|&part| part.to_owned()).collect();
        Sampling::quick(parts).wanted(&ALL, |case| case)
    }

    #[test]
    fn cases_are_asked_for_by_parts_of_their_names() {
        assert_eq!(wanted(&[]).unwrap().len(), ALL.len());
        assert_eq!(wanted(&["HTTP/2", "idle"]).unwrap(), [&ALL[0], &ALL[2]]);
        let error = wanted(&["HTTP/3"]).unwrap_err().to_string();
        assert!(
            error.contains("HTTP/3") && error.contains("TLS, full handshakes"),
            "{error}"
        );
    }

    #[test]
    fn nothing_is_not_measured() {
        let nothing = Sampling {
            quick: false,
            rounds: 0,
            ..Sampling::quick(Vec::new())
        };
        assert!(nothing.wanted(&ALL, |case| case).is_err());
    }
}
