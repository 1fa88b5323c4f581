//! Text and places in it.

use std::fmt;

use super::files::Files;

/// A file's text, and what to call it. `Debug` does not show the text: probes may send secrets.
pub(crate) struct Source {
    pub(crate) origin: String,
    pub(crate) text: String,
    /// What was read besides, since the text names it.
    pub(crate) files: Files,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

impl Source {
    pub(crate) fn new(origin: &str, text: &str) -> Self {
        Self {
            origin: origin.to_owned(),
            text: text.to_owned(),
            files: Files::default(),
        }
    }

    /// Line and column of a byte, both from 1; columns count characters.
    pub(crate) fn place(&self, byte: usize) -> (usize, usize) {
        let before = &self.text[..self.text.floor_char_boundary(byte)];
        let line = before.matches('\n').count() + 1;
        (line, before[self.line_start(byte)..].chars().count() + 1)
    }

    /// Where the line of a byte begins.
    pub(crate) fn line_start(&self, byte: usize) -> usize {
        let before = &self.text[..self.text.floor_char_boundary(byte)];
        before.rfind('\n').map_or(0, |newline| newline + 1)
    }

    /// Where the line of a byte ends, before its line break.
    pub(crate) fn line_end(&self, byte: usize) -> usize {
        let start = self.text.floor_char_boundary(byte);
        let rest = self.text[start..].split('\n').next().unwrap_or("");
        start + rest.strip_suffix('\r').unwrap_or(rest).len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_characters_from_one() {
        let source = Source::new("x", "a\nö = ü\r\n");
        assert_eq!(source.place(0), (1, 1));
        assert_eq!(source.place(2), (2, 1));
        assert_eq!(source.place(7), (2, 5));
        assert_eq!(source.place(8), (2, 5), "inside a character: at its start");
        assert_eq!((source.line_start(7), source.line_end(7)), (2, 9));
        assert_eq!(source.place(100), (3, 1));
    }
}
