//! What was laid out otherwise: counters, and arrays that had many elements.

use std::path::Path;

use aya::maps::{Map, MapData, PerCpuArray, PerCpuValues};
use lb_common::backend::Member;
use lb_common::stats::Counters;

use super::super::super::region::Region;
use super::Failure;

/// Maps a pinned array into memory, however many elements it has to the kernel.
fn mapped<T: Copy>(folder: &Path, name: &'static str) -> Result<Region<T>, Failure> {
    let data = MapData::from_pin(folder.join(name))?;
    let info = data.info()?;
    let bytes = u64::from(info.value_size()) * u64::from(info.max_entries());
    Ok(Region::mapped(
        data.fd(),
        u32::try_from(bytes / size_of::<T>() as u64)?,
    )?)
}

/// Copies an array into one of as many bytes.
pub(super) fn copy(from: &Path, to: &Path, name: &'static str) -> Result<(), Failure> {
    let (from, mut to) = (mapped::<u64>(from, name)?, mapped::<u64>(to, name)?);
    for (at, &word) in (0..).zip(from.as_slice()) {
        // Pages of zeros stay untouched.
        if word != 0 {
            *to.get_mut(at).ok_or_else(|| format!("{name} has become smaller"))? = word;
        }
    }
    Ok(())
}

/// Counters as the first release had them: packets, bytes, new flows.
type CountersV1 = [u64; 3];

/// Counters of the members that there were at the beginning, on the way from one map to the other.
pub(super) struct Counting {
    from: PerCpuArray<MapData, CountersV1>,
    to: PerCpuArray<MapData, Counters>,
    /// What has been added so far, by member.
    added: Vec<(u32, PerCpuValues<CountersV1>)>,
}

impl Counting {
    /// From the maps in `from` to those in `to`, which count nothing yet.
    pub(super) fn new(from: &Path, to: &Path) -> Result<Self, Failure> {
        let members = mapped::<Member>(to, "BACKENDS")?;
        let ids = (0..).zip(members.as_slice()).filter(|(_, member)| member.exists());
        let cpus = aya::util::nr_cpus().map_err(|(_, error)| error)?;
        let zeros = |(id, _)| Ok((id, PerCpuValues::try_from(vec![[0; 3]; cpus])?));
        Ok(Self {
            added: ids.map(zeros).collect::<Result<_, Failure>>()?,
            from: Map::from_map_data(MapData::from_pin(from.join("COUNTERS"))?)?.try_into()?,
            to: Map::from_map_data(MapData::from_pin(to.join("COUNTERS"))?)?.try_into()?,
        })
    }

    /// Adds what has been counted since the last time. What the new program counts in the microseconds between reading
    /// and writing is lost, so the less there is to add once it is attached, the better.
    pub(super) fn add(&mut self) -> Result<(), Failure> {
        for (id, added) in &mut self.added {
            let counted = self.from.get(id, 0)?;
            if counted.iter().eq(added.iter()) {
                continue;
            }
            let sums = self.to.get(id, 0)?;
            let more = counted.iter().zip(added.iter());
            let sums = sums.iter().zip(more).map(|(&sum, (now, before))| {
                let mut sum = sum;
                sum += Counters {
                    packets: now[0].wrapping_sub(before[0]),
                    bytes: now[1].wrapping_sub(before[1]),
                    new_flows: now[2].wrapping_sub(before[2]),
                    ..Counters::default()
                };
                sum
            });
            self.to.set(*id, PerCpuValues::try_from(sums.collect::<Vec<_>>())?, 0)?;
            *added = counted;
        }
        Ok(())
    }
}
