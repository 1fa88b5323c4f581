//! The XDP program's object: what it is built from, how it is built, and the copy of it that is committed; and beside it
//! that of the bench's programs, which comes from the same package.
//!
//! An object depends on its sources, the flags here, rustc, bpf-linker and LLVM, and on nothing else: neither the
//! folder nor the user's environment changes a byte. A digest of the sources stands beside the committed object, so
//! that whoever has no LLVM builds with the committed one as long as it belongs to the sources.
//!
//! This folder and `exec.rs` are compiled twice: into xtask, and by `#[path]` into lb-user's build script. So they use
//! nothing else of xtask.

// Each of the two uses a part of it.
#![allow(dead_code)]

pub(crate) mod build;
pub(crate) mod digest;
pub(crate) mod lock;
pub(crate) mod tools;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest as _, Sha256};

/// The folder of the committed objects and their digest.
pub(crate) const FOLDER: &str = "lb-ebpf/object";

/// The binaries of lb-ebpf, each of which becomes an object: the balancer, which the manager embeds, and what
/// `cargo xtask bench` measures it with.
pub(crate) const OBJECTS: [&str; 2] = [BALANCER, "bench"];

/// The balancer's.
pub(crate) const BALANCER: &str = "fulcrum";

/// The file name of one of [`OBJECTS`].
pub(crate) fn file_name(object: &str) -> String {
    format!("{object}.bpf.o")
}

/// One of the committed [`OBJECTS`].
pub(crate) fn object_path(root: &Path, object: &str) -> PathBuf {
    root.join(FOLDER).join(file_name(object))
}

/// The note beside the committed objects.
pub(crate) fn note_path(root: &Path) -> PathBuf {
    root.join(FOLDER).join("digest")
}

/// What is written beside the committed objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    /// SHA-256 of everything that the objects are built from, see [`digest::of`].
    pub(crate) sources: String,
    /// SHA-256 of each of [`OBJECTS`]: tells a merge that took one file from each side.
    pub(crate) objects: [String; OBJECTS.len()],
    /// `rustc -V` of the compiler that built them.
    pub(crate) rustc: String,
    /// `bpf-linker --version` of the linker that built them.
    pub(crate) linker: String,
}

impl Note {
    /// The note of the committed objects; `None` when there is none, or none that can be read.
    pub(crate) fn committed(root: &Path) -> Option<Self> {
        Self::parse(&fs::read_to_string(note_path(root)).ok()?)
    }

    /// Reads the lines that [`Self::text`] writes.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let value = |key: &str| {
            let lines = text.lines().filter(|line| !line.starts_with('#'));
            lines
                .filter_map(|line| line.split_once(": "))
                .find(|(k, _)| *k == key)
                .map(|(_, v)| v.trim().to_owned())
        };
        let mut objects = [const { String::new() }; OBJECTS.len()];
        for (digest, name) in objects.iter_mut().zip(OBJECTS) {
            *digest = value(&file_name(name))?;
        }
        Some(Self {
            sources: value("sources")?,
            objects,
            rustc: value("rustc")?,
            linker: value("linker")?,
        })
    }

    /// The note as text.
    pub(crate) fn text(&self) -> String {
        let Self {
            sources,
            objects,
            rustc,
            linker,
        } = self;
        let lines = OBJECTS.iter().zip(objects);
        let objects: String = lines
            .map(|(name, digest)| format!("{}: {digest}\n", file_name(name)))
            .collect();
        format!(
            "# What these objects were built from, written by `cargo xtask ebpf`. The first three lines are compared;\n\
             # the others say which tools built them, because the bytes depend on them too.\n\
             sources: {sources}\n{objects}rustc: {rustc}\nlinker: {linker}\n"
        )
    }
}

/// One of the committed [`OBJECTS`], when it belongs to sources with this digest and is whole.
pub(crate) fn committed_for(root: &Path, object: &str, sources: &str) -> Result<Option<PathBuf>> {
    let path = object_path(root, object);
    match Note::committed(root) {
        Some(note) if note.sources == sources && path.is_file() => {
            let digest = file_digest(&path)?;
            let is_noted = OBJECTS
                .iter()
                .zip(&note.objects)
                .any(|(name, of)| *name == object && *of == digest);
            Ok(is_noted.then_some(path))
        }
        _ => Ok(None),
    }
}

/// SHA-256 of a file, in hexadecimal.
pub(crate) fn file_digest(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| path.display().to_string())?;
    Ok(hex(&Sha256::digest(bytes)))
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_reads_what_it_writes() {
        let note = Note {
            sources: "ab".into(),
            objects: ["cd".into(), "ef".into()],
            rustc: "rustc 1.95.0 (5980 2026-04-14)".into(),
            linker: "bpf-linker 0.13.0".into(),
        };
        assert_eq!(Note::parse(&note.text()), Some(note.clone()));
        assert_eq!(Note::parse("<<<<<<< ours\nsources: ab\n"), None);
        let old = note.text().replace("bench.bpf.o: ef\n", "");
        assert_eq!(Note::parse(&old), None, "an object is missing");
    }
}
