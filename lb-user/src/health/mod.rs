//! Which backends answer.

pub mod fsm;
pub mod schedule;
