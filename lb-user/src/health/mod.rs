//! Which backends answer.

pub mod fsm;
pub mod probe;
pub mod schedule;
