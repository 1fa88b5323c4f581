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

/// Lets a test run when it may make namespaces and load programs, and finds the programs that it needs besides.
///
/// # Panics
/// As [`gate`].
pub fn root_with(programs: &[&str]) -> Gate {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let is_there = |program: &&&str| std::env::split_paths(&folders).any(|folder| folder.join(program).is_file());
    match programs.iter().find(|program| !is_there(program)) {
        Some(program) => gate(Some(&format!("needs {program}: see `cargo xtask setup --for test`"))),
        None => root(),
    }
}

/// As [`root_with`], and finds these modules of Debian's Python, too.
///
/// # Panics
/// As [`gate`].
pub fn root_with_python(programs: &[&str], modules: &[&str]) -> Gate {
    let mut python = std::process::Command::new(crate::peers::PYTHON);
    let imports = python.args(["-c", &format!("import {}", modules.join(", "))]).output();
    match imports {
        Ok(output) if output.status.success() => root_with(programs),
        _ => gate(Some(&format!(
            "needs {} for {}: see `cargo xtask setup --for test`",
            modules.join(", "),
            crate::peers::PYTHON
        ))),
    }
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
