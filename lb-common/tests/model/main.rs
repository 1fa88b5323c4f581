//! A model of one slot checks the rules of [`lb_common::slot`], the very functions: three backends, two flows, spoofed
//! packets and floods, a `FLOWS` with room for three entries, and a manager, in every order. A search through all states,
//! breadth first, shows the shortest way to a broken promise, or that there is none within so many steps.
//!
//! Promised is that no packet of an established flow goes elsewhere while the flow's backend lives, and neither does the
//! packet that ends a handshake, if its client speaks once per window. Three things are taken for granted: dead backends
//! accept no SYN, a handshake takes less than a window, and no packet is still worked on when its client has closed the
//! flow and opened another.
//!
//! The manager is modelled twice. First each of its deeds is one step, and a member's death removes its entries. Then
//! ([`feature::STEPS`]) it writes word by word, entries outlive their member, and it may crash between any two writes:
//!
//! | deed | writes, in order |
//! | --- | --- |
//! | a slot changes | slot; grace |
//! | a member dies | member dead; slot; grace |
//! | a member comes back | where a slot has it as `previous`: slot by `next` to its current member, grace; its entries are forgotten; member alive; slot; grace |
//! | a window closes | grace since the last entry was removed; look at the conditions; slot settled; grace |
//! | an entry expires | entry claimed; entry deleted; grace before a window closes |
//! | a sweep | entries that agree or are dead go; slot stable if none is left |
//! | a manager starts | grace; windows begin |
//!
//! Some members may die and others come back within one change, before its slots are written; between the death of a
//! member and its own return there is a grace period always. An entry is removed or replaced by who has claimed it only
//! (see [`decide`](lb_common::slot::decide)). With [`feature::STAGES`] others act between a packet's look at its slot, at
//! its entry, its claim and its write; one packet at a time is interrupted so.
//!
//! The search goes 10 steps deep, or as many as the environment variable `FULCRUM_MODEL_DEPTH` says: 13 take a minute and
//! 300 MB for each test that runs at the same time.

mod manager;
mod number;
mod packets;
mod rules;
mod search;
mod state;

use rules::*;
use search::feature::*;
use search::{Break, Model};

/// All that must not break anything, in one: what clients, floods, backends and a manager do.
const ALL: u32 = RACE | DIE | RECOVER | FLOOD | EXPIRE | CRASH | REUSE;
const ALL_STEPS: u32 = ALL | STEPS | STAGES;

/// So many times is the slot changed, besides by deaths.
const CHANGES: u8 = 3;

fn depth() -> usize {
    std::env::var("FULCRUM_MODEL_DEPTH").map_or(10, |depth| {
        depth
            .parse()
            .expect("FULCRUM_MODEL_DEPTH is the number of steps, such as 12")
    })
}

/// The rules hold, whatever happens of this, but for breaks of the kind `but`.
#[track_caller]
fn assert_holds(features: u32, but: Option<Break>) {
    let found = Model::<Real>::new(features, CHANGES).search(depth(), but);
    if let Some((broken, way)) = found.broken {
        panic!("{broken:?} after {} states:\n{way}", found.states);
    }
    // A model in which hardly anything happens would hold, too.
    assert!(found.states > 1000 || depth() < 6, "{} states", found.states);
}

/// Such rules break a promise within 12 steps.
#[track_caller]
fn assert_breaks<R: Rules>(features: u32, kind: Break) {
    let but = match kind {
        Break::Established => Break::Handshake,
        Break::Handshake => Break::Established,
    };
    let found = Model::<R>::new(features, CHANGES).search(12, Some(but));
    assert!(found.broken.is_some(), "not found in {} states", found.states);
}

#[test]
fn the_rules_hold() {
    assert_holds(ALL, None);
    assert_holds(ALL | SPOOF, None);
}

#[test]
fn the_rules_hold_write_by_write() {
    assert_holds(ALL_STEPS, None);
    assert_holds(ALL_STEPS | NOBODY, None);
}

#[test]
fn spoofed_syns_break_nothing() {
    assert_holds(ALL_STEPS | SPOOF, None);
}

#[test]
fn flows_of_datagrams_hold() {
    assert_holds(ALL_STEPS | DATAGRAMS, None);
}

/// A handshake may fail whose SYN is repeated across a change: both backends may have answered it. What is accepted, too,
/// is that such a SYN arrives at the end of a handshake and is worked on for longer than the client needs to go on.
#[test]
fn repeated_syns_break_handshakes_only() {
    assert_holds(ALL & !RACE | SYN_AGAIN, Some(Break::Handshake));
    assert_holds(ALL & !RACE | STEPS | SYN_AGAIN, Some(Break::Handshake));
    assert_breaks::<Real>(SYN_AGAIN, Break::Handshake);
}

#[test]
fn flows_silent_for_longer_than_a_window_break() {
    assert_breaks::<Real>(SILENT, Break::Established);
    assert_breaks::<Real>(STEPS | SILENT, Break::Established);
}

#[test]
fn wrong_rules_of_slots_are_found() {
    assert_breaks::<Forgetful>(ALL, Break::Established);
    assert_breaks::<ThereAndBack>(ALL, Break::Established);
    assert_breaks::<Hasty>(ALL, Break::Established);
    assert_breaks::<Amnesic>(ALL_STEPS, Break::Established);
    assert_breaks::<DeathBlind>(ALL_STEPS, Break::Established);
}

#[test]
fn wrong_rules_of_packets_are_found() {
    assert_breaks::<Unwritten>(ALL, Break::Established);
    assert_breaks::<Gullible>(ALL | SPOOF, Break::Established);
    assert_breaks::<Lru>(ALL, Break::Established);
    assert_breaks::<Unclaimed>(ALL_STEPS, Break::Handshake);
    assert_breaks::<Disrespectful>(ALL_STEPS, Break::Handshake);
    assert_breaks::<Deaf>(ALL_STEPS, Break::Handshake);
}

#[test]
fn wrong_orders_of_writes_are_found() {
    assert_breaks::<NoGrace>(ALL, Break::Established);
    assert_breaks::<Eager>(ALL_STEPS, Break::Established);
    assert_breaks::<NoRoom>(ALL, Break::Established);
    assert_breaks::<Abrupt>(ALL_STEPS, Break::Handshake);
    assert_breaks::<OldWindow>(ALL_STEPS, Break::Established);
    assert_breaks::<EarlyReturn>(ALL_STEPS, Break::Handshake);
    assert_breaks::<Haunted>(ALL_STEPS, Break::Established);
    assert_breaks::<Careless>(ALL_STEPS, Break::Handshake);
    assert_breaks::<Hurried>(ALL_STEPS, Break::Handshake);
}
