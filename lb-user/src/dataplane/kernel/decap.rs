//! The program that opens tunnels, on backends: it needs no daemon, no pins and none of the balancer's maps.

use aya::Ebpf;
use aya::maps::{Array, MapError, PerCpuArray};
use lb_common::decap::{SOURCES, Sources};

use super::attach::{self, AttachError, Attachment};
use super::object::{self, LoadError};
use crate::model::status::AttachMode;
use crate::model::{Prefix, XdpMode};

/// The program, loaded. It leaves its interfaces when this is dropped, and when the process is killed.
pub struct Decap {
    program: Ebpf,
}

impl Decap {
    /// Loads it. It opens packets from the given prefixes, or from everywhere when none is given.
    ///
    /// # Errors
    /// When the kernel refuses, or there are more than [`SOURCES`] prefixes.
    pub fn load(from: &[Prefix]) -> Result<Self, LoadError> {
        const MAP: &str = "DECAP_FROM";
        let mut program = object::load_alone(object::DECAP)?;
        let map = program.map_mut(MAP).ok_or_else(|| LoadError::map(MAP, "missing"))?;
        let mut places: Array<_, Sources> = map.try_into().map_err(|e: MapError| LoadError::map(MAP, e))?;
        if from.len() > SOURCES as usize {
            return Err(LoadError::map(MAP, format!("it holds {SOURCES} prefixes")));
        }
        let all = from.iter().copied().map(Sources::from);
        // A place that is left as it is holds everybody's.
        if let Some(last) = all.clone().next_back() {
            for (place, sources) in all.chain(std::iter::repeat(last)).take(SOURCES as usize).enumerate() {
                let set = places.set(place as u32, sources, 0);
                set.map_err(|error| LoadError::map(MAP, error))?;
            }
        }
        Ok(Self { program })
    }

    /// Attaches it to an interface.
    ///
    /// # Errors
    /// When there is no such interface, another XDP program is there, or the kernel refuses.
    pub fn attach(&mut self, interface: &str, mode: XdpMode) -> Result<Attachment, AttachError> {
        let (first, second) = match mode {
            XdpMode::Auto => (AttachMode::Native, Some(AttachMode::Generic)),
            XdpMode::Native => (AttachMode::Native, None),
            XdpMode::Generic => (AttachMode::Generic, None),
        };
        match (self.link(interface, first), second) {
            (Err(refused @ AttachError::Refused { .. }), Some(second)) if !refused.is_busy() => {
                self.link(interface, second)?;
                Ok(Attachment {
                    mode: second,
                    fallback: Some(refused.reason()),
                    is_new: true,
                })
            }
            (done, _) => done.map(|()| Attachment {
                mode: first,
                fallback: None,
                is_new: true,
            }),
        }
    }

    fn link(&mut self, interface: &str, mode: AttachMode) -> Result<(), AttachError> {
        attach::link(
            &mut self.program,
            object::DECAP,
            interface,
            |xdp, mode| xdp.attach(interface, mode),
            mode,
            None,
        )
    }

    /// Packets that it has taken out of others.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn count(&self) -> Result<u64, LoadError> {
        const MAP: &str = "DECAPPED";
        let map = self.program.map(MAP).ok_or_else(|| LoadError::map(MAP, "missing"))?;
        let map: PerCpuArray<_, u64> = map.try_into().map_err(|e: MapError| LoadError::map(MAP, e))?;
        let each = map.get(&0, 0).map_err(|error| LoadError::map(MAP, error))?;
        Ok(each.iter().sum())
    }
}
