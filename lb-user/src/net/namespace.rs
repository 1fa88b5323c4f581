//! Network namespaces, by name where they have one: the same names as `ip netns` uses, so either tool sees the other's.
//!
//! A namespace is entered by a thread. Code that must run in one gets a thread of its own ([`Namespace::run_inside`])
//! or is a child process ([`Namespace::confine`]); no shared thread ever changes its namespace, since on an async
//! runtime the next task on it would find itself elsewhere. Only the network changes: files and mounts stay those of
//! the caller.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

use super::Error;
use super::error::Context;

/// Where named namespaces are mounted.
pub const FOLDER: &str = "/run/netns";

/// The calling thread's network namespace.
const CURRENT: &str = "/proc/thread-self/ns/net";

/// A network namespace, kept alive by this value. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Namespace {
    file: Arc<File>,
}

impl Namespace {
    /// The calling thread's namespace.
    ///
    /// # Errors
    /// When /proc is not there.
    pub fn current() -> io::Result<Self> {
        Ok(Self {
            file: Arc::new(File::open(CURRENT)?),
        })
    }

    /// Makes a namespace under a name that is free. Everything in it is down, `lo` included.
    ///
    /// # Errors
    /// When the name is taken (`EEXIST`) or cannot be one, or privileges are missing.
    pub fn create(name: &str) -> Result<Self, Error> {
        let action = || format!("making network namespace {name}");
        let place = place(name).doing(action)?;
        share_folder().doing(|| format!("preparing {FOLDER} for network namespaces"))?;
        File::create_new(&place).doing(action)?;
        let made = std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    unshare(CloneFlags::CLONE_NEWNET)?;
                    mount(Some(CURRENT), &place, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
                    File::open(CURRENT)
                })
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("its thread panicked")))
        });
        match made {
            Ok(file) => Ok(Self { file: Arc::new(file) }),
            Err(refused) => {
                // Best effort: the error that matters is the one above.
                let _ = fs::remove_file(&place);
                Err(Error::new(action(), refused))
            }
        }
    }

    /// The namespace of this name.
    ///
    /// # Errors
    /// When there is none (`ENOENT`), or the name cannot be one.
    pub fn open(name: &str) -> Result<Self, Error> {
        let file = place(name)
            .and_then(File::open)
            .doing(|| format!("opening network namespace {name}"))?;
        Ok(Self { file: Arc::new(file) })
    }

    /// Is there a namespace of this name, or what is left of one?
    pub fn exists(name: &str) -> bool {
        place(name).is_ok_and(|place| place.exists())
    }

    /// Takes a name away; says whether there was one. The namespace itself, and the interfaces in it, go when the last
    /// process and the last [`Namespace`] have left it.
    ///
    /// # Errors
    /// When privileges are missing.
    pub fn delete(name: &str) -> Result<bool, Error> {
        let action = || format!("deleting network namespace {name}");
        let place = place(name).doing(action)?;
        match umount2(&place, MntFlags::MNT_DETACH) {
            // EINVAL: a plain file, left by someone who died while making one.
            Ok(()) | Err(Errno::EINVAL) => {}
            Err(Errno::ENOENT) => return Ok(false),
            Err(refused) => return Err(Error::new(action(), refused)),
        }
        match fs::remove_file(&place) {
            Err(absent) if absent.kind() == io::ErrorKind::NotFound => Ok(false),
            removed => removed.map(|()| true).doing(action),
        }
    }

    /// Names of all namespaces that have one, sorted.
    ///
    /// # Errors
    /// When the folder cannot be read. Without the folder there are none.
    pub fn names() -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(FOLDER) {
            Err(absent) if absent.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut names = Vec::new();
        for entry in entries {
            names.extend(entry?.file_name().into_string());
        }
        names.sort();
        Ok(names)
    }

    /// Device and inode, which tell this namespace from every other that lives. (The inode alone does not: the kernel
    /// promises it to be unique on its device only, see namespaces(7).)
    ///
    /// # Errors
    /// Never in practice: the file is open.
    pub fn id(&self) -> io::Result<(u64, u64)> {
        let metadata = self.file.metadata()?;
        Ok((metadata.dev(), metadata.ino()))
    }

    /// For attributes of netlink messages; open while `self` lives.
    pub(super) fn raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// Moves the calling thread into this namespace, for good. For threads that the caller made; anything else wants
    /// [`Self::run_inside`].
    ///
    /// # Errors
    /// When CAP_SYS_ADMIN is missing, unless the thread is there already: a daemon that stays in its own namespace does
    /// not need it.
    pub fn enter(&self) -> io::Result<()> {
        if Self::current()?.id()? == self.id()? {
            return Ok(());
        }
        Ok(setns(&self.file, CloneFlags::CLONE_NEWNET)?)
    }

    /// Runs `work` on a thread of its own inside this namespace, and waits for it. Sockets, /proc/sys/net and netlink
    /// connections that it opens belong to this namespace, also afterwards.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    ///
    /// # Panics
    /// When `work` does.
    pub fn run_inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| self.enter().map(|()| work()));
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Makes the processes of `command` start inside this namespace. (Of a tokio `Command`, pass `as_std_mut()`.)
    pub fn confine<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        let file = Arc::clone(&self.file);
        // SAFETY: between fork and exec the closure makes one system call, and neither allocates nor locks.
        unsafe { command.pre_exec(move || Ok(setns(&*file, CloneFlags::CLONE_NEWNET)?)) }
    }
}

/// The file of a name, which must be one path component.
fn place(name: &str) -> io::Result<PathBuf> {
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a name for a namespace",
        ));
    }
    Ok(Path::new(FOLDER).join(name))
}

/// Makes the folder a shared mount, as `ip netns add` does: a namespace that is deleted then also disappears from
/// mount namespaces that were made in the meantime, instead of being kept alive by them.
fn share_folder() -> io::Result<()> {
    fs::create_dir_all(FOLDER)?;
    // Others may be at the same, `ip` too, which takes this lock as well.
    let _lock = Flock::lock(File::open(FOLDER)?, FlockArg::LockExclusive).map_err(|(_, refused)| refused)?;
    let share = || {
        mount(
            None::<&str>,
            FOLDER,
            None::<&str>,
            MsFlags::MS_SHARED | MsFlags::MS_REC,
            None::<&str>,
        )
    };
    match share() {
        // Not a mount point yet.
        Err(Errno::EINVAL) => {
            mount(
                Some(FOLDER),
                FOLDER,
                None::<&str>,
                MsFlags::MS_BIND | MsFlags::MS_REC,
                None::<&str>,
            )?;
            Ok(share()?)
        }
        shared => Ok(shared?),
    }
}
