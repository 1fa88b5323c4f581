//! The node's network, by netlink: links, addresses, next hops; and the namespaces that labs and tests are made of.

use std::io;

/// A netlink connection, bound to the network namespace of the thread that opened it.
#[derive(Clone, Debug)]
pub struct Net {
    handle: rtnetlink::Handle,
}

impl Net {
    /// Opens a connection in the calling thread's network namespace, and spawns its driver on the current tokio
    /// runtime. It keeps its namespace wherever it is used later.
    ///
    /// # Errors
    /// When the kernel refuses a netlink socket.
    pub fn here() -> io::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    /// The connection, for what has no method here.
    pub fn handle(&self) -> &rtnetlink::Handle {
        &self.handle
    }
}
