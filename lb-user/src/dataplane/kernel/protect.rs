//! `PROTECTION`: the sheet that packets are judged by, and which of the two first programs asks for it.
//!
//! A sheet is an array of its own, made as long as it has to be, filled, and only then put into the map of maps: a packet meets
//! the old one or the new one. The kernel waits for programs that still use the old one before it goes. The map is pinned, so
//! sources that are denied stay so while no daemon runs, and while the next one begins.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use aya::Ebpf;
use aya::maps::{ArrayOfMaps, Map, MapData};
use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_ARRAY;
use aya_obj::generated::{BPF_F_INNER_MAP, BPF_F_MMAPABLE};
use lb_common::protect::Refusals;
use lb_common::protect::prefixes::Line;
use nix::errno::Errno;
use nix::libc;

use super::super::region::Region;
use super::batch::Sums;
use super::object::{BALANCER, LoadError, PROTECTOR};
use super::{ApplyError, Kernel, entries};

const PROTECTION: &str = "PROTECTION";
const REFUSALS: &str = "REFUSALS";

/// `enum bpf_cmd` of linux/bpf.h.
const BPF_MAP_DELETE_ELEM: libc::c_int = 3;

/// What may go wrong here.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The sheet, and what it has refused.
pub(super) struct Protection {
    /// The map of maps once more, since aya empties no place of it.
    fd: OwnedFd,
    outer: ArrayOfMaps<MapData>,
    /// The one that this process has made.
    sheet: Option<Made>,
    refusals: Sums<Refusals>,
}

struct Made {
    id: u32,
    lines: Region<Line>,
}

impl Protection {
    pub(super) fn new(program: &mut Ebpf) -> Result<Self, LoadError> {
        let mut take = |name| program.take_map(name).ok_or_else(|| LoadError::map(name, "it is not there"));
        let Map::PerCpuArray(refusals) = take(REFUSALS)? else {
            return Err(LoadError::map(REFUSALS, "it is not a per-CPU array"));
        };
        let Map::ArrayOfMaps(outer) = take(PROTECTION)? else {
            return Err(LoadError::map(PROTECTION, "it is not an array of maps"));
        };
        let fd = outer.fd().as_fd().try_clone_to_owned();
        let outer = ArrayOfMaps::try_from(Map::ArrayOfMaps(outer));
        Ok(Self {
            fd: fd.map_err(|error| LoadError::map(PROTECTION, error))?,
            outer: outer.map_err(|error| LoadError::map(PROTECTION, error))?,
            sheet: None,
            refusals: Sums::new(&refusals).map_err(|error| LoadError::map(REFUSALS, error))?,
        })
    }

    /// The sheet of this process, if it is the one that packets are judged by.
    pub(super) fn lines(&self) -> Option<&[Line]> {
        let made = self.sheet.as_ref()?;
        (self.installed() == Some(made.id)).then(|| made.lines.as_slice())
    }

    /// The kernel's id of the sheet that packets are judged by, whoever has made it.
    pub(super) fn installed(&self) -> Option<u32> {
        let sheet = self.outer.get(&0, 0).ok()?;
        sheet.info().ok().map(|info| info.id())
    }

    fn put(&mut self, sheet: &[Line]) -> Result<(), Failure> {
        let count = u32::try_from(sheet.len())?;
        let size = size_of::<Line>() as u32;
        let flags = BPF_F_MMAPABLE | BPF_F_INNER_MAP;
        let array = aya_obj::Map::new_from_params(BPF_MAP_TYPE_ARRAY as u32, 4, size, count, flags);
        let array = MapData::create(array, "SHEET", None)?;
        let id = array.info()?.id();
        let mut lines = Region::mapped(array.fd(), count)?;
        lines.fill(sheet);
        self.outer.set(0, &array, 0)?;
        self.sheet = Some(Made { id, lines });
        Ok(())
    }

    fn remove(&mut self) -> Result<(), Failure> {
        self.sheet = None;
        /// `union bpf_attr`, as operations on an element see it.
        #[repr(C, align(8))]
        struct Attributes {
            map_fd: u32,
            pad: u32,
            key: u64,
            value: u64,
            flags: u64,
        }
        let key = 0_u32;
        let attributes = Attributes {
            map_fd: self.fd.as_raw_fd().cast_unsigned(),
            pad: 0,
            key: std::ptr::from_ref(&key) as u64,
            value: 0,
            flags: 0,
        };
        // SAFETY: the attributes have the size that is said, and point to a key of the map's size.
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                BPF_MAP_DELETE_ELEM,
                std::ptr::from_ref(&attributes),
                size_of::<Attributes>(),
            )
        };
        match Errno::result(result) {
            Err(Errno::ENOENT) | Ok(_) => Ok(()),
            Err(errno) => Err(io::Error::from(errno).into()),
        }
    }

    pub(super) fn refusals(&self, first: u32, count: u32) -> Result<Vec<Refusals>, ApplyError> {
        let sums = self.refusals.read(first, count);
        sums.map_err(|error| entries::refused("read", REFUSALS, error))
    }
}

impl Kernel {
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
