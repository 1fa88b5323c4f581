//! Hands the XDP program's object to the manager, which embeds it: `FULCRUM_BPF_OBJECT` is its path.
//!
//! The committed object serves as long as it belongs to the sources, so that a stable toolchain and a C compiler are
//! enough. When the sources have moved on it is built anew, which takes what `cargo xtask setup` names.

#[path = "../xtask/src/bpf/mod.rs"]
mod bpf;
#[allow(dead_code, reason = "shared with xtask, which uses all of it")]
#[path = "../xtask/src/exec.rs"]
mod exec;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use bpf::tools::Tools;

fn main() -> Result<()> {
    if let Some(path) = object()? {
        println!("cargo::rustc-env=FULCRUM_BPF_OBJECT={}", path.display());
    }
    Ok(())
}

/// The object that belongs to the sources: the committed one, or one built below `OUT_DIR`. `None` after telling cargo
/// what is missing: cargo then fails with that line alone, where an error from here drags this script's output along.
fn object() -> Result<Option<PathBuf>> {
    let manifest_dir = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").context("CARGO_MANIFEST_DIR")?);
    let root = manifest_dir.parent().context("lb-user stands in a workspace")?;
    for input in bpf::digest::INPUTS
        .into_iter()
        .chain(["xtask/src/bpf", "xtask/src/exec.rs", "lb-user/build.rs"])
    {
        println!("cargo::rerun-if-changed={}", root.join(input).display());
    }
    let sources = bpf::digest::of(root)?;
    if let Some(committed) = bpf::committed_for(root, bpf::BALANCER, &sources)? {
        return Ok(Some(committed));
    }
    match Tools::find(root) {
        Ok(tools) => build(root, &tools, &sources).map(Some),
        Err(missing) => {
            println!(
                "cargo::error=lb-ebpf/object does not belong to the sources of the XDP program, and building it anew \
                 lacks {missing}: run `cargo xtask setup --yes --for ebpf`, then `cargo xtask ebpf`"
            );
            Ok(None)
        }
    }
}

/// Builds the object, unless an earlier run did from the same sources.
fn build(root: &Path, tools: &Tools, sources: &str) -> Result<PathBuf> {
    let out = PathBuf::from(env::var_os("OUT_DIR").context("OUT_DIR")?);
    let (object, stamp) = (out.join(bpf::file_name(bpf::BALANCER)), out.join("fulcrum.bpf.digest"));
    if !fs::read_to_string(&stamp).is_ok_and(|of| of == sources) {
        bpf::build::objects(root, &out.join("bpf"), tools, &out)
            .context("building the XDP program, since lb-ebpf/object does not belong to its sources")?;
        fs::write(&stamp, sources)?;
    }
    println!(
        "cargo::warning=embedding an XDP program built here, since lb-ebpf/object does not belong to its sources: \
         `cargo xtask ebpf` brings it up to date"
    );
    Ok(object)
}
