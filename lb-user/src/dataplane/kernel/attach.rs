//! Attaching the program to interfaces, through links that are pinned.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aya::Ebpf;
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::XdpLinkId;
use aya::programs::{ProgramError, Xdp, XdpMode as AyaMode};
use nix::libc;

use super::object::{self, LoadError};
use super::{Kernel, PinError, pins};
use crate::model::status::AttachMode;
use crate::model::{Interface, XdpMode, chain};

/// How the program sits on an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Where on its receive path.
    pub mode: AttachMode,
    /// Why it is not native although that was tried first.
    pub fallback: Option<String>,
    /// It was not there before.
    pub is_new: bool,
}

/// The program could not be attached.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The kernel refused.
    #[error("cannot attach to {interface} in {} mode{hint}", mode.label())]
    Refused {
        /// The interface.
        interface: String,
        /// How it was tried.
        mode: AttachMode,
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

/// In the order in which they are tried. A pin's name ends in the label.
const MODES: [AttachMode; 2] = [AttachMode::Native, AttachMode::Generic];

impl Kernel {
    /// Attaches to `interfaces`, or swaps the program of the links that are pinned for them, and takes the program off
    /// all others. Several interfaces are all attached in one mode. Without a pin folder the attachment ends with the
    /// process.
    pub(super) fn attach_all(
        &mut self,
        interfaces: &[Interface],
        mode: XdpMode,
    ) -> Result<Vec<Result<Attachment, AttachError>>, AttachError> {
        let folder = self.pin_dir.as_deref().map(pins::prepare_links).transpose()?;
        let folder = folder.as_deref();
        if let Some(folder) = folder {
            remove_strays(folder, interfaces)?;
        }
        self.counting
            .keep_nics(|index| interfaces.iter().any(|i| i.index == index))?;
        // All of them first: as soon as one runs the program, it sends to the others.
        let known: Vec<_> = interfaces
            .iter()
            .map(|i| self.counting.set_nic(i.index, i.mac))
            .collect();
        // The program that is attached hands packets to these from now on.
        self.fill_stages()?;
        let mut all: Vec<_> = Vec::with_capacity(interfaces.len());
        for (interface, known) in interfaces.iter().zip(known) {
            let attached = known.map_err(AttachError::from);
            all.push(attached.and_then(|()| self.attach_one(interface, mode, folder)));
        }
        // What XDP redirects natively gets lost in a NIC whose driver has no native XDP: all of them or none.
        let mut both = interfaces.iter().zip(&all);
        let generic = both.find(|(_, a)| a.as_ref().is_ok_and(|a| a.mode == AttachMode::Generic));
        if let Some((generic, _)) = generic {
            let reason = format!("{} refuses it, and packets go between them", generic.name);
            for (interface, attached) in interfaces.iter().zip(&mut all) {
                if attached.as_ref().is_ok_and(|a| a.mode == AttachMode::Native) {
                    *attached = self
                        .attach_one(interface, XdpMode::Generic, folder)
                        .map(|attachment| Attachment {
                            fallback: Some(reason.clone()),
                            ..attachment
                        });
                }
            }
        }
        Ok(all)
    }

    fn attach_one(
        &mut self,
        interface: &Interface,
        mode: XdpMode,
        folder: Option<&Path>,
    ) -> Result<Attachment, AttachError> {
        let attachment = |mode, fallback| Attachment {
            mode,
            fallback,
            is_new: true,
        };
        let wanted = |attached: AttachMode| match mode {
            XdpMode::Auto => true,
            XdpMode::Native => attached == AttachMode::Native,
            XdpMode::Generic => attached == AttachMode::Generic,
        };
        for mode in MODES {
            let path = folder.map(|f| pins::link(f, &interface.name, mode.label()));
            let Some(path) = path.filter(|p| p.exists()) else {
                continue;
            };
            if wanted(mode) && self.swap(&path) {
                return Ok(Attachment {
                    is_new: false,
                    ..attachment(mode, None)
                });
            }
            // Of another mode, or dead.
            pins::remove_link(&path)?;
        }
        if mode == XdpMode::Generic {
            self.link(interface, AttachMode::Generic, folder)?;
            return Ok(attachment(AttachMode::Generic, None));
        }
        match self.link(interface, AttachMode::Native, folder) {
            Ok(()) => Ok(attachment(AttachMode::Native, None)),
            Err(refused @ AttachError::Refused { .. }) if mode == XdpMode::Auto && !refused.is_busy() => {
                self.link(interface, AttachMode::Generic, folder)?;
                Ok(attachment(AttachMode::Generic, Some(refused.reason())))
            }
            Err(error) => Err(error),
        }
    }

    /// Puts the program in place of the one that a pinned link runs; false when the link is dead.
    pub(super) fn swap(&mut self, path: &Path) -> bool {
        let mut swap = || -> Result<(), Box<dyn std::error::Error>> {
            let link = FdLink::from(PinnedLink::from_pin(path)?);
            let xdp = object::xdp(&mut self.program, self.entry)?;
            let id = xdp.attach_to_link(link.try_into()?)?;
            // Ours to drop: the pin keeps the link.
            drop(xdp.take_link(id)?);
            Ok(())
        };
        swap()
            .inspect_err(|error| tracing::debug!(%error, ?path, "the pinned link is of no use"))
            .is_ok()
    }

    fn link(&mut self, interface: &Interface, mode: AttachMode, folder: Option<&Path>) -> Result<(), AttachError> {
        let path = folder.map(|f| pins::link(f, &interface.name, mode.label()));
        let attach = |xdp: &mut Xdp, mode| xdp.attach_to_if_index(interface.index, mode);
        link(&mut self.program, self.entry, &interface.name, attach, mode, path)
    }
}

/// Removes the links of interfaces that are not wanted, and those that are on another interface than the one that has
/// the name now: it was renamed, or is gone.
fn remove_strays(folder: &Path, interfaces: &[Interface]) -> Result<(), PinError> {
    for path in pins::entries(folder)? {
        let name = pins::interface_of(&path);
        let there = interfaces.iter().find(|interface| interface.name == name);
        if there.is_none_or(|interface| index_of(&path).is_some_and(|index| index != interface.index)) {
            pins::remove_link(&path)?;
        }
    }
    Ok(())
}

/// The index of the interface that a pinned link is on, 0 when that is gone; `None` when the kernel does not say. It
/// does in what /proc tells of the link's file descriptor, which is found by the link's id, since aya keeps it to itself.
fn index_of(path: &Path) -> Option<u32> {
    let link = FdLink::from(PinnedLink::from_pin(path).ok()?);
    let id = link.info().ok()?.id();
    fs::read_dir("/proc/self/fdinfo").ok()?.find_map(|descriptor| {
        let text = fs::read_to_string(descriptor.ok()?.path()).ok()?;
        link_index(&text, id)
    })
}

/// The `ifindex` of an XDP link's `fdinfo`, if it is that of the link with this id.
fn link_index(fdinfo: &str, id: u32) -> Option<u32> {
    let field = |name: &str| {
        let mut lines = fdinfo.lines().filter_map(|line| line.split_once(':'));
        lines.find_map(|(key, value)| (key == name).then(|| value.trim().parse::<u32>().ok())?)
    };
    field("ifindex").filter(|_| field("link_id") == Some(id))
}

/// Attaches `entry` to `interface`, and pins the link at `path`; without a path, the link lives as long as `program`.
pub(super) fn link(
    program: &mut Ebpf,
    entry: &'static str,
    interface: &str,
    attach: impl FnOnce(&mut Xdp, AyaMode) -> Result<XdpLinkId, ProgramError>,
    mode: AttachMode,
    path: Option<PathBuf>,
) -> Result<(), AttachError> {
    let flag = match mode {
        AttachMode::Native => AyaMode::Driver,
        AttachMode::Generic => AyaMode::Skb,
    };
    let xdp = object::xdp(program, entry)?;
    let refused = |error: ProgramError| AttachError::Refused {
        interface: interface.to_owned(),
        mode,
        hint: hint(&error),
        source: Box::new(error),
    };
    let id = attach(xdp, flag).map_err(refused)?;
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
        pins::create(folder)?;
    }
    link(
        &mut object::load_alone(object::PASS)?,
        object::PASS,
        interface,
        |xdp, mode| xdp.attach(interface, mode),
        AttachMode::Native,
        Some(pin.to_owned()),
    )
}

impl AttachError {
    /// Another program is there: another mode would not help.
    pub(super) fn is_busy(&self) -> bool {
        matches!(self, Self::Refused { hint, .. } if *hint == BUSY)
    }

    /// What the kernel said, with its causes.
    pub(super) fn reason(&self) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_where_its_descriptor_says() {
        let text =
            "pos:\t0\nflags:\t02000002\nlink_type:\txdp\nlink_id:\t7\nprog_tag:\t0a1b\nprog_id:\t9\nifindex:\t3\n";
        assert_eq!(link_index(text, 7), Some(3));
        assert_eq!(link_index(text, 9), None, "another link's");
        assert_eq!(
            link_index(&text.replace("ifindex:\t3", "ifindex:\t0"), 7),
            Some(0),
            "gone"
        );
        assert_eq!(
            link_index("pos:\t0\nlink_id:\t7\n", 7),
            None,
            "no link of XDP, or an old kernel"
        );
        assert_eq!(link_index("", 7), None);
    }
}
