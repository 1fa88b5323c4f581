//! Errors and warnings for people: file, line, column, the offending text underlined, a hint.

use std::fmt;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use super::fault::{Fault, Span};
use super::files::Files;
use super::source::Source;

/// Longest underlining, in bytes: of longer values only the beginning is marked.
const MAX_MARK: usize = 80;

/// How much of a line is looked at behind the start of a mark, in bytes: more than a terminal shows.
const MAX_REST: usize = 1_000;

macro_rules! report {
    ($(#[$doc:meta])* $name:ident, $level:expr) => {
        $(#[$doc])*
        ///
        /// `Display` is the full text without colour, over several lines; [`Self::message`] is one line.
        #[derive(Clone, Debug)]
        pub struct $name {
            source: Arc<Source>,
            fault: Box<Fault>,
        }

        impl $name {
            pub(crate) fn new(source: Arc<Source>, fault: Box<Fault>) -> Self {
                Self { source, fault }
            }

            /// What the file is called.
            #[must_use]
            pub fn origin(&self) -> &str {
                &self.source.origin
            }

            /// The other files that were read for it.
            #[must_use]
            pub fn files(&self) -> &Files {
                &self.source.files
            }

            /// Line, from 1; `None` when it is about the file as a whole.
            #[must_use]
            pub fn line(&self) -> Option<usize> {
                self.place().map(|(line, _)| line)
            }

            /// Column, from 1, in characters.
            #[must_use]
            pub fn column(&self) -> Option<usize> {
                self.place().map(|(_, column)| column)
            }

            fn place(&self) -> Option<(usize, usize)> {
                self.fault.span.as_ref().map(|span| self.source.place(span.start))
            }

            /// What is wrong, in one line without its place.
            #[must_use]
            pub fn message(&self) -> &str {
                &self.fault.message
            }

            /// What to do about it.
            #[must_use]
            pub fn hint(&self) -> Option<&str> {
                self.fault.hint.as_deref()
            }

            /// The full text, with terminal colours on demand.
            #[must_use]
            pub fn render(&self, color: bool) -> String {
                render($level, &self.source, &self.fault, color)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.render(false))
            }
        }
    };
}

report! {
    /// Why a configuration was refused.
    ConfigError, Level::ERROR
}

impl std::error::Error for ConfigError {}

report! {
    /// Something in a configuration that is allowed, but probably not meant.
    Warning, Level::WARNING
}

fn render(level: Level<'_>, source: &Source, fault: &Fault, color: bool) -> String {
    let mut group = Group::with_title(level.primary_title(fault.message.as_str()));
    group = match &fault.span {
        Some(span) => group.element(snippet(source, fault, span)),
        None => group.element(Origin::path(source.origin.as_str())),
    };
    if let Some(hint) = &fault.hint {
        group = group.element(Level::HELP.message(hint.as_str()));
    }
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    // The renderer pads multi-line messages with blanks, also on lines that are empty.
    let text = renderer.render(&[group]);
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// The lines from the first to the last marked one; the renderer folds what lies between, and cuts long lines.
fn snippet<'a>(source: &'a Source, fault: &'a Fault, span: &Span) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
    let other = fault.other.as_ref().map_or(span, |(other, _)| other);
    let first = span.start.min(other.start);
    let start = source.line_start(first);
    let last = span.start.max(other.start);
    let end = source
        .line_end(last)
        .min(source.text.floor_char_boundary(last + MAX_REST));
    let mark = |kind: AnnotationKind, span: &Span| {
        let limit = source.line_end(span.start).min(span.start + MAX_MARK);
        let end = source.text.floor_char_boundary(span.end.min(limit));
        kind.span(span.start - start..end.max(span.start) - start)
    };
    let mut snippet = Snippet::source(&source.text[start..end])
        .path(source.origin.as_str())
        .line_start(source.place(first).0)
        .annotation(mark(AnnotationKind::Primary, span));
    if let Some((other, label)) = &fault.other {
        snippet = snippet.annotation(mark(AnnotationKind::Context, other).label(label.as_str()));
    }
    snippet
}
