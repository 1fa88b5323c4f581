//! A skip is a decision: it prints its reason, and where `FULCRUM_NO_SKIP` is set (CI), it is a failure. Empty or 0, it
//! counts as unset, as for `cargo xtask`.

use std::ffi::OsStr;

/// Whether a test runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Gate {
    /// Everything it needs is there.
    Run,
    /// Something is missing; the reason has been printed.
    Skip,
}

/// Lets a test run unless something is `missing`.
///
/// # Panics
/// When something is missing and `FULCRUM_NO_SKIP` is set.
pub fn gate(missing: Option<&str>) -> Gate {
    match missing {
        None => Gate::Run,
        Some(why) if refuses(std::env::var_os("FULCRUM_NO_SKIP").as_deref()) => panic!("refusing to skip: {why}"),
        Some(why) => {
            eprintln!("skipped: {why}");
            Gate::Skip
        }
    }
}

fn refuses(variable: Option<&OsStr>) -> bool {
    variable.is_some_and(|value| !value.is_empty() && value != "0")
}

/// Lets a test run when it may make namespaces and load programs.
///
/// # Panics
/// As [`gate`].
pub fn root() -> Gate {
    gate((!nix::unistd::geteuid().is_root()).then_some("needs root"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_counts_when_it_says_something() {
        for (value, expected) in [(None, false), (Some(""), false), (Some("0"), false), (Some("1"), true)] {
            assert_eq!(refuses(value.map(OsStr::new)), expected, "{value:?}");
        }
    }
}
