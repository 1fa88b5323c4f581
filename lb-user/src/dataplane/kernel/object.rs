//! The compiled program, embedded in this binary, and how it is loaded.

use std::path::{Path, PathBuf};

use aya::maps::{Map, MapData};
use aya::programs::{ProgramError, Xdp};
use aya::{Ebpf, EbpfLoader};
use lb_common::hash::{Key, Seed};
use lb_common::layout::{self, MapKind, MapLayout};
use lb_common::limits::FLOW_TABLE;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::PinError;
use super::arrays::Arrays;

/// The object file that `build.rs` chose.
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("FULCRUM_BPF_OBJECT"));

/// Name of the balancer's entry point.
pub(super) const BALANCER: &str = "fulcrum";

/// Name of the balancer's entry point where something protects its services.
pub(super) const PROTECTOR: &str = "fulcrum_protect";

/// Name of the entry point that takes its place while somebody traces.
pub(super) const TRACER: &str = "fulcrum_trace";

/// Name of the entry point that ends flows.
pub(super) const SWEEP: &str = "fulcrum_sweep";

/// Name of the entry point that removes entries of `FLOWS` and `TRACKED`.
pub(super) const REMOVE: &str = "fulcrum_remove";

/// Name of the entry point that lets everything pass.
pub(super) const PASS: &str = "fulcrum_pass";

/// Name of the entry point that opens tunnels.
pub(super) const DECAP: &str = "fulcrum_decap";

/// Name of the entry point for what the balancer's does not decide.
pub(super) const FULL: &str = "fulcrum_full";

/// Name of the entry point that answers SYNs with cookies.
pub(super) const COOKIE: &str = "fulcrum_cookie";

/// The program or its maps could not be made ready.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The pins are not usable.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// The object or a map was refused.
    #[error("cannot load the XDP program and its maps")]
    Object(#[source] aya::EbpfError),
    /// The program was refused.
    #[error("cannot {verb} the XDP program")]
    Program {
        /// `load`, `run`, `use` or `measure`.
        verb: &'static str,
        /// What the kernel said; of the verifier's report, the end.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A map is missing from the object or of another type: the object does not belong to this binary.
    #[error("map {map} of the XDP program is not what this binary expects")]
    Map {
        /// Its name.
        map: &'static str,
        /// What differs.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Maps of another layout could not be read, or the new ones not be filled.
    #[error("cannot take over the maps in {}", folder.display())]
    Carry {
        /// Where they are.
        folder: PathBuf,
        /// What went wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The program's messages cannot be read.
    #[error("cannot read the XDP program's messages")]
    Messages(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl LoadError {
    pub(super) fn program(verb: &'static str) -> impl Fn(ProgramError) -> Self {
        move |source| Self::Program {
            verb,
            source: Box::new(source),
        }
    }

    pub(super) fn map(map: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Map {
            map,
            source: source.into(),
        }
    }
}

/// Loads the balancer with `maps`, pinned in `folder` or private ones.
pub(super) fn load(seed: Seed, maps: &[MapLayout], folder: Option<&Path>) -> Result<(Ebpf, Arrays), LoadError> {
    let arrays = Arrays::open(maps, folder)?;
    let paths: Vec<(&str, PathBuf)> = folder.map_or_else(Vec::new, |folder| {
        maps.iter().map(|m| (m.name, folder.join(m.name))).collect()
    });
    let mut loader = EbpfLoader::new();
    for map in maps {
        loader.map_max_entries(map.name, map.entries);
    }
    let Key(key) = seed.into();
    loader.override_global("HASH_KEY", &key, true);
    for (name, path) in paths {
        loader.map_pin_path(name, path);
    }
    let mut program = loader.load(&arrays.address(OBJECT)).map_err(LoadError::Object)?;
    if let Some(folder) = folder {
        check_types(&program, maps, folder)?;
    }
    for entry in [BALANCER, PROTECTOR, FULL, COOKIE, SWEEP, REMOVE] {
        xdp(&mut program, entry)?.load().map_err(LoadError::program("load"))?;
    }
    Ok((program, arrays))
}

/// Compares the types of pinned maps with those that the object declares: aya believes the object.
fn check_types(program: &Ebpf, maps: &[MapLayout], folder: &Path) -> Result<(), LoadError> {
    for map in maps {
        let path = folder.join(map.name);
        let pinned = MapData::from_pin(&path).and_then(Map::from_map_data);
        let pinned = pinned.map_err(|error| LoadError::map(map.name, error))?;
        let is_same = |declared| std::mem::discriminant(declared) == std::mem::discriminant(&pinned);
        let is_right = match map.kind {
            MapKind::Mapped => matches!(pinned, Map::Array(_)),
            _ => program.map(map.name).is_some_and(is_same),
        };
        if !is_right {
            let difference = "it is of another type".to_owned();
            return Err(PinError::Foreign { path, difference }.into());
        }
    }
    Ok(())
}

/// Loads only the program `entry`, with the balancer's maps as small as can be.
pub(super) fn load_alone(entry: &'static str) -> Result<Ebpf, LoadError> {
    let mut loader = EbpfLoader::new();
    for map in layout::maps(FLOW_TABLE) {
        loader.map_max_entries(map.name, 1);
    }
    let mut program = loader.load(OBJECT).map_err(LoadError::Object)?;
    xdp(&mut program, entry)?.load().map_err(LoadError::program("load"))?;
    Ok(program)
}

/// An entry point of the object.
pub(super) fn xdp<'a>(program: &'a mut Ebpf, name: &'static str) -> Result<&'a mut Xdp, LoadError> {
    let missing = || LoadError::Program {
        verb: "find",
        source: format!("the object has no program `{name}`").into(),
    };
    program
        .program_mut(name)
        .ok_or_else(missing)?
        .try_into()
        .map_err(LoadError::program("use"))
}

/// Reads the message buffer whenever the program has written there.
pub(super) fn forward_messages(program: &mut Ebpf) -> Result<(), LoadError> {
    let logger = aya_log::EbpfLogger::init(program).map_err(|e| LoadError::Messages(e.into()))?;
    // SAFETY: the logger owns its file descriptor and keeps it open, the same one, as long as it lives.
    let mut logger = unsafe { AsyncFd::register_with_interest(logger, Interest::READABLE) }
        .map_err(|e| LoadError::Messages(std::io::Error::from(e).into()))?;
    tokio::spawn(async move {
        while let Ok(mut ready) = logger.readable_mut().await {
            ready.get_inner_mut().flush();
            ready.clear_ready();
        }
    });
    Ok(())
}
