//! `STAGES`: the programs that the first one hands packets on to.
//!
//! They belong to one load of the object, with its interfaces. The map is pinned, and empties when nothing holds it, so it
//! stays as long as a program that is attached may look there; an old one may meet a stage of the new one, and the new
//! one's interfaces are known by then.

use aya::Ebpf;
use aya::maps::{MapData, ProgramArray};
use aya::programs::Xdp;
use lb_common::limits::{STAGE_COOKIE, STAGE_FIRST, STAGE_FULL};

use super::object::{COOKIE, FULL, LoadError};

pub(super) struct Stages(ProgramArray<MapData>);

impl Stages {
    pub(super) fn new(program: &mut Ebpf) -> Result<Self, LoadError> {
        let map = program.take_map("STAGES");
        let map = map.ok_or_else(|| LoadError::map("STAGES", "it is not there"))?;
        let map = ProgramArray::try_from(map).map_err(|error| LoadError::map("STAGES", error))?;
        Ok(Self(map))
    }

    /// Puts the stages of `program` in their places: `first` is the one for packets that are not traced while some are.
    pub(super) fn fill(&mut self, program: &Ebpf, first: &'static str) -> Result<(), LoadError> {
        for (place, name) in [(STAGE_FULL, FULL), (STAGE_COOKIE, COOKIE), (STAGE_FIRST, first)] {
            let stage: &Xdp = program
                .program(name)
                .ok_or_else(|| LoadError::map("STAGES", format!("the object has no program `{name}`")))?
                .try_into()
                .map_err(LoadError::program("use"))?;
            let fd = stage.fd().map_err(LoadError::program("use"))?;
            self.0
                .set(place, fd, 0)
                .map_err(|error| LoadError::map("STAGES", error))?;
        }
        Ok(())
    }
}
