//! `cargo xtask test`: unit tests as the user, then the tests of `lb-tests` as root, which no plain `cargo test` runs.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use anyhow::Result;

use crate::parts::{self, Parts};
use crate::privilege::{self, Root};
use crate::workspace::{self, Built, cargo};
use crate::{bpf, exec};

/// Build everything as the user, run the unit tests, and the tests that need root as root
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only tests whose name contains one of these; options such as --nocapture go to the test programs too
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "FILTER")]
    filters: Vec<OsString>,
}

/// Runs the verb.
pub(crate) fn run(args: &Args) -> Result<()> {
    let root = privilege::root();
    if let Err(why) = root {
        let then = if parts::no_skip() {
            "this run will fail"
        } else {
            "they will be skipped"
        };
        eprintln!("The tests in tests/ need root, and {why}: {then}.");
    }
    let mut parts = Parts::new("test");
    // lb-common as the XDP program has it, then as the manager has it.
    parts.run("unit tests: lb-common", || {
        exec::run(cargo(["test", "--no-fail-fast", "--package=lb-common", "--"]).args(&args.filters))
    });
    parts.run("unit tests: lb-common with user, lb-user, xtask", || {
        let mut test = cargo(["test", "--no-fail-fast", "--features=lb-common/user"]);
        test.args(["--package=lb-common", "--package=lb-user", "--package=xtask", "--"]);
        exec::run(test.args(&args.filters))
    });
    parts.run("fuzz targets: the corpus, and what is made of it", || {
        let mut test = cargo(["test", "--no-fail-fast"]);
        exec::run(workspace::of_fuzz(&mut test).arg("--").args(&args.filters))
    });
    let mut built = None;
    parts.run("build: tests, fulcrum", || {
        built = Some(build()?);
        Ok(())
    });
    for test in built.iter().flat_map(|(_, tests)| tests) {
        let name = format!("root tests: {}", test.name);
        match (root, &built) {
            (Ok(root), Some((fulcrum, _))) => parts.run(&name, || run_as_root(root, fulcrum, test, &args.filters)),
            (Err(why), _) => parts.skip(&name, why),
            (_, None) => {}
        }
    }
    parts.finish()
}

/// Builds the `fulcrum` binary and the programs of `lb-tests`.
fn build() -> Result<(PathBuf, Vec<Built>)> {
    let fulcrum = workspace::build_fulcrum(false)?;
    let mut tests = workspace::build(&mut cargo(["test", "--package=lb-tests", "--no-run"]))?;
    tests.retain(|built| built.is_test);
    tests.sort_by(|a, b| a.name.cmp(&b.name));
    Ok((fulcrum, tests))
}

/// Runs one test program as `cargo test` would, in its package's folder, with the binary under test in `FULCRUM_BIN`.
fn run_as_root(root: Root, fulcrum: &std::path::Path, test: &Built, filters: &[OsString]) -> Result<()> {
    let package = workspace::root().join("tests");
    let cargo = bpf::tools::cargo();
    let variables: [(&str, &OsStr); 3] = [
        ("FULCRUM_BIN", fulcrum.as_os_str()),
        ("CARGO_MANIFEST_DIR", package.as_os_str()),
        ("CARGO", cargo.as_os_str()),
    ];
    exec::run(
        root.command_with(&variables, &test.path)
            .args(filters)
            .current_dir(&package),
    )
}
