//! The XDP program's object: what it is built from, how it is built, and the copy of it that is committed.
//!
//! The object depends on its sources, the flags here, rustc, bpf-linker and LLVM, and on nothing else: neither the
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

/// The folder of the committed object and its digest.
pub(crate) const FOLDER: &str = "lb-ebpf/object";

/// The committed object.
pub(crate) fn object_path(root: &Path) -> PathBuf {
    root.join(FOLDER).join("fulcrum.bpf.o")
}

/// The note beside the committed object.
pub(crate) fn note_path(root: &Path) -> PathBuf {
    root.join(FOLDER).join("digest")
}

/// What is written beside the committed object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    /// SHA-256 of everything that the object is built from, see [`digest::of`].
    pub(crate) sources: String,
    /// SHA-256 of the object: tells a merge that took one file from each side.
    pub(crate) object: String,
    /// `rustc -V` of the compiler that built it.
    pub(crate) rustc: String,
    /// `bpf-linker --version` of the linker that built it.
    pub(crate) linker: String,
}

impl Note {
    /// The note of the committed object; `None` when there is none, or none that can be read.
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
        Some(Self {
            sources: value("sources")?,
            object: value("object")?,
            rustc: value("rustc")?,
            linker: value("linker")?,
        })
    }

    /// The note as text.
    pub(crate) fn text(&self) -> String {
        let Self {
            sources,
            object,
            rustc,
            linker,
        } = self;
        format!(
            "# What fulcrum.bpf.o was built from, written by `cargo xtask ebpf`. The first two lines are compared;\n\
             # the others say which tools built it, because the bytes depend on them too.\n\
             sources: {sources}\nobject: {object}\nrustc: {rustc}\nlinker: {linker}\n"
        )
    }
}

/// The committed object, when it belongs to sources with this digest and is whole.
pub(crate) fn committed_for(root: &Path, sources: &str) -> Result<Option<PathBuf>> {
    let path = object_path(root);
    match Note::committed(root) {
        Some(note) if note.sources == sources && path.is_file() => {
            Ok((file_digest(&path)? == note.object).then_some(path))
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
            object: "cd".into(),
            rustc: "rustc 1.95.0 (5980 2026-04-14)".into(),
            linker: "bpf-linker 0.13.0".into(),
        };
        assert_eq!(Note::parse(&note.text()), Some(note.clone()));
        assert_eq!(Note::parse("<<<<<<< ours\nsources: ab\n"), None);
    }
}
