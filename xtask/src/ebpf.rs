//! `cargo xtask ebpf`: rebuilds the committed objects, or checks that they are what the sources give.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::bpf::tools::{LINKER_VERSION, Tools};
use crate::bpf::{self, FOLDER, Note, OBJECTS, build, digest, file_name};
use crate::workspace;

/// Build the XDP programs into lb-ebpf/object, the same bytes in every folder
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Build in another folder and compare with what is committed, changing nothing
    #[arg(long)]
    check: bool,
}

/// Runs the verb.
pub(crate) fn run(args: &Args) -> Result<()> {
    let root = workspace::root();
    let tools = Tools::find(&root).map_err(|missing| {
        missing.context("`cargo xtask setup --yes --for ebpf` gets what building the XDP program lacks here")
    })?;
    if args.check {
        check(&root, &tools)
    } else {
        rebuild(&root, &tools)
    }
}

fn rebuild(root: &Path, tools: &Tools) -> Result<()> {
    let sources = digest::of(root)?;
    let folder = root.join(FOLDER);
    fs::create_dir_all(&folder).context(FOLDER)?;
    let before = OBJECTS.map(|object| fs::read(bpf::object_path(root, object)).ok());
    build::objects(root, &root.join("target/bpf"), tools, &folder)?;
    fs::write(bpf::note_path(root), note(sources, &folder, tools)?.text())?;
    for (object, before) in OBJECTS.iter().zip(before) {
        let after = fs::read(bpf::object_path(root, object))?;
        let change = if before.as_ref() == Some(&after) {
            "unchanged"
        } else {
            "changed: commit it"
        };
        println!("{FOLDER}/{}: {} bytes, {change}", file_name(object), after.len());
    }
    Ok(())
}

fn check(root: &Path, tools: &Tools) -> Result<()> {
    let sources = digest::of(root)?;
    let elsewhere = tempfile::Builder::new().prefix("fulcrum-ebpf-").tempdir()?;
    copy_workspace(root, elsewhere.path())?;
    build::objects(
        elsewhere.path(),
        &elsewhere.path().join("target"),
        tools,
        elsewhere.path(),
    )?;
    let built = note(sources, elsewhere.path(), tools)?;
    let committed = Note::committed(root);
    let on_disk = OBJECTS.map(|object| bpf::file_digest(&bpf::object_path(root, object)).unwrap_or_default());
    if let Some(difference) = difference(committed.as_ref(), &on_disk, &built) {
        bail!("{difference}");
    }
    for (object, digest) in OBJECTS.iter().zip(&built.objects) {
        println!(
            "{FOLDER}/{} is what the sources give: sha256 {digest}",
            file_name(object)
        );
    }
    Ok(())
}

/// What is wrong with the committed objects, and the remedy; `None` when they are what was just built. `on_disk` are the
/// digests of the files, empty for one that cannot be read.
fn difference(committed: Option<&Note>, on_disk: &[String; OBJECTS.len()], built: &Note) -> Option<String> {
    const REMEDY: &str = "run `cargo xtask ebpf` and commit lb-ebpf/object";
    let Some(committed) = committed else {
        return Some(format!("lb-ebpf/object/digest is missing or damaged: {REMEDY}"));
    };
    if committed.sources != built.sources {
        return Some(format!(
            "the committed XDP objects are older than their sources: {REMEDY}"
        ));
    }
    if *on_disk == built.objects && committed.objects == built.objects {
        return None;
    }
    let noted = OBJECTS.iter().zip(on_disk.iter().zip(&committed.objects));
    if let Some((object, _)) = noted.into_iter().find(|(_, (file, noted))| file != noted) {
        return Some(format!(
            "{FOLDER}/{} is not the file that its digest was written for: {REMEDY}",
            file_name(object)
        ));
    }
    let tools = |note: &Note| format!("{} and {}", note.rustc, note.linker);
    if tools(committed) != tools(built) {
        let version = committed.rustc.split(' ').nth(1).unwrap_or("1.95.0");
        return Some(format!(
            "the bytes differ, but so do the tools: committed with {}, built here with {}; \
             compare with `cargo +{version} xtask ebpf --check`, or move on to these tools: {REMEDY}",
            tools(committed),
            tools(built)
        ));
    }
    Some(format!(
        "the sources and the tools are those of the committed XDP objects, but their bytes are not: {REMEDY}"
    ))
}

/// The note for the objects in `folder`.
fn note(sources: String, folder: &Path, tools: &Tools) -> Result<Note> {
    let mut objects = [const { String::new() }; OBJECTS.len()];
    for (digest, object) in objects.iter_mut().zip(OBJECTS) {
        *digest = bpf::file_digest(&folder.join(file_name(object)))?;
    }
    Ok(Note {
        sources,
        objects,
        rustc: tools.rustc_version.clone(),
        linker: format!("bpf-linker {LINKER_VERSION}"),
    })
}

/// Copies what cargo needs to build lb-ebpf: the two manifests at the root and every member, for cargo reads them all.
fn copy_workspace(from: &Path, to: &Path) -> Result<()> {
    let manifest = digest::read_toml(&from.join("Cargo.toml"))?;
    let members = manifest
        .get("workspace")
        .and_then(|workspace| workspace.get("members")?.as_array());
    let members = members
        .context("Cargo.toml names no members")?
        .iter()
        .filter_map(|member| member.as_str());
    for name in ["Cargo.toml", "Cargo.lock"].into_iter().chain(members) {
        copy(from, to, Path::new(name))?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path, path: &Path) -> Result<()> {
    if !from.join(path).is_dir() {
        fs::copy(from.join(path), to.join(path)).with_context(|| path.display().to_string())?;
        return Ok(());
    }
    fs::create_dir_all(to.join(path))?;
    for entry in fs::read_dir(from.join(path))? {
        let entry = entry?;
        let name = entry.file_name();
        // What is no source for the digest is none for the build either, so that one cannot pass without the other.
        if name != "target" && (entry.file_type()?.is_dir() || digest::is_source(&name)) {
            copy(from, to, &path.join(name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digests(fulcrum: &str, bench: &str) -> [String; OBJECTS.len()] {
        [fulcrum.into(), bench.into()]
    }

    fn note(sources: &str, bench: &str, rustc: &str) -> Note {
        Note {
            sources: sources.into(),
            objects: digests("o", bench),
            rustc: rustc.into(),
            linker: "bpf-linker 0.13.0".into(),
        }
    }

    #[test]
    fn only_sources_are_copied() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let write = |file: &str, text: &str| {
            let path = from.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("Cargo.toml", "[workspace]\nmembers = [\"one\"]\n");
        write("Cargo.lock", "");
        for file in [
            "Cargo.toml",
            "src/main.rs",
            "src/.main.rs.swp",
            "src/main.rs~",
            "target/x.rs",
            "object/x.o",
        ] {
            write(&format!("one/{file}"), "");
        }
        std::os::unix::fs::symlink("nowhere", from.path().join("one/src/.#main.rs")).unwrap();
        copy_workspace(from.path(), to.path()).unwrap();
        let copied = |folder: &str| {
            let entries = fs::read_dir(to.path().join(folder)).unwrap();
            let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(copied(""), ["Cargo.lock", "Cargo.toml", "one"]);
        assert_eq!(copied("one"), ["Cargo.toml", "object", "src"]);
        assert_eq!(copied("one/src"), ["main.rs"]);
    }

    #[test]
    fn every_difference_has_its_own_message() {
        let built = note("s", "b", "rustc 1.95.0 (x)");
        let same = digests("o", "b");
        let message = |committed: &Note, on_disk: &_| difference(Some(committed), on_disk, &built).unwrap_or_default();
        assert_eq!(message(&built, &same), "");
        assert_eq!(
            difference(Some(&note("s", "b", "rustc 1.96.0 (y)")), &same, &built),
            None,
            "same bytes are fine"
        );
        let missing = difference(None, &digests("", ""), &built).unwrap();
        assert!(missing.contains("missing or damaged"));
        assert!(message(&note("t", "b", "rustc 1.95.0 (x)"), &same).contains("older than their sources"));
        assert!(message(&built, &digests("p", "b")).contains("fulcrum.bpf.o is not the file"));
        assert!(message(&built, &digests("o", "")).contains("bench.bpf.o is not the file"));
        let other = digests("o", "p");
        assert!(message(&note("s", "p", "rustc 1.94.0 (w)"), &other).contains("`cargo +1.94.0 xtask ebpf --check`"));
        assert!(message(&note("s", "p", "rustc 1.95.0 (x)"), &other).contains("but their bytes are not"));
    }
}
