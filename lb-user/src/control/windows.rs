//! How long slots have been moving, and when that ends. Pure: time is an argument, and what is to be done is returned.
//!
//! A flow that is older than a change has been written down when it has spoken since, so a slot's window closes when
//! whoever speaks at least once per `idle-timeout` has: since the slot began to move, since an entry last found no room, and
//! since this manager started, for it does not know what was before.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use lb_common::id::MemberIndex;
use lb_common::ring::{Slot, State};
use lb_common::slot;
use tokio::time::Instant;

use crate::plan::Slots;

/// Slots, by number, and what they become.
pub(super) type Changes = Vec<(u32, Slot)>;

/// See the module.
#[derive(Debug)]
pub(super) struct Windows {
    /// When every window begins anew.
    from: Instant,
    /// How often an entry has found no room.
    no_room: Option<u64>,
    /// By first block.
    rings: HashMap<u32, Watched>,
}

/// A ring.
#[derive(Debug)]
struct Watched {
    slots: Slots,
    idle: Duration,
    moving: Moving,
}

/// The slots of a ring that move, from whom, and since when. A node may have 16 Mi of them, and slots begin together: so
/// few bytes each, and a list of times.
#[derive(Debug, Default)]
struct Moving {
    /// By number: whom it had, and which of `times`.
    slots: Vec<(u32, MemberIndex, u32)>,
    /// Each once, in the order in which slots have needed them.
    times: Vec<Instant>,
}

impl Moving {
    fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// When the first one began.
    fn first(&self) -> Option<Instant> {
        self.times.iter().min().copied()
    }

    /// Number and beginning of each.
    fn iter(&self) -> impl Iterator<Item = (u32, Instant)> {
        self.slots.iter().map(|&(i, _, time)| (i, self.times[time as usize]))
    }
}

impl Windows {
    /// Of a manager that starts now.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            from: now,
            no_room: None,
            rings: HashMap::new(),
        }
    }

    /// These rings are installed, and with these `idle-timeout`s. A slot that has changed while it moved, and remembers the
    /// same backend, has begun to move when it did so first.
    pub(super) fn observe<'a>(&mut self, rings: impl Iterator<Item = (u32, &'a Slots, Duration)>, now: Instant) {
        let mut before = std::mem::take(&mut self.rings);
        for (block, slots, idle) in rings {
            let known = before.remove(&block);
            let watched = match known {
                Some(known) if known.slots.ptr_eq(slots) => Watched { idle, ..known },
                known => {
                    let known = known.map(|known| known.moving).unwrap_or_default();
                    Watched::new(slots, idle, &known, now)
                }
            };
            self.rings.insert(block, watched);
        }
    }

    /// Entries have found no room so often since the maps were made.
    pub(super) fn count_no_room(&mut self, times: u64, now: Instant) {
        if self.no_room.replace(times).is_some_and(|before| before != times) {
            self.from = now;
        }
    }

    /// Is there a slot that is not stable?
    pub(super) fn is_any_open(&self) -> bool {
        self.rings
            .values()
            .any(|ring| ring.has_settled() || !ring.moving.is_empty())
    }

    /// When the next window is over, if nothing happens.
    pub(super) fn next(&self) -> Option<Instant> {
        let over = self.rings.values().filter_map(|ring| {
            let began = ring.moving.first()?;
            Some(began.max(self.from) + ring.idle)
        });
        over.min()
    }

    /// The slots whose window is over, settled, by first block.
    pub(super) fn over(&self, now: Instant) -> BTreeMap<u32, Changes> {
        let mut all = BTreeMap::new();
        for (&block, ring) in &self.rings {
            let is_over = |began: Instant| now >= began.max(self.from) + ring.idle;
            let over = ring.moving.iter().filter(|&(_, began)| is_over(began));
            let settled: Changes = over.map(|(i, _)| (i, slot::settle(ring.slots[i as usize]))).collect();
            if !settled.is_empty() {
                all.insert(block, settled);
            }
        }
        all
    }

    /// The settled slots of which `is_known` says that no flow is known, stable, by first block.
    pub(super) fn stable(&self, is_known: impl Fn(u32, u32) -> bool) -> BTreeMap<u32, Changes> {
        let mut all = BTreeMap::new();
        for (&block, ring) in self.rings.iter().filter(|(_, ring)| ring.has_settled()) {
            let settled = (0..)
                .zip(&*ring.slots)
                .filter(|(_, slot)| slot.state() == State::Settled);
            let quiet = settled.filter(|&(i, _)| !is_known(block, i));
            let stable: Changes = quiet.map(|(i, slot)| (i, Slot::stable(slot.current()))).collect();
            if !stable.is_empty() {
                all.insert(block, stable);
            }
        }
        all
    }
}

impl Watched {
    /// With what was `known` of the ring's slots.
    fn new(slots: &Slots, idle: Duration, known: &Moving, now: Instant) -> Self {
        let mut moving = Moving::default();
        let mut known_slots = known.slots.iter().copied().peekable();
        // Where each of the known times, and after them now, has its place.
        let mut places: Vec<Option<u32>> = vec![None; known.times.len() + 1];
        for (i, slot) in (0..).zip(&**slots) {
            let State::Moving(from) = slot.state() else { continue };
            while known_slots.next_if(|&(other, ..)| other < i).is_some() {}
            let known_time = known_slots.next_if(|&(other, ..)| other == i);
            let time = known_time.filter(|&(_, member, _)| member == from);
            let time = time.map_or(known.times.len(), |(.., time)| time as usize);
            let place = *places[time].get_or_insert_with(|| {
                moving.times.push(known.times.get(time).copied().unwrap_or(now));
                moving.times.len() as u32 - 1
            });
            moving.slots.push((i, from, place));
        }
        Self {
            slots: slots.clone(),
            idle,
            moving,
        }
    }

    fn has_settled(&self) -> bool {
        self.slots.census().states.settled > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: MemberIndex = MemberIndex(1);
    const B: MemberIndex = MemberIndex(2);
    const C: MemberIndex = MemberIndex(3);
    const IDLE: Duration = Duration::from_secs(100);

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// One ring at block 7.
    fn see(windows: &mut Windows, slots: &[Slot], now: Instant) {
        windows.observe([(7, &slots.to_vec().into(), IDLE)].into_iter(), now);
    }

    fn numbers(over: &BTreeMap<u32, Changes>) -> Vec<u32> {
        over.values().flatten().map(|&(i, _)| i).collect()
    }

    #[test]
    fn a_window_is_over_when_everybody_has_had_the_time_to_speak() {
        let start = Instant::now();
        let mut windows = Windows::new(start);
        see(&mut windows, &[Slot::stable(A); 2], start);
        assert!(windows.next().is_none() && !windows.is_any_open());
        see(&mut windows, &[Slot::moving(B, A), Slot::stable(A)], start + secs(10));
        assert_eq!(windows.next(), Some(start + secs(110)));
        assert!(windows.over(start + secs(109)).is_empty());
        let over = windows.over(start + secs(110));
        assert_eq!(over[&7], [(0, Slot::settled(B))]);
        // Both changed once more, one of them for the second time.
        see(
            &mut windows,
            &[Slot::moving(C, A), Slot::moving(B, A)],
            start + secs(50),
        );
        assert_eq!(numbers(&windows.over(start + secs(110))), [0]);
        assert_eq!(numbers(&windows.over(start + secs(150))), [0, 1]);
        // From another backend: it begins anew.
        see(
            &mut windows,
            &[Slot::moving(C, B), Slot::moving(B, A)],
            start + secs(60),
        );
        assert_eq!(numbers(&windows.over(start + secs(159))), [1]);
    }

    #[test]
    fn what_found_no_room_may_come_again() {
        let start = Instant::now();
        let mut windows = Windows::new(start);
        see(&mut windows, &[Slot::moving(B, A)], start);
        windows.count_no_room(5, start + secs(20));
        assert_eq!(
            windows.next(),
            Some(start + IDLE),
            "that was before this manager's time"
        );
        windows.count_no_room(5, start + secs(30));
        windows.count_no_room(6, start + secs(40));
        assert_eq!(windows.next(), Some(start + secs(140)));
        windows.count_no_room(6, start + secs(50));
        assert!(windows.over(start + secs(139)).is_empty());
        assert_eq!(numbers(&windows.over(start + secs(140))), [0]);
    }

    #[test]
    fn a_manager_does_not_know_what_was_before_it() {
        let start = Instant::now();
        let mut windows = Windows::new(start + secs(5));
        see(&mut windows, &[Slot::moving(B, A), Slot::settled(A)], start);
        assert!(windows.over(start + secs(104)).is_empty());
        assert_eq!(numbers(&windows.over(start + secs(105))), [0]);
    }

    #[test]
    fn settled_slots_without_flows_become_stable() {
        let start = Instant::now();
        let mut windows = Windows::new(start);
        let slots = [Slot::settled(A), Slot::settled(B), Slot::moving(B, A), Slot::stable(C)];
        see(&mut windows, &slots, start);
        let stable = windows.stable(|block, slot| (block, slot) == (7, 1));
        assert_eq!(stable[&7], [(0, Slot::stable(A))]);
        see(&mut windows, &[Slot::stable(A); 4], start);
        assert!(!windows.is_any_open() && windows.stable(|_, _| false).is_empty());
    }
}
