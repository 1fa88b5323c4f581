//! What is wrong, before it is known in which file.

use std::ops::Range;

/// Bytes of the file.
pub(crate) type Span = Range<usize>;

/// The result of a check.
pub(crate) type Checked<T> = Result<T, Box<Fault>>;

/// Something wrong, where, and what to do about it.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    /// `None`: the file as a whole.
    pub(crate) span: Option<Span>,
    /// One line that can stand alone.
    pub(crate) message: String,
    /// Other place that it contradicts, and what is to be said there.
    pub(crate) other: Option<(Span, String)>,
    /// One or more lines.
    pub(crate) hint: Option<String>,
}

/// Something wrong at `span`.
pub(crate) fn fault(span: Span, message: impl Into<String>) -> Box<Fault> {
    Box::new(Fault {
        span: Some(span),
        message: message.into(),
        other: None,
        hint: None,
    })
}

impl Fault {
    pub(crate) fn of_the_file(message: impl Into<String>) -> Box<Self> {
        let mut fault = fault(0..0, message);
        fault.span = None;
        fault
    }

    pub(crate) fn hint(mut self: Box<Self>, hint: impl Into<String>) -> Box<Self> {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn other(mut self: Box<Self>, span: Span, label: impl Into<String>) -> Box<Self> {
        self.other = Some((span, label.into()));
        self
    }
}
