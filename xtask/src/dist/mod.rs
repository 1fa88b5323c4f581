//! `cargo xtask dist`: what others install: a Debian package and an archive, with manual and completions, and their
//! checksums.
//!
//! All of it is made below target/package. Nothing in it depends on when and where it was built: times are those of the
//! last commit, paths are cut off, and the same toolchain makes the same bytes.

mod check;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use sha2::{Digest as _, Sha256};

use crate::bpf::tools;
use crate::workspace::{self, cargo};
use crate::{exec, privilege};

/// cargo-deb's version.
pub(crate) const VERSION: &str = "3.8.0";

/// Build the Debian package and the archive, with manual and completions, and look whether they are whole
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Without optimisations, to look at what the packages contain; not for use
    #[arg(long)]
    quick: bool,
}

/// Runs the verb.
pub(crate) fn run(args: &Args) -> Result<()> {
    let root = workspace::root();
    ensure!(
        is_installed(&root) && exec::find("dpkg-shlibdeps").is_some(),
        "cargo-deb {VERSION} or dpkg-dev is missing: run `cargo xtask setup --yes --for dist`"
    );
    let folder = root.join("target/package");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
    }
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let program = build(&root, args.quick)?;
    fs::copy(&program, folder.join("fulcrum")).with_context(|| program.display().to_string())?;
    exec::run(Command::new(&program).arg("generate").arg(&folder))?;
    let time = time(&root);
    let deb = package(&root, &folder, &time)?;
    let archive = archive(&root, &folder, &time)?;
    check::contents(&deb, &folder)?;
    match privilege::root() {
        Ok(by) => check::installs(by, &deb)?,
        Err(why) => eprintln!("not tried to install it: {why}"),
    }
    for made in [&deb, &archive] {
        let bytes = fs::read(made).with_context(|| made.display().to_string())?;
        let digest: String = Sha256::digest(&bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        println!("{digest}  {}", made.strip_prefix(&root).unwrap_or(made).display());
    }
    Ok(())
}

/// The program, with the paths of this machine cut off.
fn build(root: &Path, quick: bool) -> Result<PathBuf> {
    if quick {
        return workspace::build_fulcrum(false);
    }
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let mut flags = vec![format!("--remap-path-prefix={}=fulcrum", root.display())];
    // Of the standard library, where its sources are installed.
    flags.push(format!("--remap-path-prefix={}=rust", tools::sysroot()?.display()));
    flags.extend(home.map(|home| format!("--remap-path-prefix={}=cargo", home.display())));
    let mut build = cargo([
        "build",
        "--locked",
        "--profile=dist",
        "--package=lb-user",
        "--bin=fulcrum",
    ]);
    // With a separator of its own: paths may have blanks.
    build.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    let built = workspace::build(&mut build)?;
    let program = built.into_iter().find(|program| program.name == "fulcrum");
    Ok(program.context("cargo has built no fulcrum")?.path)
}

/// When the last commit was made, in seconds since 1970; 0 outside of a repository.
fn time(root: &Path) -> String {
    let asked = exec::ask(
        Command::new("git")
            .args(["log", "-1", "--format=%ct"])
            .current_dir(root),
    );
    asked.map_or_else(|| "0".to_owned(), |time| time.trim().to_owned())
}

/// The Debian package; lb-user/Cargo.toml says what is in it.
fn package(root: &Path, folder: &Path, time: &str) -> Result<PathBuf> {
    let mut deb = Command::new(tool(root));
    deb.args(["--package=lb-user", "--no-build", "--no-strip", "--locked", "--output"])
        .arg(folder)
        .current_dir(root)
        .env("SOURCE_DATE_EPOCH", time);
    let said = exec::output(&mut deb)?;
    let path = said.lines().last().context("cargo-deb names no package")?;
    Ok(PathBuf::from(path.trim()))
}

/// The same for other systems, in a folder of its name.
fn archive(root: &Path, folder: &Path, time: &str) -> Result<PathBuf> {
    let name = format!("fulcrum-{}-linux-{}", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH);
    let inside = folder.join(&name);
    fs::create_dir(&inside).with_context(|| inside.display().to_string())?;
    let made = ["fulcrum", "man", "completions"].map(|made| folder.join(made));
    let kept = [
        "packaging/fulcrum.service",
        "packaging/fulcrum.toml",
        "docs/example.toml",
        "docs/configuration.md",
        "docs/operations.md",
        "README.md",
        "CHANGELOG.md",
        "LICENSE-MIT",
        "LICENSE-APACHE",
    ];
    let kept = kept.map(|kept| root.join(kept));
    exec::run(Command::new("cp").arg("-r").args(made).args(kept).arg(&inside))?;
    let archive = folder.join(format!("{name}.tar.gz"));
    exec::run(
        Command::new("tar")
            .args(["--create", "--sort=name", "--owner=0", "--group=0", "--numeric-owner"])
            .args(["--mode=go-w", "--use-compress-program=gzip -9n"])
            .arg(format!("--mtime=@{time}"))
            .arg("--file")
            .arg(&archive)
            .arg("--directory")
            .args([folder, Path::new(&name)]),
    )?;
    Ok(archive)
}

fn tool(root: &Path) -> PathBuf {
    root.join(".tools/bin/cargo-deb")
}

/// Is cargo-deb there, in its version?
pub(crate) fn is_installed(root: &Path) -> bool {
    exec::ask(Command::new(tool(root)).arg("--version")).is_some_and(|text| text.trim().ends_with(VERSION))
}
