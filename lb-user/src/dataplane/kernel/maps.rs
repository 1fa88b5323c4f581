//! Maps of the loaded program, as the layouts that both data planes share.

use std::collections::BTreeMap;
use std::path::Path;

use aya::Ebpf;
use aya::maps::{Array, ArrayOfMaps, DevMap, HashMap, Map, MapData, MapError, PerCpuArray, PerCpuValues};
use lb_common::addr::Mac;
use lb_common::backend::Nic;
use lb_common::id::MemberId;
use lb_common::layout::{self, Direct, MapLayout};
use lb_common::limits::{FLOW_TABLE, NICS};
use lb_common::service::{Decision, KeyV4, KeyV6};
use lb_common::stats::{Counters, DropReason};

use super::super::region::{Region, store_u64};
use super::super::tables::{Layout, Overflow, Services};
use super::ApplyError;
use super::arrays::Arrays;
use super::batch::Sums;
use super::entries;
use super::object::LoadError;

/// The arrays and hashes that decide about packets.
pub(super) fn layout(program: &mut Ebpf, arrays: &Arrays) -> Result<Layout, LoadError> {
    let mut take = |name| arrays.get(name).or_else(|| program.take_map(name));
    Ok(Layout {
        services: services(&mut take)?,
        ring: mapped(&mut take, Direct::Ring)?,
        backends: mapped(&mut take, Direct::Backends)?,
        features: mapped(&mut take, Direct::Features)?,
        load: mapped(&mut take, Direct::Load)?,
    })
}

/// `COOKIES`, as words.
pub(super) fn cookies(program: &mut Ebpf, arrays: &Arrays) -> Result<Region<u64>, LoadError> {
    mapped(
        &mut |name| arrays.get(name).or_else(|| program.take_map(name)),
        Direct::Cookies,
    )
}

/// The maps of services that are pinned in `folder`.
pub(super) fn pinned_services(folder: &Path) -> Result<Services, LoadError> {
    services(&mut |name| Map::from_map_data(MapData::from_pin(folder.join(name)).ok()?).ok())
}

/// Where maps come from, by name.
type Source<'a> = dyn FnMut(&'static str) -> Option<Map> + 'a;

fn services(source: &mut Source<'_>) -> Result<Services, LoadError> {
    Ok(Services {
        v4: mapped(source, Direct::ServicesV4)?,
        v6: mapped(source, Direct::ServicesV6)?,
        overflow_v4: Box::new(Hash::<KeyV4>::new(source, "OVERFLOW_V4")?),
        overflow_v6: Box::new(Hash::<KeyV6>::new(source, "OVERFLOW_V6")?),
    })
}

/// Gets a map, as the type that it is declared as.
fn take<T: TryFrom<Map, Error = MapError>>(source: &mut Source<'_>, name: &'static str) -> Result<T, LoadError> {
    let map = source(name).ok_or_else(|| LoadError::map(name, "it is not there"))?;
    T::try_from(map).map_err(|error| LoadError::map(name, error))
}

/// What this binary knows of a map.
fn known(name: &'static str) -> Result<MapLayout, LoadError> {
    layout::maps(FLOW_TABLE)
        .into_iter()
        .find(|m| m.name == name)
        .ok_or_else(|| LoadError::map(name, "it has no layout"))
}

/// Maps an array into memory, however many elements it has to the kernel.
fn mapped<T: Copy>(source: &mut Source<'_>, array: Direct) -> Result<Region<T>, LoadError> {
    let MapLayout { name, value, .. } = array.layout();
    let map = source(name).ok_or_else(|| LoadError::map(name, "it is not there"))?;
    let Map::Array(data) = map else {
        return Err(LoadError::map(name, "it is not an array"));
    };
    let info = data.info().map_err(|error| LoadError::map(name, error))?;
    if u64::from(info.value_size()) * u64::from(info.max_entries()) != u64::from(value) {
        return Err(LoadError::map(name, "it has another size"));
    }
    Region::mapped(data.fd(), value / size_of::<T>() as u32).map_err(|error| LoadError::map(name, error))
}

/// A hash behind service buckets.
struct Hash<K> {
    name: &'static str,
    map: HashMap<MapData, K, Decision>,
}

impl<K: aya::Pod> Hash<K> {
    fn new(source: &mut Source<'_>, name: &'static str) -> Result<Self, LoadError> {
        let map = take(source, name)?;
        Ok(Self { name, map })
    }
}

impl<K: aya::Pod + Send + Sync> Overflow<K> for Hash<K> {
    fn get(&self, key: &K) -> Decision {
        self.map.get(key, 0).unwrap_or_default()
    }

    fn all(&self) -> Result<Vec<(K, Decision)>, ApplyError> {
        self.map
            .iter()
            .collect::<Result<_, _>>()
            .map_err(refused("read", self.name))
    }

    fn put(&mut self, key: K, decision: Decision) -> Result<(), ApplyError> {
        self.map.insert(key, decision, 0).map_err(|error| {
            if errno(&error) == Some(nix::libc::E2BIG) {
                let capacity = known(self.name).map_or(0, |m| m.entries);
                return ApplyError::MapFull {
                    map: self.name,
                    capacity,
                };
            }
            refused("write", self.name)(error)
        })
    }

    fn delete(&mut self, key: &K) -> Result<(), ApplyError> {
        match self.map.remove(key) {
            Err(MapError::KeyNotFound) => Ok(()),
            Err(error) if errno(&error) == Some(nix::libc::ENOENT) => Ok(()),
            other => other.map_err(refused("write", self.name)),
        }
    }
}

/// The kernel's reason.
pub(super) fn errno(error: &MapError) -> Option<i32> {
    match error {
        MapError::SyscallError(error) => error.io_error.raw_os_error(),
        _ => None,
    }
}

fn refused(verb: &'static str, map: &'static str) -> impl Fn(MapError) -> ApplyError {
    move |error| ApplyError::Kernel {
        verb,
        map,
        source: Box::new(error),
    }
}

/// What the program counts, and the way to wait for it.
pub(super) struct Counting {
    counters: PerCpuArray<MapData, Counters>,
    sums: Sums<Counters>,
    drops: PerCpuArray<MapData, u64>,
    grace: ArrayOfMaps<MapData, Array<MapData, u32>>,
    inner: Array<MapData, u32>,
    nics: Region<Nic>,
    ports: DevMap<MapData>,
    /// The interface in each place of these two.
    places: BTreeMap<u32, u32>,
}

impl Counting {
    pub(super) fn new(program: &mut Ebpf, arrays: &Arrays) -> Result<Self, LoadError> {
        let source: &mut Source<'_> = &mut |name| arrays.get(name).or_else(|| program.take_map(name));
        let inner = Array::create(1, 0).map_err(|error| LoadError::map("GRACE", error))?;
        let counters = source("COUNTERS").ok_or_else(|| LoadError::map("COUNTERS", "it is not there"))?;
        let Map::PerCpuArray(data) = &counters else {
            return Err(LoadError::map("COUNTERS", "it is not a per-CPU array"));
        };
        Ok(Self {
            sums: Sums::new(data).map_err(|error| LoadError::map("COUNTERS", error))?,
            counters: PerCpuArray::try_from(counters).map_err(|error| LoadError::map("COUNTERS", error))?,
            drops: take(source, "DROPS")?,
            grace: take(source, "GRACE")?,
            inner,
            nics: mapped(source, Direct::Nics)?,
            ports: take(source, "PORTS")?,
            places: BTreeMap::new(),
        })
    }

    /// Tells the program of an interface that it is or will be on.
    pub(super) fn set_nic(&mut self, interface: u32, mac: Mac) -> Result<(), LoadError> {
        let place = Nic::place(interface);
        if let Some(other) = self.places.get(&place).filter(|&&other| other != interface) {
            let clash = format!("interfaces {interface} and {other} have indices that are a multiple of {NICS} apart");
            return Err(LoadError::map("NICS", clash));
        }
        self.put_nic(place, Nic::new(interface, mac), interface)?;
        self.places.insert(place, interface);
        Ok(())
    }

    /// Forgets the interfaces that `keep` does not name, so that others may have their places.
    pub(super) fn keep_nics(&mut self, keep: impl Fn(u32) -> bool) -> Result<(), LoadError> {
        while let Some((&place, _)) = self.places.iter().find(|&(_, &interface)| !keep(interface)) {
            // To the kernel, interface 0 is none.
            self.put_nic(place, Nic::default(), 0)?;
            self.places.remove(&place);
        }
        Ok(())
    }

    fn put_nic(&mut self, place: u32, nic: Nic, port: u32) -> Result<(), LoadError> {
        let element = self
            .nics
            .get_mut(place)
            .ok_or_else(|| LoadError::map("NICS", "it is too small"))?;
        store_u64(&mut element.0, nic.0);
        self.ports
            .set(place, port, None, 0)
            .map_err(|error| LoadError::map("PORTS", error))
    }

    pub(super) fn counters(&self, first: MemberId, count: u32) -> Result<Vec<Counters>, ApplyError> {
        let sums = self.sums.read(first.0, count);
        sums.map_err(|error| entries::refused("read", "COUNTERS", error))
    }

    pub(super) fn reset(&mut self, id: MemberId) -> Result<(), ApplyError> {
        let cpus = aya::util::nr_cpus().map_err(|(_, error)| ApplyError::Kernel {
            verb: "write",
            map: "COUNTERS",
            source: Box::new(error),
        })?;
        let zeros = PerCpuValues::try_from(vec![Counters::default(); cpus]).map_err(|error| ApplyError::Kernel {
            verb: "write",
            map: "COUNTERS",
            source: Box::new(error),
        })?;
        self.counters.set(id.0, zeros, 0).map_err(refused("write", "COUNTERS"))
    }

    pub(super) fn drops(&self) -> Result<Vec<(DropReason, u64)>, ApplyError> {
        let count = |&reason: &DropReason| {
            let values = self.drops.get(&(reason as u32), 0).map_err(refused("read", "DROPS"))?;
            Ok((reason, values.iter().sum()))
        };
        DropReason::ALL.iter().map(count).collect()
    }

    /// Waits until every program that is running now has ended: the kernel does so itself after the update of an
    /// element of an array of maps (`maybe_wait_bpf_programs`, Linux 5.0).
    pub(super) fn grace(&mut self) -> Result<(), ApplyError> {
        self.grace.set(0, &self.inner, 0).map_err(refused("write", "GRACE"))
    }
}
