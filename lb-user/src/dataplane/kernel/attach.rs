//! Attaching the program to interfaces, through links that are pinned.

use std::io;
use std::path::{Path, PathBuf};

use aya::Ebpf;
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::{ProgramError, XdpMode as AyaMode};
use nix::libc;

use super::object::{self, LoadError};
use super::{Kernel, PinError, pins};
use crate::model::{XdpMode, chain};

/// How the program sits on an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The interface.
    pub interface: String,
    /// In the driver, and not in the kernel's receive path.
    pub native: bool,
    /// Why it is not native although that was tried first.
    pub fallback: Option<String>,
}

/// The program could not be attached.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The kernel refused.
    #[error("cannot attach to {interface} in {mode} mode{hint}")]
    Refused {
        /// The interface.
        interface: String,
        /// `native` or `generic`.
        mode: &'static str,
        /// What to do about it, if that is known.
        hint: &'static str,
        /// What the kernel said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Attached in the old way, which cannot be pinned.
    #[error("the kernel attached to {interface} without a link that can be pinned; Linux 5.9 or later is needed")]
    NotPinnable {
        /// The interface.
        interface: String,
    },
    /// The pin could not be made.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// The program is not ready.
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// Native or generic: what a pin's name ends in.
const MODES: [(bool, &str); 2] = [(true, "native"), (false, "generic")];

impl Kernel {
    /// Attaches to `interfaces`, or swaps the program of the links that are pinned for them, and takes the program off
    /// all others. Several interfaces are all attached in one mode. Without a pin folder the attachment ends with the
    /// process. Maps of another layout are taken over to the end.
    ///
    /// # Errors
    /// When an interface refuses; those before it stay attached.
    pub fn attach(&mut self, interfaces: &[String], mode: XdpMode) -> Result<Vec<Attachment>, AttachError> {
        self.before_swap()?;
        let attached = self.attach_all(interfaces, mode);
        self.after_swap(attached.is_ok());
        attached
    }

    fn attach_all(&mut self, interfaces: &[String], mode: XdpMode) -> Result<Vec<Attachment>, AttachError> {
        let folder = self.pin_dir.as_deref().map(pins::prepare_links).transpose()?;
        if let Some(folder) = &folder {
            pins::remove_links(folder, |interface| !interfaces.iter().any(|i| i == interface))?;
        }
        let mut all = Vec::with_capacity(interfaces.len());
        for interface in interfaces {
            all.push(self.attach_one(interface, mode, folder.as_deref())?);
        }
        // What XDP redirects natively gets lost in a NIC whose driver has no native XDP: all of them or none.
        let generic = all.iter().find(|a| !a.native).map(|a| a.interface.clone());
        if let Some(generic) = generic {
            for attachment in all.iter_mut().filter(|a| a.native) {
                *attachment = self.attach_one(&attachment.interface, XdpMode::Generic, folder.as_deref())?;
                attachment.fallback = Some(format!("{generic} refuses it, and packets go between them"));
            }
        }
        Ok(all)
    }

    fn attach_one(&mut self, interface: &str, mode: XdpMode, folder: Option<&Path>) -> Result<Attachment, AttachError> {
        let attachment = |native, fallback| Attachment {
            interface: interface.to_owned(),
            native,
            fallback,
        };
        let wanted = |native: bool| match mode {
            XdpMode::Auto => true,
            XdpMode::Native => native,
            XdpMode::Generic => !native,
        };
        for (native, name) in MODES {
            let Some(path) = folder.map(|f| pins::link(f, interface, name)).filter(|p| p.exists()) else {
                continue;
            };
            if wanted(native) && self.swap(&path) {
                return Ok(attachment(native, None));
            }
            // Of another mode, or of a NIC that is gone.
            pins::remove_link(&path)?;
        }
        if mode == XdpMode::Generic {
            self.link(interface, false, folder)?;
            return Ok(attachment(false, None));
        }
        match self.link(interface, true, folder) {
            Ok(()) => Ok(attachment(true, None)),
            Err(refused @ AttachError::Refused { .. }) if mode == XdpMode::Auto && !refused.is_busy() => {
                self.link(interface, false, folder)?;
                Ok(attachment(false, Some(refused.reason())))
            }
            Err(error) => Err(error),
        }
    }

    /// Puts the program in place of the one that a pinned link runs; false when the link is dead.
    fn swap(&mut self, path: &Path) -> bool {
        let mut swap = || -> Result<(), Box<dyn std::error::Error>> {
            let link = FdLink::from(PinnedLink::from_pin(path)?);
            let xdp = object::xdp(&mut self.program, object::BALANCER)?;
            let id = xdp.attach_to_link(link.try_into()?)?;
            // Ours to drop: the pin keeps the link.
            drop(xdp.take_link(id)?);
            Ok(())
        };
        swap()
            .inspect_err(|error| tracing::debug!(%error, ?path, "the pinned link is of no use"))
            .is_ok()
    }

    fn link(&mut self, interface: &str, native: bool, folder: Option<&Path>) -> Result<(), AttachError> {
        let name = if native { "native" } else { "generic" };
        let path = folder.map(|f| pins::link(f, interface, name));
        link(&mut self.program, object::BALANCER, interface, native, path)
    }
}

/// Attaches `entry` to `interface`, and pins the link at `path`; without a path, the link lives as long as `program`.
fn link(
    program: &mut Ebpf,
    entry: &'static str,
    interface: &str,
    native: bool,
    path: Option<PathBuf>,
) -> Result<(), AttachError> {
    let mode = if native { AyaMode::Driver } else { AyaMode::Skb };
    let xdp = object::xdp(program, entry)?;
    let refused = |error: ProgramError| AttachError::Refused {
        interface: interface.to_owned(),
        mode: if native { "native" } else { "generic" },
        hint: hint(&error),
        source: Box::new(error),
    };
    let id = xdp.attach(interface, mode).map_err(refused)?;
    let Some(path) = path else { return Ok(()) };
    let link = xdp.take_link(id).map_err(refused)?;
    let link = FdLink::try_from(link).map_err(|_| AttachError::NotPinnable {
        interface: interface.to_owned(),
    })?;
    link.pin(&path)
        .map_err(|error| PinError::at("pin the link at", &path, io::Error::other(error)))?;
    Ok(())
}

/// Attaches, natively, a program that lets everything pass, and pins its link at `pin`, whose folder is made. What the
/// other end of a veth pair needs before it takes packets that XDP sends.
///
/// # Errors
/// When the kernel refuses, or the pin is not on a bpffs.
pub fn attach_pass(interface: &str, pin: &Path) -> Result<(), AttachError> {
    if let Some(folder) = pin.parent() {
        std::fs::create_dir_all(folder).map_err(|error| PinError::at("create", folder, error))?;
    }
    link(
        &mut object::load_pass()?,
        object::PASS,
        interface,
        true,
        Some(pin.to_owned()),
    )
}

impl AttachError {
    /// Another program is there: another mode would not help.
    fn is_busy(&self) -> bool {
        matches!(self, Self::Refused { hint, .. } if *hint == BUSY)
    }

    /// What the kernel said, with its causes.
    fn reason(&self) -> String {
        std::error::Error::source(self).map_or_else(|| chain(self), chain)
    }
}

const BUSY: &str = ": another XDP program is attached there (`ip link show` names it); take it off first";

/// What to do about a refusal.
fn hint(error: &ProgramError) -> &'static str {
    let code = match error {
        ProgramError::SyscallError(error) => error.io_error.raw_os_error(),
        _ => None,
    };
    match code {
        Some(libc::EBUSY | libc::EEXIST) => BUSY,
        Some(libc::EOPNOTSUPP) => ": the driver has no native XDP; use xdp-mode = \"generic\"",
        Some(libc::ERANGE | libc::EINVAL) => ": the driver refuses; MTU above 3,500 bytes or LRO often are the cause",
        _ => "",
    }
}
