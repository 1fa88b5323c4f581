//! High availability: this node's part in the virtual routers of the file.

pub mod machine;
pub mod packet;
