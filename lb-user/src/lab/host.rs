//! A host of a lab that is up, as its processes see it: a network of its own, a name of its own, and /etc/hosts with the
//! lab's names. Everything else is the machine's.

use std::ffi::CString;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use super::file::File;
use super::file::value::Url;
use super::state::Lab;
use crate::net::Namespace;

/// Names that the C library looks up by itself.
const HOSTS: &str = "/etc/hosts";

/// A host.
#[derive(Clone, Debug)]
pub(super) struct Host {
    pub(super) name: String,
    pub(super) namespace: Namespace,
    /// Where its files are.
    pub(super) folder: PathBuf,
    /// What it has for /etc/hosts.
    hosts: Option<CString>,
}

impl Host {
    /// # Errors
    /// When it has no namespace.
    pub(super) fn open(lab: &Lab, name: &str) -> anyhow::Result<Self> {
        let hosts = lab.hosts_file();
        let over = hosts.is_file() && Path::new(HOSTS).is_file();
        Ok(Self {
            name: name.to_owned(),
            namespace: Namespace::open(&namespace(lab.name(), name))?,
            folder: lab.host(name),
            hosts: if over {
                Some(CString::new(hosts.into_os_string().into_encoded_bytes())?)
            } else {
                None
            },
        })
    }

    /// Makes a command run here. `fulcrum` is found by it, and finds the host's daemon.
    pub(super) fn confine<'c>(&self, command: &'c mut Command) -> anyhow::Result<&'c mut Command> {
        use std::os::unix::process::CommandExt;
        let own = std::env::current_exe().context("finding the program itself")?;
        let folders = own.parent().map(Path::to_owned).into_iter();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(folders.chain(std::env::split_paths(&path)))?;
        command
            .env("PATH", path)
            .env("FULCRUM_SOCKET", self.folder.join("fulcrum.sock"));
        self.namespace.confine(command);
        let (hosts, name) = (self.hosts.clone(), self.name.clone());
        let view = move || {
            unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS)?;
            let none = None::<&std::ffi::CStr>;
            // What the machine unmounts goes away here, too, and nothing from here gets out.
            mount(none, c"/", none, MsFlags::MS_SLAVE | MsFlags::MS_REC, none)?;
            if let Some(hosts) = &hosts {
                mount(Some(hosts.as_c_str()), c"/etc/hosts", none, MsFlags::MS_BIND, none)?;
            }
            Ok(nix::unistd::sethostname(&name)?)
        };
        // SAFETY: between fork and exec the closure makes system calls, and neither allocates nor locks.
        Ok(unsafe { command.pre_exec(view) })
    }
}

/// Name of the namespace of a host or switch, as `ip netns` knows it.
pub(super) fn namespace(lab: &str, host: &str) -> String {
    format!("fl-{lab}-{host}")
}

/// What hosts of a lab have for /etc/hosts.
pub(super) fn hosts_file(file: &File) -> String {
    let mut text = "127.0.0.1 localhost\n::1 localhost\n".to_owned();
    for host in &file.host {
        for ip in host.addresses() {
            text += &format!("{ip} {}\n", &**host.name.get_ref());
        }
    }
    for (name, ip) in &file.names {
        text += &format!("{ip} {name}\n");
    }
    text
}

/// Where a URL leads, by the lab's own names.
///
/// # Errors
/// When the lab has no such name.
pub(super) fn resolve(file: &File, url: &Url) -> anyhow::Result<SocketAddr> {
    if let Ok(ip) = url.host.parse::<IpAddr>() {
        return Ok(url.at(ip));
    }
    let of_host = || file.machine(&url.host).ok()?.addresses().next();
    let ip = file.names.get(&url.host).copied().or_else(of_host);
    Ok(url.at(ip.with_context(|| format!("{url}: the lab has no name {}", url.host))?))
}
