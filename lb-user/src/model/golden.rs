//! Files in the repository that tests make, and compare with what is there.

use std::fs;
use std::path::Path;

/// Is the file at `path`, seen from the package, as it is made? `FULCRUM_BLESS=1 cargo test -p lb-user --lib` rewrites it.
///
/// # Panics
/// When it is not; with the first line that differs.
pub(crate) fn check(path: &str, made: &str) {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("FULCRUM_BLESS").is_some() {
        fs::write(&place, made).unwrap();
    }
    let there = fs::read_to_string(&place).unwrap_or_default();
    if there == made {
        return;
    }
    let same = there
        .lines()
        .zip(made.lines())
        .take_while(|(there, made)| there == made);
    let line = same.count();
    let at = |text: &str| text.lines().nth(line).unwrap_or("(nothing)").to_owned();
    panic!(
        "{path}:{} is stale; `FULCRUM_BLESS=1 cargo test -p lb-user --lib` rewrites it\n  it has: {}\n  it should have: {}",
        line + 1,
        at(&there),
        at(made)
    );
}
