//! `[node]` and `[admin]`.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;
use std::path::PathBuf;

use lb_common::limits::{FLOW_TABLE, FLOW_TABLE_RANGE};

use super::address::{self, Role};
use super::fault::{Checked, Span, fault};
use super::raw::{Table, Value, excerpt};
use super::{Reader, Subject, schema};
use crate::model::{Admin, Node, XdpMode};

/// Longest interface name, in bytes: the kernel's `IFNAMSIZ`, less the closing zero.
const MAX_INTERFACE_NAME: usize = 15;

/// Longest name of a user, in bytes: useradd(8) takes 32, directories of others more.
const MAX_USER: usize = 255;

/// Longest path of a Unix socket, in bytes: `sun_path` of unix(7), less the closing zero.
const MAX_SOCKET_PATH: usize = 107;

/// Most threads of the proxy.
const MAX_THREADS: u32 = 256;

/// Default port of `listen`, on 127.0.0.1.
const LISTEN_PORT: u16 = 9465;

impl Reader {
    pub(super) fn node(&mut self, node: &Table<'_>, host_name: impl FnOnce() -> String) -> Checked<Node> {
        let name = match node.get("name") {
            Some(name) => name.name()?.to_owned(),
            None => host_name(),
        };
        let interfaces = self.interfaces(&node.require("interfaces", "[\"eth0\"]")?)?;
        let modes = [
            ("auto", XdpMode::Auto),
            ("native", XdpMode::Native),
            ("generic", XdpMode::Generic),
        ];
        let xdp_mode = match node.get("xdp-mode") {
            Some(mode) => mode.choice(&modes)?,
            None => XdpMode::Auto,
        };
        let script_user = match node.get("script-user") {
            Some(user) => Some(self.script_user(&user)?.into()),
            None => None,
        };
        let mut path = |key: &'static str, subject: Subject| match node.get(key) {
            Some(value) => {
                self.places.insert(subject, value.span());
                value.path().map(Some)
            }
            None => Ok(None),
        };
        Ok(Node {
            name,
            interfaces,
            xdp_mode,
            hash_seed_file: path("hash-seed-file", Subject::HashSeedFile)?,
            state_dir: path("state-dir", Subject::StateDir)?.unwrap_or_else(|| "/var/lib/fulcrum".into()),
            pin_dir: path("pin-dir", Subject::PinDir)?.unwrap_or_else(|| "/sys/fs/bpf/fulcrum".into()),
            flow_table_size: match node.get("flow-table-size") {
                Some(size) => size.whole(FLOW_TABLE_RANGE.0..=FLOW_TABLE_RANGE.1)?,
                None => FLOW_TABLE,
            },
            proxy_threads: match node.get("proxy-threads") {
                Some(threads) => NonZeroU16::new(threads.whole(1..=MAX_THREADS)? as u16),
                None => None,
            },
            script_user,
        })
    }

    /// Whether there is such a user, this machine has to say.
    fn script_user<'v>(&mut self, value: &Value<'v>) -> Checked<&'v str> {
        let name = value.string()?;
        if name.is_empty() || name.len() > MAX_USER || name.chars().any(|c| c.is_control() || c == ':') {
            let message = format!("the name of a user has 1 to {MAX_USER} bytes, without `:` and control characters");
            return Err(value
                .fault(message)
                .hint("name one of `getent passwd`, such as \"nobody\""));
        }
        self.places.insert(Subject::ScriptUser, value.span());
        Ok(name)
    }

    fn interfaces(&mut self, value: &Value<'_>) -> Checked<Vec<String>> {
        let mut names = Vec::new();
        for (span, name) in value.strings()? {
            interface_name(&span, name)?;
            if let Some(first) = self.places.insert(Subject::Interface(name.to_owned()), span.clone()) {
                return Err(fault(span, format!("interface \"{name}\" stands here twice")).other(first, "first here"));
            }
            names.push(name.to_owned());
        }
        if names.is_empty() {
            let hint = "name the NICs where VIP traffic arrives: interfaces = [\"eth0\"]";
            return Err(value.fault("no interface is named").hint(hint));
        }
        Ok(names)
    }

    pub(super) fn admin(&mut self, admin: Option<Value<'_>>) -> Checked<Admin> {
        let admin = admin.map(|admin| admin.table(&schema::ADMIN)).transpose()?;
        let value = |key| admin.as_ref().and_then(|admin| admin.get(key));
        Ok(Admin {
            socket: match value("socket") {
                Some(socket) => self.socket(&socket)?,
                None => "/run/fulcrum/fulcrum.sock".into(),
            },
            listen: match value("listen") {
                Some(listen) => self.listen(&listen)?,
                None => Some(SocketAddr::from((Ipv4Addr::LOCALHOST, LISTEN_PORT))),
            },
            token_file: match value("token-file") {
                Some(file) => {
                    self.places.insert(Subject::TokenFile, file.span());
                    Some(file.path()?)
                }
                None => None,
            },
        })
    }

    fn socket(&mut self, socket: &Value<'_>) -> Checked<PathBuf> {
        let path = socket.path()?;
        let bytes = path.as_os_str().len();
        if bytes > MAX_SOCKET_PATH {
            let message = format!("the path of a Unix socket has at most {MAX_SOCKET_PATH} bytes, this one {bytes}");
            return Err(socket
                .fault(message)
                .hint("choose a folder nearer to the root, such as /run/fulcrum"));
        }
        self.places.insert(Subject::Socket, socket.span());
        Ok(path)
    }

    fn listen(&mut self, listen: &Value<'_>) -> Checked<Option<SocketAddr>> {
        self.places.insert(Subject::Listen, listen.span());
        match listen.string()? {
            "" => Ok(None),
            text => address::parse(&listen.span(), text, Role::Listen).map(Some),
        }
    }
}

/// Can an interface be called so?
pub(super) fn interface_name(span: &Span, name: &str) -> Checked<()> {
    if is_interface_name(name) {
        return Ok(());
    }
    let message = format!("\"{}\" cannot be the name of an interface", excerpt(name));
    let hint = format!("names have 1 to {MAX_INTERFACE_NAME} bytes, without blanks, '/' and ':'");
    Err(fault(span.clone(), message).hint(hint))
}

/// What the kernel's `dev_valid_name` takes.
fn is_interface_name(name: &str) -> bool {
    let blank = |b: u8| b.is_ascii_whitespace() || b == 0x0b;
    (1..=MAX_INTERFACE_NAME).contains(&name.len())
        && name != "."
        && name != ".."
        && !name.bytes().any(|b| b == 0 || b == b'/' || b == b':' || blank(b))
}
