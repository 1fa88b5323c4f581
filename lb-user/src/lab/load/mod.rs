//! Requests over HTTP, many of them, and what they came to.
//!
//! [`Plan`] says what is asked, [`run`] and [`Running`] do it, and [`Outcome`] is what it came to. The work is done on
//! threads of its own, whose sockets are in the namespace that the caller names. Where requests have a rate, each is due
//! when it is due, whether those before it have been answered or not, and what it took counts from then: a server that
//! stalls does not stop the clock.

pub(super) mod command;
mod connect;
mod http1;
mod http2;
mod outcome;
mod pace;
mod plan;
mod report;
pub(super) mod response;
mod running;
#[cfg(test)]
mod tests;
mod work;

pub(super) use connect::{Connector, Stream};
pub(super) use outcome::{Answer, Made, NOT_SENT, Outcome};
pub(super) use plan::{End, Pace, Plan, Protocol, Target};
pub(super) use running::{Running, run};
