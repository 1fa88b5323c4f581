//! What is wrong, before it is known in which file.

use std::ops::Range;

/// Bytes of the file.
pub(super) type Span = Range<usize>;

/// The result of a check.
pub(super) type Checked<T> = Result<T, Box<Fault>>;

/// Something wrong, where, and what to do about it.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    /// `None`: the file as a whole.
    pub(super) span: Option<Span>,
    /// One line that can stand alone.
    pub(super) message: String,
    /// Other place that it contradicts, and what is to be said there.
    pub(super) other: Option<(Span, String)>,
    /// One or more lines.
    pub(super) hint: Option<String>,
}

/// Something wrong at `span`.
pub(super) fn fault(span: Span, message: impl Into<String>) -> Box<Fault> {
    Box::new(Fault {
        span: Some(span),
        message: message.into(),
        other: None,
        hint: None,
    })
}

impl Fault {
    pub(super) fn of_the_file(message: impl Into<String>) -> Box<Self> {
        let mut fault = fault(0..0, message);
        fault.span = None;
        fault
    }

    pub(super) fn hint(mut self: Box<Self>, hint: impl Into<String>) -> Box<Self> {
        self.hint = Some(hint.into());
        self
    }

    pub(super) fn other(mut self: Box<Self>, span: Span, label: impl Into<String>) -> Box<Self> {
        self.other = Some((span, label.into()));
        self
    }
}
