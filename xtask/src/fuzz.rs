//! `cargo xtask fuzz`: the targets of fuzz/ with libFuzzer and AddressSanitizer, one after the other.
//!
//! What it finds worth keeping lies below target/fuzz/corpus and is found again by the next run; fuzz/corpus is read only.
//! An input that breaks something is left in fuzz/artifacts, and the last lines say where.

use std::fs;
use std::num::NonZeroU32;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::bpf::tools;
use crate::exec;
use crate::parts::Parts;
use crate::workspace;

/// cargo-fuzz's version.
pub(crate) const VERSION: &str = "0.13.2";

/// Where the targets are, below the root: one file for each.
const TARGETS: &str = "fuzz/fuzz_targets";

/// Longest input in bytes, whatever the corpus has: what is longer finds nothing new, slowly.
const LONGEST: u32 = 8192;

/// Run the fuzz targets, each for a while, until one breaks something
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only this one; fuzz/fuzz_targets has them
    target: Option<String>,
    /// How long each one runs
    #[arg(long, value_name = "N", default_value = "60")]
    seconds: NonZeroU32,
}

/// Runs the verb.
pub(crate) fn run(args: &Args) -> Result<()> {
    let root = workspace::root();
    ensure!(
        is_installed(&root) && has_compiler(),
        "cargo-fuzz {VERSION} or a C++ compiler is missing: run `cargo xtask setup --yes --for fuzz`"
    );
    let mut targets = targets(&root)?;
    if let Some(only) = &args.target {
        let all = targets.join(", ");
        targets.retain(|target| target == only);
        ensure!(!targets.is_empty(), "there is no fuzz target {only}; there are {all}");
    }
    let mut parts = Parts::new("fuzz");
    for target in &targets {
        parts.run(target, || fuzz(&root, target, args.seconds));
    }
    parts.finish()
}

/// The names of all targets, sorted.
fn targets(root: &Path) -> Result<Vec<String>> {
    let folder = root.join(TARGETS);
    let mut targets = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if let (Some("rs"), Some(name)) = (path.extension().and_then(|e| e.to_str()), path.file_stem()) {
            targets.push(name.to_string_lossy().into_owned());
        }
    }
    targets.sort();
    Ok(targets)
}

fn fuzz(root: &Path, target: &str, seconds: NonZeroU32) -> Result<()> {
    let found = root.join("target/fuzz/corpus").join(target);
    fs::create_dir_all(&found).with_context(|| found.display().to_string())?;
    let mut fuzz = Command::new(program(root));
    // With 1, which is the default, lb-user takes minutes more to build.
    fuzz.args([
        "run",
        "--fuzz-dir=fuzz",
        "--target-dir=target/fuzz",
        "--codegen-units=16",
        target,
    ])
    .arg(&found)
    .arg(Path::new("fuzz/corpus").join(target))
    .arg("--")
    .arg(format!("-max_total_time={seconds}"))
    .arg(format!("-max_len={LONGEST}"));
    let dictionary = Path::new("fuzz").join(format!("{target}.dict"));
    if root.join(&dictionary).is_file() {
        fuzz.arg(format!("-dict={}", dictionary.display()));
    }
    // Sanitizers are not stable.
    exec::run(
        fuzz.current_dir(root)
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO", tools::cargo()),
    )
}

fn program(root: &Path) -> std::path::PathBuf {
    root.join(".tools/bin/cargo-fuzz")
}

/// Is cargo-fuzz there, in its version?
pub(crate) fn is_installed(root: &Path) -> bool {
    exec::ask(Command::new(program(root)).arg("--version"))
        .is_some_and(|text| text.trim() == format!("cargo-fuzz {VERSION}"))
}

/// Is there a compiler for libFuzzer?
pub(crate) fn has_compiler() -> bool {
    exec::find("c++").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_targets_are_those_of_the_manifest() {
        let root = workspace::root();
        let manifest = fs::read_to_string(root.join("fuzz/Cargo.toml")).unwrap();
        let manifest: toml::Table = manifest.parse().unwrap();
        let bins = manifest["bin"].as_array().unwrap();
        let mut names: Vec<_> = bins.iter().map(|bin| bin["name"].as_str().unwrap()).collect();
        names.sort_unstable();
        assert_eq!(targets(&root).unwrap(), names);
        assert!(!names.is_empty());
    }
}
