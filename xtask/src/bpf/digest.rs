//! The digest of everything in this repository that the objects of lb-ebpf are built from.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest as _, Sha256};
use toml::{Table, Value};

use super::{build, hex, lock};

/// The two packages that the objects are built from.
const PACKAGES: [&str; 2] = ["lb-ebpf", "lb-common"];

/// Files and folders, relative to the root, on which the digest depends; for `cargo:rerun-if-changed`.
pub(crate) const INPUTS: [&str; 5] = [
    "lb-ebpf",
    "lb-common/Cargo.toml",
    "lb-common/src",
    "Cargo.toml",
    "Cargo.lock",
];

/// SHA-256 in hexadecimal of sources, settings, flags and locked versions, independent of where the checkout stands.
pub(crate) fn of(root: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    let mut add = |name: &str, content: &[u8]| {
        for part in [name.as_bytes(), content] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    };
    for file in files(root)? {
        let content = fs::read(root.join(&file)).with_context(|| file.display().to_string())?;
        add(&file.to_string_lossy(), &content);
    }
    add("settings", settings(root)?.as_bytes());
    add("flags", build::flags().join("\n").as_bytes());
    add("lock", lock::closure(root, PACKAGES[0])?.join("\n").as_bytes());
    Ok(hex(&hash.finalize()))
}

/// The source files, relative to the root, sorted: those of lb-ebpf, and those of lb-common without its tests.
fn files(root: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut files = BTreeSet::from([PathBuf::from("lb-common/Cargo.toml")]);
    let mut folders = vec![PathBuf::from("lb-ebpf"), PathBuf::from("lb-common/src")];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(root.join(&folder)).with_context(|| folder.display().to_string())?;
        for entry in entries {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                if path != Path::new("lb-ebpf/target") {
                    folders.push(path);
                }
            } else if is_source(&entry.file_name()) {
                files.insert(path);
            }
        }
    }
    Ok(files)
}

/// Whether a file of this name can be a source: sources of Rust and manifests are. What editors leave beside them while
/// somebody works (`.#main.rs`, a symbolic link to nowhere; `.main.rs.swp`, `main.rs~`) is not.
pub(crate) fn is_source(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name == "Cargo.toml" || (name.ends_with(".rs") && !name.starts_with('.'))
}

/// What the workspace's manifest says about the two packages: edition, profile, how their dependencies are asked for.
fn settings(root: &Path) -> Result<String> {
    let manifest = read_toml(&root.join("Cargo.toml"))?;
    let mut settings = Table::new();
    let mut take = |path: &[&str]| {
        let mut steps = path.iter();
        let first = steps.next().and_then(|key| manifest.get(*key));
        if let Some(value) = steps.try_fold(first, |value, key| value.map(|v| v.get(*key))).flatten() {
            settings.insert(path.join("."), value.clone());
        }
    };
    take(&["workspace", "resolver"]);
    take(&["workspace", "package", "edition"]);
    take(&["patch"]);
    // The profile and those it inherits from.
    let mut profile = Some(build::PROFILE);
    while let Some(name) = profile {
        take(&["profile", name]);
        profile = manifest
            .get("profile")
            .and_then(|p| p.get(name)?.get("inherits")?.as_str());
    }
    for package in PACKAGES {
        for dependency in lock::direct(root, package)? {
            take(&["workspace", "dependencies", &dependency]);
        }
    }
    Ok(canonical(&Value::Table(settings)))
}

/// Reads a TOML file.
pub(crate) fn read_toml(path: &Path) -> Result<Table> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    text.parse().with_context(|| path.display().to_string())
}

/// A value as text, keys sorted. The toml crate's own rendering depends on a feature that another package may switch on.
fn canonical(value: &Value) -> String {
    match value {
        Value::Table(table) => {
            let keys: BTreeSet<&String> = table.keys().collect();
            let fields: Vec<String> = keys
                .into_iter()
                .map(|k| format!("{k}={}", canonical(&table[k])))
                .collect();
            format!("{{{}}}", fields.join(","))
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(canonical).collect();
            format!("[{}]", items.join(","))
        }
        Value::String(text) => format!("{text:?}"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
