//! How a comparison is shown: tables for a terminal, JSON, and one page of HTML that needs nothing else.
//!
//! All three say what was observed, and nothing that was not. [`stats`] decides what counts as a difference,
//! [`figures`] lists what was measured, [`matrix`] and [`events`] tell what was seen, [`reading`] puts a chart into one
//! sentence. `docs/labs.md` explains all of it to those who read the result.

mod caveats;
mod events;
mod facts;
mod figures;
mod html;
mod json;
mod matrix;
mod numbers;
mod reading;
mod stats;
mod svg;
mod text;

#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;

pub(in crate::lab) use html::html;
pub(in crate::lab) use json::json;
pub(in crate::lab) use text::text;
