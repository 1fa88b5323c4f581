//! What the proxy reads and writes with: buffers of the thread's own pool, connections with or without TLS, time limits
//! that cost nothing while nothing waits.

pub mod buffer;
pub mod coalesce;
pub mod deadline;
pub mod duplex;
pub mod stream;

pub use buffer::Buffer;
pub use deadline::{Deadline, TooSlow};
pub use duplex::Duplex;
pub use stream::Stream;
