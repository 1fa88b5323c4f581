//! `balance` and `table-size`, of a service or a pool.

use lb_common::limits::{RING_MAX_LOG2, RING_MIN_LOG2};

use super::fault::Checked;
use super::raw::{Table, Value};
use crate::model::{Balance, Mode, RingSize};

/// Ways to choose a backend for every packet.
const BY_PACKET: [Balance; 4] = [
    Balance::Maglev,
    Balance::SourceHash,
    Balance::RoundRobin,
    Balance::LeastConnections,
];

/// Ways that only the proxy has.
const BY_REQUEST: [Balance; 5] = [
    Balance::ByRequests,
    Balance::ByTraffic,
    Balance::ByBusyness,
    Balance::Heartbeat,
    Balance::PeakEwma,
];

/// How `owner` chooses; the proxy by turns, where it does not say, and the others by their ring.
pub(super) fn balance(owner: &Table<'_>, mode: Mode) -> Checked<Balance> {
    let Some(value) = owner.get("balance") else {
        return Ok(match mode {
            Mode::Proxy => Balance::RoundRobin,
            Mode::Dsr | Mode::Tunnel | Mode::Nat => Balance::Maglev,
        });
    };
    let labelled = |balance: Balance| (balance.label(), balance);
    if mode == Mode::Proxy {
        let all: Vec<_> = BY_PACKET.into_iter().chain(BY_REQUEST).map(labelled).collect();
        return value.choice(&all);
    }
    let of_proxy = BY_REQUEST.iter().find(|balance| value.text() == Some(balance.label()));
    let Some(balance) = of_proxy else {
        return value.choice(&BY_PACKET.map(labelled));
    };
    let message = format!("balance = \"{}\" is for mode = \"proxy\"", balance.label());
    let fault = match owner.get("mode") {
        Some(mode) => value.fault(message).other(mode.span(), "the mode"),
        None => value.fault(message),
    };
    let words = BY_PACKET.map(|balance| format!("\"{}\"", balance.label())).join(" or ");
    Err(fault.hint(format!("{} has balance = {words}", mode.label())))
}

/// Slots of a ring; the default, where nobody says.
pub(super) fn ring(value: Option<&Value<'_>>) -> Checked<RingSize> {
    const LEAST: u32 = 1 << RING_MIN_LOG2;
    const MOST: u32 = 1 << RING_MAX_LOG2;
    let Some(value) = value else {
        return Ok(RingSize::DEFAULT);
    };
    let slots = value
        .whole(LEAST..=MOST)
        .map_err(|fault| fault.hint("it is a power of two"))?;
    RingSize::new(slots).ok_or_else(|| {
        let above = slots.next_power_of_two();
        let hint = format!("the nearest are {} and {above}", above / 2);
        value
            .fault(format!("`table-size` must be a power of two, {slots} is not"))
            .hint(hint)
    })
}
