//! Flows that go from one pair of tables to another, while programs work on one of them.
//!
//! A flow is carried lease first, so that it never exists without; and only whole, so that no lease stays behind for a
//! flow that found no room. What nobody would miss (over, or being ended) stays where it is.
//!
//! Until the new program is attached, the old tables are right and the new ones follow. From then on the old ones stand
//! still: what is new in them is added, and where both know a flow the new ones keep what they have, plus what the old
//! program saw last.

use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use aya::Pod;
use aya::maps::{HashMap, Map, MapData, MapError};
use lb_common::nat::{NatKey, Stamp, Ticks, Translation};
use nix::libc;

use super::super::batch::Batch;
use super::super::flows::now;
use super::super::maps::errno;
use super::Failure;

/// `BPF_NOEXIST`: only a key that is not there.
const NEW: u64 = 1;

/// `BPF_EXIST`: only a key that is there.
const THERE: u64 = 2;

/// Tries to get memory for an entry, a millisecond apart: the kernel keeps some ready, and refills it meanwhile.
const TRIES: usize = 100;

/// A table of flows.
pub(super) type Table<V = Translation> = HashMap<MapData, NatKey, V>;

/// Flows of one pair of tables, on their way to another.
pub(super) struct Flows {
    leases: Batch<NatKey, Translation>,
    pair: Pair,
    /// When they were looked through last.
    since: Option<Ticks>,
    /// How many are in the new tables by this.
    pub(super) carried: usize,
    /// How many found no room there.
    pub(super) lost: usize,
}

impl Flows {
    /// From the tables in the folder `from` to those in `to`.
    pub(super) fn new(from: &Path, to: &Path) -> Result<Self, Failure> {
        let tables = |folder| {
            Ok::<_, Failure>(Tables {
                leases: table(folder, "NAT_REPLY")?,
                flows: table(folder, "NAT")?,
            })
        };
        Ok(Self {
            leases: Batch::new(&MapData::from_pin(from.join("NAT_REPLY"))?)?,
            pair: Pair {
                from: tables(from)?,
                to: tables(to)?,
            },
            since: None,
            carried: 0,
            lost: 0,
        })
    }

    /// Carries what has come or changed since the last time; where both know a flow, the new tables' word counts for more
    /// when their program is `attached`.
    pub(super) fn copy(&mut self, attached: bool) -> Result<(), Failure> {
        let now = now()?;
        let since = self.since.replace(now);
        let mut lost = 0;
        self.leases.visit(|keys, leases| {
            for (key, lease) in keys.iter().zip(leases) {
                // Whatever changes a flow changes its stamp; one tick more, as it may have ended since the clock was read.
                let news = since.is_none_or(|since| lease.stamp.age(now) <= now.wrapping_sub(since) + 1);
                let lives = !lease.stamp.is_claimed() && !lease.stamp.is_over(key.protocol, lease.idle, now);
                if news && lives {
                    match self.pair.carry(key, lease, attached)? {
                        Outcome::Kept => {}
                        Outcome::Carried => self.carried += 1,
                        Outcome::NoRoom => lost += 1,
                    }
                }
            }
            Ok::<_, Failure>(())
        })?;
        self.lost = self.lost.max(lost);
        Ok(())
    }
}

struct Tables {
    leases: Table,
    flows: Table,
}

/// What became of a flow.
enum Outcome {
    /// The new tables know it, or know better.
    Kept,
    Carried,
    NoRoom,
}

struct Pair {
    from: Tables,
    to: Tables,
}

impl Pair {
    fn carry(&mut self, key: &NatKey, lease: &Translation, attached: bool) -> Result<Outcome, Failure> {
        let same = |a: &Translation, b: &Translation| a.made(key.protocol) == b.made(key.protocol);
        let wins = |old: Stamp, new: Stamp| !attached || is_later(old, new);
        let flow_key = lease.other(key.protocol);

        match get(&self.to.leases, key)? {
            None => match put(&mut self.to.leases, key, lease, NEW)? {
                Put::Done => {}
                Put::Raced => return Ok(Outcome::Kept),
                Put::NoRoom => return Ok(Outcome::NoRoom),
            },
            Some(there) if same(&there, lease) => {
                let right = if attached {
                    let stamp = merged(lease.stamp, there.stamp);
                    Translation { stamp, ..there }
                } else {
                    *lease
                };
                if right != there {
                    put(&mut self.to.leases, key, &right, THERE)?;
                }
            }
            // The port belongs to another flow by now.
            Some(there) if wins(lease.stamp, there.stamp) => {
                remove(&mut self.to.flows, &there.other(key.protocol))?;
                put(&mut self.to.leases, key, lease, THERE)?;
            }
            Some(_) => return Ok(Outcome::Kept),
        }

        // Without one, the flow is just being made, and comes with the next pass, or is being ended.
        let flow = get(&self.from.flows, &flow_key)?.filter(|flow| flow.other(key.protocol) == *key);
        let Some(flow) = flow else { return Ok(Outcome::Kept) };
        match get(&self.to.flows, &flow_key)? {
            None => match put(&mut self.to.flows, &flow_key, &flow, NEW)? {
                Put::Done => return Ok(Outcome::Carried),
                Put::Raced => {}
                Put::NoRoom => {
                    remove(&mut self.to.leases, key)?;
                    return Ok(Outcome::NoRoom);
                }
            },
            Some(there) if same(&there, &flow) => {}
            // The client has got another port by now.
            Some(there) if wins(flow.stamp, there.stamp) => {
                put(&mut self.to.flows, &flow_key, &flow, THERE)?;
                remove(&mut self.to.leases, &there.other(key.protocol))?;
            }
            Some(_) => remove(&mut self.to.leases, key)?,
        }
        Ok(Outcome::Kept)
    }
}

/// A lease that both programs have seen packets of: when it was last heard of, and all that either saw.
fn merged(old: Stamp, new: Stamp) -> Stamp {
    if new.is_claimed() {
        return new;
    }
    let seen = if is_later(old, new) { old.seen() } else { new.seen() };
    Stamp(u64::from((old.0 | new.0) as u32) | u64::from(seen) << 32)
}

fn is_later(a: Stamp, b: Stamp) -> bool {
    a.seen().wrapping_sub(b.seen()).cast_signed() > 0
}

fn table(folder: &Path, name: &'static str) -> Result<Table, Failure> {
    let map = Map::from_map_data(MapData::from_pin(folder.join(name))?)?;
    Ok(Table::try_from(map)?)
}

fn get(table: &Table, key: &NatKey) -> Result<Option<Translation>, MapError> {
    match table.get(key, 0) {
        Ok(found) => Ok(Some(found)),
        Err(MapError::KeyNotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What became of an entry.
pub(super) enum Put {
    Done,
    /// Somebody else has made it, or removed it, meanwhile.
    Raced,
    NoRoom,
}

pub(super) fn put<V: Pod>(table: &mut Table<V>, key: &NatKey, value: &V, flags: u64) -> Result<Put, MapError> {
    let mut tries = 0..TRIES;
    loop {
        let Err(error) = table.insert(key, value, flags) else {
            return Ok(Put::Done);
        };
        match errno(&error) {
            Some(libc::E2BIG) => return Ok(Put::NoRoom),
            Some(libc::EEXIST | libc::ENOENT) => return Ok(Put::Raced),
            Some(libc::ENOMEM) if tries.next().is_some() => sleep(Duration::from_millis(1)),
            _ => return Err(error),
        }
    }
}

fn remove(table: &mut Table, key: &NatKey) -> Result<(), MapError> {
    match table.remove(key) {
        Err(error) if errno(&error) != Some(libc::ENOENT) => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_either_program_saw_counts() {
        let stamp = |seen: u64, bits: u64| Stamp(seen << 32 | bits);
        assert_eq!(merged(stamp(5, 0b11), stamp(4, 0x100)), stamp(5, 0x103));
        assert_eq!(merged(stamp(5, 0b01), stamp(6, 0x101)), stamp(6, 0x101));
        let claimed = stamp(4, 1).claimed();
        assert_eq!(merged(stamp(5, 1), claimed), claimed, "it is being ended");
        assert!(
            is_later(stamp(0, 0), stamp(u64::from(Ticks::MAX), 0)),
            "the clock goes round"
        );
    }
}
