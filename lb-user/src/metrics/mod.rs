//! What monitoring reads: every family of `/metrics`, and its text in the format that the reader asked for.
//!
//! Pure: [`encode`] makes the text of one [`Status`]. Nothing is registered or counted here; numbers are counted where
//! things happen (by the program, the prober, the reconciler), and a scrape reads them. The series of a node are bounded
//! by its file, since no label ever holds what a client sends. They come in the order of [`FAMILIES`], and within
//! a family in that of the file.

mod encode;
mod families;

use crate::model::status::Status;

pub use encode::Format;
pub use families::{FAMILIES, Family, Kind};

/// Writes `status` in `format`.
///
/// # Errors
/// Those of whoever is written to.
pub fn encode(status: Status, format: Format, to: &mut impl std::fmt::Write) -> std::fmt::Result {
    encode::encode(status, format, to)
}

#[cfg(test)]
mod tests;
