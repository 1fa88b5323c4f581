//! Builds the objects of lb-ebpf, the same bytes in every folder and for every user.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::tools::Tools;
use super::{OBJECTS, file_name};
use crate::exec;

/// The profile in the workspace's manifest.
pub(crate) const PROFILE: &str = "bpf";

/// Little-endian BPF; big-endian hosts are not supported.
pub(crate) const TARGET: &str = "bpfel-unknown-none";

/// The compiler's flags that are the same everywhere; the path prefixes, which are not, come on top.
pub(crate) fn flags() -> [&'static str; 4] {
    [
        // Atomics that return a value.
        "-Ctarget-cpu=v3",
        // Without it, unaligned reads of headers become byte loads: twice the instructions. rustc warns that it does not
        // know the name, but hands it to LLVM, which does.
        "-Ctarget-feature=+allows-misaligned-mem-access",
        "-Cdebuginfo=2",
        "-Clink-arg=--btf",
    ]
}

/// Builds the objects from the workspace at `root` and writes them to `folder`.
///
/// `target` is a target folder of its own: the caller may run below a cargo that holds the lock of the usual one.
pub(crate) fn objects(root: &Path, target: &Path, tools: &Tools, folder: &Path) -> Result<()> {
    exec::run(&mut cargo_build(root, target, tools)?)?;
    for object in OBJECTS {
        let linked = target.join(TARGET).join(PROFILE).join(object);
        // DWARF is nine tenths of the file; BTF, which the kernel reads, stays.
        exec::run(
            Command::new(&tools.objcopy)
                .arg("--strip-debug")
                .arg(linked)
                .arg(folder.join(file_name(object))),
        )?;
    }
    Ok(())
}

/// `cargo build` for lb-ebpf on its target, with `core` built from source, and nothing of the caller's environment that
/// changes the result.
fn cargo_build(root: &Path, target: &Path, tools: &Tools) -> Result<Command> {
    let mut cargo = Command::new(&tools.cargo);
    for (name, _) in env::vars_os().filter(|(name, _)| leaks(&name.to_string_lossy())) {
        cargo.env_remove(name);
    }
    cargo
        .current_dir(root)
        .args([
            "build",
            "--package",
            "lb-ebpf",
            "--profile",
            PROFILE,
            "--target",
            TARGET,
        ])
        .args(["-Zbuild-std=core", "--locked", "--target-dir"])
        .arg(target)
        .env("RUSTC", &tools.rustc)
        // Lets a stable toolchain build `core`.
        .env("RUSTC_BOOTSTRAP", "1")
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            encoded(flags().map(OsString::from).into_iter().chain(prefixes(root, tools)?)),
        )
        // The target's linker is `bpf-linker` by name; naming its path in a flag would make the path part of the build.
        .env("PATH", first_in_path(tools.linker.parent())?);
    Ok(cargo)
}

/// Whether a variable of the caller's environment would change the build. What names the toolchain, the homes, the
/// network or the terminal stays.
fn leaks(name: &str) -> bool {
    const KEPT: [&str; 5] = [
        "CARGO_HOME",
        "CARGO_HTTP_",
        "CARGO_NET_",
        "CARGO_REGISTR",
        "CARGO_TERM_",
    ];
    const LEAKING: [&str; 5] = ["CARGO", "__CARGO", "RUSTC", "RUSTFLAGS", "RUSTDOC"];
    // What cargo tells a build script.
    const SCRIPT: [&str; 8] = [
        "OUT_DIR",
        "TARGET",
        "HOST",
        "PROFILE",
        "OPT_LEVEL",
        "DEBUG",
        "NUM_JOBS",
        "MAKEFLAGS",
    ];
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    (starts(&LEAKING) && !starts(&KEPT)) || SCRIPT.contains(&name)
}

/// Flags that take this machine's folders out of the object: rustc writes paths into BTF.
fn prefixes(root: &Path, tools: &Tools) -> Result<Vec<OsString>> {
    let cargo_home = match env::var_os("CARGO_HOME") {
        Some(home) => PathBuf::from(home),
        None => env::home_dir()
            .context("neither CARGO_HOME nor HOME is set")?
            .join(".cargo"),
    };
    let mut flags = Vec::new();
    // The last that fits wins, so the checkout stands last: it may be below a home.
    for (from, to) in [(&*cargo_home, "/cargo"), (&*tools.sysroot, "/rust"), (root, "/fulcrum")] {
        for from in [Some(from.to_owned()), from.canonicalize().ok()].into_iter().flatten() {
            let mut flag = OsString::from("--remap-path-prefix=");
            flag.push(from);
            flag.push(format!("={to}"));
            flags.push(flag);
        }
    }
    Ok(flags)
}

/// Flags as cargo takes them without splitting at spaces.
fn encoded(flags: impl Iterator<Item = OsString>) -> OsString {
    flags.collect::<Vec<_>>().join(OsStr::new("\x1f"))
}

/// PATH with a folder in front.
fn first_in_path(folder: Option<&Path>) -> Result<OsString> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = folder.map(Path::to_owned).into_iter().chain(env::split_paths(&path));
    env::join_paths(folders).context("PATH")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changes_the_build_is_kept_out() {
        for name in [
            "RUSTFLAGS",
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_TARGET_DIR",
            "CARGO_PROFILE_BPF_LTO",
            "RUSTC_WRAPPER",
        ] {
            assert!(leaks(name), "{name}");
        }
        for name in [
            "PATH",
            "HOME",
            "CARGO_HOME",
            "RUSTUP_TOOLCHAIN",
            "RUSTUP_HOME",
            "CARGO_NET_OFFLINE",
            "https_proxy",
        ] {
            assert!(!leaks(name), "{name}");
        }
    }
}
