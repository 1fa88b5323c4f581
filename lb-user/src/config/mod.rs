//! The configuration file: TOML text in, [`model::Config`](Config) out, or one error with its place.
//!
//! Strict: an unknown key, a bad value, a duplicate or a contradiction is refused. What leaves this module cannot be
//! wrong as far as the text alone tells, and the files of prefixes that it names: they are read with it, as parts of it. Whether
//! interfaces exist, other files can be read or backends be reached depends on the machine and is for others; they put such
//! errors in their place with [`Parsed::error_at`].
//!
//! The first error is the one reported: TOML syntax first, then table by table from the top, then what services
//! contradict in each other.

mod address;
mod backend;
mod balance;
mod bgp;
pub(crate) mod duration;
mod error;
mod fault;
mod files;
mod health;
pub mod hosts;
mod nat;
mod node;
mod peers;
mod ports;
mod protection;
mod proxy;
mod raw;
mod schema;
mod secret;
mod service;
mod shares;
mod size;
mod source;
mod tunnel;
mod vips;
mod vrrp;
mod whole;

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::DeTable;

use crate::model::Config;
pub use error::{ConfigError, Warning};
pub(crate) use fault::{Checked, Fault, Span, fault};
pub use files::Files;
use protection::file::{Place, Shelf};
pub use protection::prefix;
use raw::Table;
pub use secret::{Secret, warnings as open_secrets};
pub(crate) use source::Source;

/// Largest file that is read, in bytes: room for 65,536 backends. Parsing this much takes under a second and, at
/// worst, about 600 MB for a moment.
pub const MAX_BYTES: usize = 8 << 20;

/// What a file that says nothing could say.
const LEAST: &str = "the least that a file needs:\n\
    \n\
    [node]\n\
    interfaces = [\"eth0\"]\n\
    \n\
    [[service]]\n\
    name = \"web\"\n\
    address = \"192.0.2.10:80\"\n\
    mode = \"dsr\"\n\
    \n\
    [[service.backend]]\n\
    address = \"10.0.0.6:80\"";

/// A file that was accepted.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// What it says.
    pub config: Config,
    /// What is allowed in it but probably not meant, from top to bottom.
    pub warnings: Vec<Warning>,
    source: Arc<Source>,
    places: HashMap<Subject, Span>,
}

/// Something that a file says and that only the machine can confirm.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// An entry of `interfaces` in `[node]`, by its name.
    Interface(String),
    /// `hash-seed-file` in `[node]`.
    HashSeedFile,
    /// `state-dir` in `[node]`.
    StateDir,
    /// `pin-dir` in `[node]`.
    PinDir,
    /// `script-user` in `[node]`.
    ScriptUser,
    /// `socket` in `[admin]`.
    Socket,
    /// `listen` in `[admin]`.
    Listen,
    /// `token-file` in `[admin]`.
    TokenFile,
    /// `interface` of a `[[vrrp]]`, by its name.
    VrrpInterface(String),
    /// This node's address in `[peers]`.
    OwnPeer,
    /// `key-file` in `[peers]`.
    PeersKey,
    /// A `[[service]]` or `[[pool]]`, by its name.
    Service(String),
    /// `source` in `[service.nat]`, by the service's name. Left to its default, it stands at the service; so do
    /// `ports`.
    NatSource(String),
    /// `ports` in `[service.nat]`, by the service's name.
    NatPorts(String),
    /// An entry of `certificates` in `[service.tls]`, by the service's name and from 0.
    Certificate(String, usize),
    /// The file of its key, which may be the same.
    CertificateKey(String, usize),
    /// `client-ca` in `[service.tls]`, by the service's name.
    ClientCa(String),
    /// `ca` of `acme` in `[service.tls]`, by the service's name.
    AcmeCa(String),
    /// Where a file with the key of an external account is first named, by its path.
    ExternalAccountKey(PathBuf),
    /// `ca` of `tls` in `[service.upstream]` or `[pool.upstream]`, by the name of the service or pool; left to its default,
    /// `tls`.
    UpstreamCa(String),
    /// A file of `error-pages` in `[service.http]`, by the service's name and the status.
    ErrorPage(String, u16),
    /// The file of `access-log` in `[service.http]`, by the service's name.
    AccessLog(String),
    /// Where a file with a password is first named, by its path.
    PasswordFile(PathBuf),
    /// Where a program is first named that is run, by its path or name.
    Program(PathBuf),
}

impl Parsed {
    /// The text that it was read from.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.source.text
    }

    /// The files of prefixes that it names.
    #[must_use]
    pub fn files(&self) -> &Files {
        &self.source.files
    }

    /// An error about `subject`, at its place in the file. What the file leaves to its default has no place: then the
    /// error names the file alone.
    #[must_use]
    pub fn error_at(&self, subject: &Subject, message: impl Into<String>, hint: impl Into<String>) -> ConfigError {
        ConfigError::new(Arc::clone(&self.source), self.fault_at(subject, message, hint))
    }

    /// Like [`Self::error_at`], where the node can do without.
    #[must_use]
    pub fn warning_at(&self, subject: &Subject, message: impl Into<String>, hint: impl Into<String>) -> Warning {
        Warning::new(Arc::clone(&self.source), self.fault_at(subject, message, hint))
    }

    fn fault_at(&self, subject: &Subject, message: impl Into<String>, hint: impl Into<String>) -> Box<Fault> {
        match self.places.get(subject) {
            Some(span) => fault(span.clone(), message).hint(hint),
            None => Fault::of_the_file(message).hint(hint),
        }
    }
}

/// Reads and checks the file at `path`.
///
/// # Errors
/// The file cannot be read, or is refused.
pub fn load(path: &Path) -> Result<Parsed, ConfigError> {
    let origin = path.display().to_string();
    let unreadable = |fault| ConfigError::new(Arc::new(Source::new(&origin, "")), fault);
    let bytes = read(path).map_err(|error| unreadable(why_unreadable(&error)))?;
    if bytes.len() > MAX_BYTES {
        let message = format!("the file is larger than {} MiB", MAX_BYTES >> 20);
        return Err(unreadable(
            fault(0..0, message).hint("is this the right file? a configuration is a TOML text"),
        ));
    }
    match String::from_utf8(bytes) {
        Ok(text) => read_with(&origin, &text, host_name, Place::Here { quoted: true }),
        Err(error) => {
            let place = error.utf8_error().valid_up_to();
            let byte = error.as_bytes()[place];
            let shown = &error.as_bytes()[..error.as_bytes().len().min(place + 64)];
            let source = Source::new(&origin, &String::from_utf8_lossy(shown));
            let message = format!("the file is not UTF-8 text: byte 0x{byte:02x}");
            let hint = "is this the right file? if so, save it as UTF-8";
            Err(ConfigError::new(
                Arc::new(source),
                fault(place..place + 1, message).hint(hint),
            ))
        }
    }
}

/// One byte more than allowed, if there are as many.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn why_unreadable(error: &io::Error) -> Box<Fault> {
    let (reason, hint) = match error.kind() {
        io::ErrorKind::NotFound => ("there is no such file".to_owned(), "name the file with -c FILE"),
        io::ErrorKind::IsADirectory => ("it is a directory".to_owned(), "name a file in it with -c FILE"),
        io::ErrorKind::PermissionDenied => (
            "permission denied".to_owned(),
            "run as a user who may read it; the daemon gives up what lets root read everything",
        ),
        _ => (error.to_string(), "name another file with -c FILE"),
    };
    Fault::of_the_file(format!("the configuration cannot be read: {reason}")).hint(hint)
}

/// Checks `text`; `origin` is what errors call it. A node that `text` gives no name gets the host's. Files of prefixes are read;
/// what is in them is not quoted, since whoever has sent the text may not be one who may read them.
///
/// # Errors
/// The text is refused.
pub fn parse(origin: &str, text: &str) -> Result<Parsed, ConfigError> {
    read_with(origin, text, host_name, Place::Here { quoted: false })
}

/// [`parse`] for a machine that `host_name` names, and on which every file of prefixes is empty.
///
/// # Errors
/// The text is refused.
pub fn parse_with(origin: &str, text: &str, host_name: impl FnOnce() -> String) -> Result<Parsed, ConfigError> {
    read_with(origin, text, host_name, Place::Nowhere)
}

fn read_with(
    origin: &str,
    text: &str,
    host_name: impl FnOnce() -> String,
    place: Place,
) -> Result<Parsed, ConfigError> {
    let mut reader = Reader::default();
    reader.shelf.place = place;
    let config = reader.file(text, host_name);
    let mut source = Source::new(origin, text);
    source.files = reader.shelf.files;
    let source = Arc::new(source);
    let config = config.map_err(|fault| ConfigError::new(Arc::clone(&source), fault))?;
    let mut warnings = reader.warnings;
    warnings.sort_by_key(|warning| warning.span.as_ref().map_or(0, |span| span.start));
    let warning = |fault| Warning::new(Arc::clone(&source), fault);
    Ok(Parsed {
        config,
        warnings: warnings.into_iter().map(warning).collect(),
        places: reader.places,
        source,
    })
}

/// What comes to light on the way, besides the configuration.
#[derive(Debug, Default)]
#[expect(clippy::vec_box, reason = "faults come boxed, and go boxed into warnings")]
struct Reader {
    warnings: Vec<Box<Fault>>,
    places: HashMap<Subject, Span>,
    shelf: Shelf,
}

impl Reader {
    /// A program is named here that is run.
    fn runs(&mut self, program: &Path, place: Span) {
        self.places.entry(Subject::Program(program.to_owned())).or_insert(place);
    }

    fn file(&mut self, text: &str, host_name: impl FnOnce() -> String) -> Checked<Config> {
        let document = DeTable::parse(text).map_err(|error| syntax(text, &error))?;
        let root = Table::root(document.get_ref());
        if root.is_empty() {
            return Err(fault(0..0, "the file says nothing").hint(LEAST));
        }
        root.check_keys()?;
        let node = match root.get("node") {
            Some(node) => self.node(&node.table(&schema::NODE)?, host_name)?,
            None => return Err(fault(0..0, "`[node]` is missing").hint("add:\n\n[node]\ninterfaces = [\"eth0\"]")),
        };
        let admin = self.admin(root.get("admin"))?;
        let mut drafts = Vec::new();
        for table in root.tables("service", &schema::SERVICE)? {
            drafts.push(self.service(&table)?);
        }
        let no_service = drafts.is_empty();
        for table in root.tables("pool", &schema::POOL)? {
            drafts.push(self.pool(&table)?);
        }
        let mut routers = Vec::new();
        for table in root.tables("vrrp", &schema::VRRP)? {
            routers.push(self.vrrp(&table, &node)?);
        }
        let peers = match root.get("peers") {
            Some(peers) => Some(self.peers(&peers.table(&schema::PEERS)?, &node)?),
            None => None,
        };
        let protection = match root.get("protection") {
            Some(protection) => Some(self.protection(&protection, &drafts)?),
            None => None,
        };
        self.whole(&drafts, admin.listen, peers.as_ref())?;
        let nodes = peers.as_ref().map_or(&[][..], |draft| &draft.places);
        self.virtual_routers(&routers, &drafts, &node, admin.listen, nodes)?;
        let announced = match root.get("bgp") {
            Some(bgp) => self.announced(&bgp.table(&schema::BGP)?, &routers, &drafts, &node, admin.listen)?,
            None => Vec::new(),
        };
        self.vips_of_every_node(&routers, &drafts, &announced);
        if no_service {
            let span = root.get("node").map_or(0..0, |node| node.span());
            self.warnings
                .push(fault(span, "no `[[service]]`: every packet passes").hint("add a [[service]] with its backends"));
        }
        let services = drafts.into_iter().map(|draft| draft.service).collect();
        Ok(Config {
            node,
            admin,
            services,
            routers: routers.into_iter().map(|draft| draft.router).collect(),
            announced,
            peers: peers.map(|draft| draft.peers),
            protection,
        })
    }
}

/// A TOML error in our own words where TOML's would not help.
pub(crate) fn syntax(text: &str, error: &toml::de::Error) -> Box<Fault> {
    let span = error.span().unwrap_or(0..0);
    let fault = fault(span.clone(), format!("not valid TOML: {}", error.message()));
    let line = text[..text.floor_char_boundary(span.start)]
        .rsplit('\n')
        .next()
        .unwrap_or("");
    if error.message().starts_with("string values must be quoted") {
        let word = text.get(span).unwrap_or("").trim();
        return if word.is_empty() {
            fault.hint("a value is missing after `=`")
        } else {
            fault.hint(format!("write \"{}\"", raw::excerpt(word)))
        };
    }
    if error.message().starts_with("duplicate key") {
        return fault.hint("a key or a [table] stands once; only [[tables]] in double brackets repeat");
    }
    if error.message().starts_with("key with no value") && line.contains(':') {
        return fault.hint("TOML is written `key = \"value\"`, not `key: value`");
    }
    fault
}

/// The host's name, as far as a node's name may look like it; without `/proc`, `localhost`.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let allowed = |c: char| if raw::in_name(c) { c } else { '-' };
    let name: String = name.trim().chars().take(raw::MAX_NAME).map(allowed).collect();
    let name = name.trim_start_matches(['-', '.']);
    if name.is_empty() { "localhost" } else { name }.to_owned()
}

#[cfg(test)]
mod tests;
