//! The node's network, by netlink: links, addresses, next hops; and the namespaces that labs and tests are made of.
//!
//! Everything is asked of a [`Net`], which belongs to one network namespace for as long as it lives. It knows nothing
//! of services: who owns which address is decided elsewhere. Besides, [`tls`] is what everybody needs who speaks it.

pub mod address;
mod announce;
pub mod error;
pub mod hosts;
pub mod link;
pub mod namespace;
pub mod neighbour;
pub mod next_hop;
pub mod packet;
pub mod ports;
mod route;
pub mod tcp;
pub mod tls;
pub mod watch;
pub mod wire;

use std::io;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::NetlinkMessage;
use rtnetlink::packet_route::RouteNetlinkMessage;
use tokio::sync::{Mutex, MutexGuard};

pub use address::Address;
pub use announce::Announcer;
pub use error::Error;
pub use link::Link;
pub use namespace::Namespace;
pub use neighbour::Neighbour;
pub use ports::ReservedPorts;

/// Index of `lo`, the same in every network namespace.
pub const LOOPBACK: u32 = 1;

/// Messages that the kernel sends on its own.
type Events = BoxStream<'static, NetlinkMessage<RouteNetlinkMessage>>;

/// A netlink connection, bound to the network namespace of the thread that opened it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Net {
    handle: rtnetlink::Handle,
    namespace: Namespace,
    /// The kernel refuses a second dump on a socket while one is under way.
    dump: Arc<Mutex<()>>,
}

impl Net {
    /// Opens a connection in the calling thread's network namespace, and spawns its driver on the current tokio
    /// runtime. It keeps its namespace wherever it is used later.
    ///
    /// # Errors
    /// When the kernel refuses a netlink socket.
    pub fn here() -> io::Result<Self> {
        Self::open(Namespace::current()?)
    }

    /// The same in `namespace`. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the namespace cannot be entered, or the kernel refuses a netlink socket.
    pub fn inside(namespace: &Namespace) -> io::Result<Self> {
        let runtime = tokio::runtime::Handle::current();
        namespace.run_inside(|| {
            let _runtime = runtime.enter();
            Self::open(namespace.clone())
        })?
    }

    /// The connection, for what has no method here. Not for dumps: those need [`Self::links`] and its like, which take
    /// turns.
    pub fn handle(&self) -> &rtnetlink::Handle {
        &self.handle
    }

    /// The network namespace that this connection belongs to.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// `namespace` is the one of the calling thread.
    fn open(namespace: Namespace) -> io::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        Ok(Self {
            handle,
            namespace,
            dump: Arc::default(),
        })
    }

    /// A connection of its own in the same namespace, that receives what the kernel tells `groups`. The stream ends
    /// when that connection breaks; an overrun of its buffer arrives as a message.
    fn listen(&self, groups: &[MulticastGroup]) -> io::Result<Events> {
        let runtime = tokio::runtime::Handle::current();
        self.namespace.run_inside(|| {
            let _runtime = runtime.enter();
            let (connection, _, events) = rtnetlink::new_multicast_connection(groups)?;
            tokio::spawn(connection);
            Ok(events.map(|(message, _)| message).boxed())
        })?
    }

    /// To be held during a dump.
    async fn dumping(&self) -> MutexGuard<'_, ()> {
        self.dump.lock().await
    }
}
