//! The part of Cargo.lock that the XDP program resolves to.
//!
//! The whole file would not do: it changes with every dependency of the manager.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, bail};
use toml::{Table, Value};

use super::digest::read_toml;

/// The packages that `package` is built from, as sorted lines of name, version and checksum.
///
/// Members of the workspace count with the dependencies that their manifests name as neither optional nor for tests;
/// packages from a registry count with all that the lock file lists for them, a superset.
pub(crate) fn closure(root: &Path, package: &str) -> Result<Vec<String>> {
    let lock = read_toml(&root.join("Cargo.lock"))?;
    let packages = lock
        .get("package")
        .and_then(Value::as_array)
        .context("Cargo.lock has no packages")?;
    let packages: Vec<&Table> = packages.iter().filter_map(Value::as_table).collect();

    let mut seen = BTreeSet::new();
    let mut waiting = vec![find(&packages, package)?];
    while let Some(at) = waiting.pop() {
        if !seen.insert(at) {
            continue;
        }
        let entry = packages[at];
        let wanted = match entry.get("source") {
            None => Some(direct(root, text(entry, "name"))?),
            Some(_) => None,
        };
        let listed = entry
            .get("dependencies")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        for dependency in listed.filter_map(Value::as_str) {
            let name = dependency.split(' ').next().unwrap_or(dependency);
            if wanted.as_ref().is_none_or(|wanted| wanted.contains(name)) {
                waiting.push(find(&packages, dependency)?);
            }
        }
    }
    let mut lines: Vec<String> = seen
        .into_iter()
        .map(|at| {
            ["name", "version", "checksum"]
                .map(|key| text(packages[at], key))
                .join(" ")
                .trim_end()
                .to_owned()
        })
        .collect();
    lines.sort();
    Ok(lines)
}

/// Names of the packages that a member needs to be built: no optional ones, none that only its tests use.
pub(crate) fn direct(root: &Path, member: &str) -> Result<BTreeSet<String>> {
    let manifest = read_toml(&root.join(member).join("Cargo.toml"))?;
    let sections = ["dependencies", "build-dependencies"].map(|key| manifest.get(key).and_then(Value::as_table));
    let needed = sections
        .into_iter()
        .flatten()
        .flatten()
        .filter(|(_, how)| !flag(how, "optional"));
    Ok(needed
        .map(|(name, how)| how.get("package").and_then(Value::as_str).unwrap_or(name).to_owned())
        .collect())
}

fn flag(how: &Value, key: &str) -> bool {
    how.get(key).and_then(Value::as_bool).unwrap_or(false)
}

/// The package that a dependency line ("name", "name version", "name version (source)") means.
fn find(packages: &[&Table], dependency: &str) -> Result<usize> {
    let mut words = dependency.split(' ');
    let (name, version) = (words.next().unwrap_or_default(), words.next());
    let is_meant = |entry: &&Table| text(entry, "name") == name && version.is_none_or(|v| v == text(entry, "version"));
    match packages.iter().position(is_meant) {
        Some(at) => Ok(at),
        None => bail!("Cargo.lock does not hold {dependency}: run `cargo update --workspace`"),
    }
}

fn text<'a>(entry: &'a Table, key: &str) -> &'a str {
    entry.get(key).and_then(Value::as_str).unwrap_or_default()
}
