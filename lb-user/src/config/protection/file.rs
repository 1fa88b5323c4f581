//! Files of prefixes: one prefix or address in a line, `#` and `;` begin remarks. Each is read once for a configuration, however
//! often it is named there.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::fault::{Checked, Fault, Span, fault};
use super::super::files::Files;
use super::{Unfit, source};
use crate::model::Prefix;

/// Largest file that is read, in bytes: room for a million lines with remarks.
const MAX_BYTES: u64 = 64 << 20;

const FORM: &str = "write one prefix or address in a line; `#` and `;` begin remarks";

/// Where files are.
#[derive(Clone, Copy, Debug, Default)]
pub(in super::super) enum Place {
    /// Nowhere: whichever is named is empty.
    #[default]
    Nowhere,
    /// On this machine.
    Here {
        /// Errors quote what is in there. Not for a text that came over the network: whoever has sent it may not be one who
        /// may read every file that the daemon may.
        quoted: bool,
    },
}

/// The files that a configuration names.
#[derive(Debug, Default)]
pub(in super::super) struct Shelf {
    pub(in super::super) place: Place,
    /// Those that were read, or could not be.
    pub(in super::super) files: Files,
    read: HashMap<PathBuf, Arc<List>>,
}

/// What is in a file.
#[derive(Debug)]
pub(super) struct List {
    path: PathBuf,
    text: String,
    /// Sorted, each once, no bits behind the length.
    pub(super) prefixes: Arc<[Prefix]>,
}

impl Shelf {
    /// The file at `path`, which the configuration names at `span`.
    pub(super) fn list(&mut self, span: &Span, path: &Path) -> Checked<Arc<List>> {
        if let Some(known) = self.read.get(path) {
            return Ok(Arc::clone(known));
        }
        let (text, quoted) = match self.place {
            Place::Nowhere => (String::new(), true),
            Place::Here { quoted } => {
                // Before it is read: what changes meanwhile has changed.
                self.files.note(path);
                (text(span, path)?, quoted)
            }
        };
        let prefixes = prefixes(&text).map_err(|(line, unfit)| wrong(span, path, line, &unfit, quoted))?;
        let list = Arc::new(List {
            path: path.to_owned(),
            text,
            prefixes: prefixes.into(),
        });
        self.read.insert(path.to_owned(), Arc::clone(&list));
        Ok(list)
    }
}

impl List {
    /// Path and line of a prefix that is in there.
    pub(super) fn place_of(&self, wanted: Prefix) -> String {
        let is_it = |line: &str| entry(line).is_some_and(|text| source(text).is_ok_and(|prefix| prefix == wanted));
        let line = lines(&self.text).position(is_it).map_or(0, |index| index + 1);
        format!("{}:{line}", self.path.display())
    }
}

fn text(span: &Span, path: &Path) -> Checked<String> {
    let shown = path.display();
    let unreadable = |reason: &str, hint: &str| fault(span.clone(), format!("{shown}: {reason}")).hint(hint);
    let bytes = read(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => unreadable("there is no such file", "it may be empty, but it has to be there"),
        io::ErrorKind::PermissionDenied => unreadable("permission denied", "let the daemon's user read it"),
        _ => unreadable(&error.to_string(), "name a file of prefixes"),
    })?;
    if bytes.len() as u64 > MAX_BYTES {
        let reason = format!("it is larger than {} MiB", MAX_BYTES >> 20);
        return Err(unreadable(&reason, "is this the right file? if so, split it"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let message = format!("{shown}:{line}: this is not UTF-8 text");
        fault(span.clone(), message).hint("is this the right file? if so, save it as UTF-8")
    })
}

/// One byte more than allowed, if there are as many. What is no file is not waited for.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let found = fs::metadata(path)?;
    if found.is_dir() {
        return Err(io::Error::other("it is a directory"));
    }
    if !found.is_file() {
        return Err(io::Error::other("it is not a file with a text in it"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn wrong(span: &Span, path: &Path, line: usize, unfit: &Unfit, quoted: bool) -> Box<Fault> {
    let place = format!("{}:{line}", path.display());
    if quoted {
        let hint = format!("{}; {FORM}", unfit.hint);
        return fault(span.clone(), format!("{place}: {}", unfit.message)).hint(hint);
    }
    fault(span.clone(), format!("{place}: this line is not a prefix")).hint(FORM)
}

/// Sorted, each once; or the first line that is none, from 1.
fn prefixes(text: &str) -> Result<Vec<Prefix>, (usize, Unfit)> {
    let mut prefixes = Vec::new();
    for (index, line) in lines(text).enumerate() {
        if let Some(entry) = entry(line) {
            prefixes.push(source(entry).map_err(|unfit| (index + 1, unfit))?);
        }
    }
    // Most files are sorted, at least by parts, which this kind of sort makes use of.
    prefixes.sort();
    prefixes.dedup();
    Ok(prefixes)
}

/// Lines end as on any system; some editors begin a text with a mark.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.strip_prefix('\u{feff}').unwrap_or(text).lines()
}

/// What a line says, without remarks.
fn entry(line: &str) -> Option<&str> {
    let remark = line.bytes().position(|byte| matches!(byte, b'#' | b';'));
    let end = remark.unwrap_or(line.len());
    Some(line[..end].trim()).filter(|entry| !entry.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<String> {
        prefixes(text).unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_line_says_one_prefix_or_nothing() {
        let text = "\u{feff}; Spamhaus DROP\r\n1.10.16.0/20 ; SBL256894\r\n\r\n\t192.0.2.7\t# one\n#\n2001:db8::/32#x\n  \n10.9.8.7/8";
        assert_eq!(
            read(text),
            ["1.10.16.0/20", "10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32"]
        );
        assert_eq!(read(""), [""; 0]);
        assert_eq!(read("#\n"), [""; 0]);
    }

    #[test]
    fn lists_are_sorted_and_have_each_prefix_once() {
        let text = "::/0\n10.0.0.1/8\n10.0.0.0/16\n10.0.0.0/8\n0.0.0.0/0\n10.255.0.0/8";
        assert_eq!(read(text), ["0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/16", "::/0"]);
    }

    #[test]
    fn the_first_bad_line_is_named() {
        for (text, line) in [
            ("10.0.0.0/8\nx\ny", 2),
            ("all", 1),
            ("\n\n10.0.0.0/8 10.1.0.0/16", 3),
            ("::ffff:10.0.0.1", 1),
            ("10.0.0.0/8\r10.0.0.0/9", 1),
        ] {
            assert_eq!(prefixes(text).unwrap_err().0, line, "{text}");
        }
    }
}
