//! `PROTECTION`: the sheet that packets are judged by, and which of the two first programs asks for it.
//!
//! A sheet is made of maps of its own, which are filled and only then put into the maps of maps: first what does not fit into its
//! head, into the place of `LISTS` that the old one does not use, then the head. So a packet meets the old one or the new one. The
//! kernel waits for programs that still use the old one before it goes. Both maps are pinned, so sources that are denied stay so
//! while no daemon runs, and while the next one begins.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use aya::Ebpf;
use aya::maps::{ArrayOfMaps, Map, MapData};
use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_ARRAY;
use aya_obj::generated::{BPF_F_INNER_MAP, BPF_F_MMAPABLE};
use lb_common::protect::kept::SETTLES;
use lb_common::protect::prefixes::Line;
use lb_common::protect::{HEAD, Header, Refusals, Sheet as _};
use nix::errno::Errno;
use nix::libc;
use nix::time::{ClockId, clock_gettime};

use super::super::region::{Region, store_u64};
use super::arrays::Arrays;
use super::batch::Sums;
use super::object::{BALANCER, LoadError, PROTECTOR};
use super::{ApplyError, Kernel, SheetView, entries, maps};

const PROTECTION: &str = "PROTECTION";
const LISTS: &str = "LISTS";
const REFUSALS: &str = "REFUSALS";

/// `enum bpf_cmd` of linux/bpf.h.
const BPF_MAP_LOOKUP_ELEM: libc::c_int = 1;
const BPF_MAP_DELETE_ELEM: libc::c_int = 3;

/// What may go wrong here.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The sheet, and what it has refused.
pub(super) struct Protection {
    heads: Places,
    lists: Places,
    /// The place in `LISTS` that the sheet uses, or the last one did.
    place: u32,
    /// The one that this process has made.
    sheet: Option<Made>,
    refusals: Sums<Refusals>,
    /// `COOKIES`, as words. The first is [`Kept::from`](lb_common::protect::kept::Kept::from), the others are the program's.
    cookies: Region<u64>,
}

struct Made {
    /// The kernel's number of its head.
    id: u32,
    head: Region<Line>,
    rest: Option<Region<Line>>,
}

impl Protection {
    pub(super) fn new(program: &mut Ebpf, arrays: &Arrays) -> Result<Self, LoadError> {
        // Not taken out: a program that is loaded later needs it too.
        let Some(Map::PerCpuArray(refusals)) = program.map(REFUSALS) else {
            return Err(LoadError::map(REFUSALS, "it is not a per-CPU array"));
        };
        let refusals = Sums::new(refusals).map_err(|error| LoadError::map(REFUSALS, error))?;
        let cookies = maps::cookies(program, arrays)?;
        let (heads, lists) = (Places::new(program, PROTECTION)?, Places::new(program, LISTS)?);
        let mut protection = Self {
            place: place(&heads).unwrap_or_else(|| u32::from(lists.id(0).is_none())),
            heads,
            lists,
            sheet: None,
            refusals,
            cookies,
        };
        // Their places may have been others, with another seed.
        protection.believe_stamps_from(0);
        Ok(protection)
    }

    /// The sheet of this process, if it is the one that packets are judged by.
    pub(super) fn view(&self) -> Option<SheetView<'_>> {
        let made = self.sheet.as_ref().filter(|made| self.installed() == Some(made.id))?;
        Some(SheetView {
            head: made.head.as_slice(),
            rest: made.rest.as_ref().map_or(&[], Region::as_slice),
        })
    }

    /// The kernel's number of the sheet that packets are judged by, whoever has made it.
    pub(super) fn installed(&self) -> Option<u32> {
        self.heads.id(0)
    }

    fn put(&mut self, sheet: &[Line]) -> Result<(), Failure> {
        let (first, behind) = sheet.split_at_checked(HEAD as usize).unwrap_or((sheet, &[]));
        let old = self.place;
        let place = 1 - old;
        let rest = match behind {
            [] => None,
            behind => {
                let (map, lines) = filled(LIST, size_of::<Line>(), behind.len(), BPF_F_INNER_MAP, behind)?;
                self.lists.0.set(place, &map, 0)?;
                Some(lines)
            }
        };
        let (map, mut head) = filled(SHEET, size_of::<Line>() * HEAD as usize, 1, 0, first)?;
        let header = first.header().ok_or("a sheet begins with its header")?;
        let header = Header { rest: place, ..*header };
        *head.get_mut(0).ok_or("it is too small")? = header.to_line();
        let id = map.info()?.id();
        self.settle_stamps()?;
        // Returns when no program that runs has the old one.
        self.heads.0.set(0, &map, 0)?;
        self.sheet = Some(Made { id, head, rest });
        self.place = place;
        self.lists.empty(old)
    }

    fn remove(&mut self) -> Result<(), Failure> {
        self.sheet = None;
        self.heads.empty(0)?;
        self.lists.empty(0)?;
        self.lists.empty(1)
    }

    /// The program is where it was not before: what came there has gone on without stamps.
    pub(super) fn is_attached(&mut self) {
        if self.sheet.is_some() && self.settle_stamps().is_err() {
            self.believe_stamps_from(0);
        }
    }

    /// What is for services that a sheet protects may have gone on without stamps until now.
    fn settle_stamps(&mut self) -> nix::Result<()> {
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC)?;
        let now = now.tv_sec().cast_unsigned() * 1_000_000_000 + now.tv_nsec().cast_unsigned();
        self.believe_stamps_from(now + SETTLES);
        Ok(())
    }

    /// From when on stamps of flows are believed, of the program's clock; 0: never.
    fn believe_stamps_from(&mut self, time: u64) {
        if let Some(from) = self.cookies.get_mut(0) {
            store_u64(from, time);
        }
    }

    pub(super) fn refusals(&self, first: u32, count: u32) -> Result<Vec<Refusals>, ApplyError> {
        let sums = self.refusals.read(first, count);
        sums.map_err(|error| entries::refused("read", REFUSALS, error))
    }
}

/// The place in `LISTS` that an earlier run's sheet uses, if it can be looked at: a map is opened by its number only with
/// CAP_SYS_ADMIN, which the daemon has at its start at most. Otherwise the place that is taken tells; both are for the moment
/// of a change.
fn place(heads: &Places) -> Option<u32> {
    let head = heads.0.get(&0, 0).ok()?;
    let head = Region::<Line>::mapped(head.fd(), HEAD).ok()?;
    head.as_slice().header().map(|header| header.rest & 1)
}

/// Names that the kernel has for maps of a sheet.
const SHEET: &str = "SHEET";
const LIST: &str = "LIST";

/// An array of `count` elements of so many bytes, for a place of a map of maps, with these lines at its beginning.
fn filled(
    name: &str,
    bytes: usize,
    count: usize,
    flags: u32,
    lines: &[Line],
) -> Result<(MapData, Region<Line>), Failure> {
    let (bytes, count) = (u32::try_from(bytes)?, u32::try_from(count)?);
    let flags = BPF_F_MMAPABLE | flags;
    let array = aya_obj::Map::new_from_params(BPF_MAP_TYPE_ARRAY as u32, 4, bytes, count, flags);
    let map = MapData::create(array, name, None)?;
    let all = u64::from(bytes) * u64::from(count) / size_of::<Line>() as u64;
    let mut region = Region::mapped(map.fd(), u32::try_from(all)?)?;
    region.fill(lines);
    Ok((map, region))
}

/// A map of maps.
struct Places(ArrayOfMaps<MapData>, OwnedFd);

impl Places {
    fn new(program: &mut Ebpf, name: &'static str) -> Result<Self, LoadError> {
        let Some(Map::ArrayOfMaps(map)) = program.take_map(name) else {
            return Err(LoadError::map(name, "it is not an array of maps"));
        };
        let fd = map.fd().as_fd().try_clone_to_owned();
        let fd = fd.map_err(|error| LoadError::map(name, error))?;
        let map = ArrayOfMaps::try_from(Map::ArrayOfMaps(map));
        Ok(Self(map.map_err(|error| LoadError::map(name, error))?, fd))
    }

    /// The kernel's number of the map in a place.
    fn id(&self, place: u32) -> Option<u32> {
        let mut id = 0;
        self.element(BPF_MAP_LOOKUP_ELEM, place, Some(&mut id)).ok()?;
        Some(id)
    }

    /// Empties a place; one that is empty is fine.
    fn empty(&self, place: u32) -> Result<(), Failure> {
        match self.element(BPF_MAP_DELETE_ELEM, place, None) {
            Err(Errno::ENOENT) | Ok(()) => Ok(()),
            Err(errno) => Err(io::Error::from(errno).into()),
        }
    }

    /// An operation on an element that aya does not offer, with a value if it has one.
    fn element(&self, command: libc::c_int, place: u32, value: Option<&mut u32>) -> nix::Result<()> {
        /// `union bpf_attr`, as operations on an element see it.
        #[repr(C, align(8))]
        struct Attributes {
            map_fd: u32,
            pad: u32,
            key: u64,
            value: u64,
            flags: u64,
        }
        let attributes = Attributes {
            map_fd: self.1.as_raw_fd().cast_unsigned(),
            pad: 0,
            key: std::ptr::from_ref(&place) as u64,
            value: value.map_or(0, |value| std::ptr::from_mut(value) as u64),
            flags: 0,
        };
        // SAFETY: the attributes have the size that is said, and point to a key and a value of the map's sizes.
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                command,
                std::ptr::from_ref(&attributes),
                size_of::<Attributes>(),
            )
        };
        Errno::result(result).map(drop)
    }
}

impl Kernel {
    /// Believes stamps of flows at once, and not only when they must be there: for measurements without connections.
    pub fn believe_stamps(&mut self) {
        self.protection.believe_stamps_from(1);
    }

    /// See [`Dataplane::protect`](crate::dataplane::Dataplane::protect).
    pub(super) fn protect_by(&mut self, sheet: Option<&[Line]>) -> Result<(), ApplyError> {
        let refused = |source: Failure| ApplyError::Kernel {
            verb: "write",
            map: PROTECTION,
            source,
        };
        let switched = |error: LoadError| refused(error.into());
        match sheet {
            Some(sheet) => {
                self.protection.put(sheet).map_err(refused)?;
                self.begin_with(PROTECTOR).map_err(switched)
            }
            None => {
                self.begin_with(BALANCER).map_err(switched)?;
                if self.protection.installed().is_none() {
                    return Ok(());
                }
                self.protection.remove().map_err(refused)
            }
        }
    }
}
