//! A skip is a decision: it prints its reason, and where `FULCRUM_NO_SKIP` is set (CI), it is a failure.

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
        Some(why) if std::env::var_os("FULCRUM_NO_SKIP").is_some() => panic!("refusing to skip: {why}"),
        Some(why) => {
            eprintln!("skipped: {why}");
            Gate::Skip
        }
    }
}

/// Lets a test run when it may make namespaces and load programs.
///
/// # Panics
/// As [`gate`].
pub fn root() -> Gate {
    gate((!nix::unistd::geteuid().is_root()).then_some("needs root"))
}
