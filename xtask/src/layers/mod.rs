//! `cargo xtask layers`: the modules of lb-user are layers, and this is what holds them apart; and what is
//! [unsafe](unsafety) stands in few files.
//!
//! It reads tokens, not meaning: what a macro of another crate expands to, or a type passed on by a `pub use` of a
//! lower layer, is not followed.

mod scan;
mod unsafety;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::workspace;
use scan::Mention;

/// Top to bottom. A module uses only what stands below its row; siblings on a row never use each other.
const ROWS: [&[&str]; 10] = [
    &["cli"],
    &["lab"],
    &["daemon"],
    &["api"],
    &["proxy", "health", "ha", "peers", "acme"],
    &["control"],
    &["metrics"],
    &["dataplane", "net", "process", "disk"],
    &["plan", "config"],
    &["balance"],
];

/// Below every row: the domain types.
const BOTTOM: &str = "model";

/// Crates that only some modules may name.
struct Confined {
    crates: &'static [&'static str],
    /// Each with its whole path.
    modules: &'static [&'static [&'static str]],
    rule: &'static str,
}

/// All crates that only some modules may name.
const CONFINED: [Confined; 2] = [
    Confined {
        crates: &["aya", "aya_log", "aya_obj"],
        modules: &[&["dataplane", "kernel"]],
        rule: "the kernel is reached only from dataplane/kernel",
    },
    Confined {
        crates: &["anyhow"],
        modules: &[&["cli"], &["daemon"], &["lab"], &["main"]],
        rule: "anyhow is for cli, daemon, lab and main.rs",
    },
];

/// Crates that `model` must do without.
const NOT_IN_MODEL: [&str; 3] = ["tokio", "aya", "serde"];

/// Check that the modules of lb-user use only what stands below them, and that unsafe code stands in the files listed
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Runs the verb.
pub(crate) fn run(_: &Args) -> Result<()> {
    check(&workspace::root())?;
    println!("The layers hold.");
    Ok(())
}

/// Prints every breach, as `file:line: what: rule`; an error when there is one.
pub(crate) fn check(root: &Path) -> Result<()> {
    let of_layers = breaches(&root.join("lb-user/src"))?;
    let mut breaches: Vec<String> = of_layers.iter().map(|breach| format!("lb-user/src/{breach}")).collect();
    breaches.extend(unsafety::breaches(root, &unsafety::FILES)?);
    for breach in &breaches {
        println!("{breach}");
    }
    ensure!(breaches.is_empty(), "{} breaches of the layers", breaches.len());
    Ok(())
}

/// Every breach below a source folder, sorted by file and line.
fn breaches(source: &Path) -> Result<Vec<String>> {
    let mut files = Vec::new();
    find(source, Path::new(""), &mut files)?;
    files.sort();
    let mut breaches = Vec::new();
    for file in files {
        let text = fs::read_to_string(source.join(&file)).with_context(|| file.display().to_string())?;
        let module = module_of(&file);
        let mentions = scan::mentions(&text, &module).with_context(|| file.display().to_string())?;
        let top = module.first().map_or("lib", String::as_str);
        if !matches!(top, "lib" | "main") && row(top).is_none() {
            breaches.push(format!(
                "{}:1: {top} is in no row: give it a place in xtask/src/layers",
                file.display()
            ));
            continue;
        }
        for Mention { line, path, external } in mentions {
            let rule = if external {
                crate_rule(&module, &path)
            } else {
                layer_rule(&module, &path)
            };
            if let Some(rule) = rule {
                let path = path.join("::");
                let path = if external { path } else { format!("crate::{path}") };
                breaches.push(format!("{}:{line}: {top} uses {path}: {rule}", file.display()));
            }
        }
    }
    Ok(breaches)
}

/// Where a module stands, counted from the top.
fn row(module: &str) -> Option<usize> {
    if module == BOTTOM {
        return Some(ROWS.len());
    }
    ROWS.iter().position(|row| row.contains(&module))
}

/// The rule that a path within the crate breaks.
fn layer_rule(module: &[String], path: &[String]) -> Option<String> {
    let (Some(user), Some(used)) = (module.first(), path.first()) else {
        return None;
    };
    if user == used || matches!(user.as_str(), "lib" | "main") {
        return None;
    }
    let Some((above, below)) = row(user).zip(row(used)) else {
        return Some(format!("{used} is in no row"));
    };
    match above.cmp(&below) {
        std::cmp::Ordering::Less => None,
        std::cmp::Ordering::Equal => Some("siblings on a row never use each other".to_owned()),
        std::cmp::Ordering::Greater => Some(format!("{used} stands above {user}")),
    }
}

/// The rule that a path into another crate breaks.
fn crate_rule(module: &[String], path: &[String]) -> Option<String> {
    let name = path.first()?.as_str();
    let top = module.first().map(String::as_str);
    if top == Some(BOTTOM) && NOT_IN_MODEL.contains(&name) {
        return Some(format!("{BOTTOM} does without {}", NOT_IN_MODEL.join(", ")));
    }
    if top == Some("main") && name == "lb_user" && path.get(1).is_none_or(|part| part != "cli") {
        return Some("main.rs calls cli::main and nothing else".to_owned());
    }
    let is_in = |place: &&[&str]| place.len() <= module.len() && place.iter().zip(module).all(|(a, b)| a == b);
    let confined = CONFINED.iter().find(|confined| confined.crates.contains(&name))?;
    (!confined.modules.iter().any(is_in)).then(|| confined.rule.to_owned())
}

/// The module that a file holds: `a/mod.rs` is `a`, `a/b.rs` is `a::b`, lib.rs is the root.
fn module_of(file: &Path) -> Vec<String> {
    let without = file.with_extension("");
    let mut module: Vec<String> = without.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if module.last().is_some_and(|name| name == "mod") || module == ["lib"] {
        module.pop();
    }
    module
}

/// All Rust files below a folder, relative to it.
fn find(source: &Path, folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(source.join(folder)).with_context(|| source.join(folder).display().to_string())?;
    for entry in entries {
        let entry = entry?;
        let path = folder.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            find(source, &path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
