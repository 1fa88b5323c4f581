//! From what is installed and what is desired to ordered map operations. Pure: no I/O, no clock.
//!
//! 1. [`place`] decides where everything goes: ids and regions that are installed stay, new ones take what is free.
//! 2. [`diff`] lists the operations that turn what is installed into that, in an order in which a packet never meets a
//!    half-made service.
//!
//! Nothing is remembered elsewhere: ids and regions are read back from the maps after a restart.

mod contents;
mod desired;
mod diff;
pub mod entries;
mod keys;
mod memory;
mod outer;
pub mod outlook;
mod place;
pub mod prefixes;
mod regions;
mod sheet;
mod slots;
mod snapshot;
mod space;

pub use desired::{
    Alive, Desired, DesiredAddress, DesiredMember, DesiredProxy, DesiredService, Forwarding, Hop, choice,
};
pub use diff::{MapOp, diff};
pub use entries::{Forget, Table};
pub use keys::Keys;
pub use memory::Memory;
pub use place::{Placement, place};
pub use sheet::{Protected, ProtectedService, Tcp};
pub use slots::{Share, Slots};
pub use snapshot::{Ring, ServiceKey, Snapshot};
pub use space::Full;

#[cfg(test)]
mod tests;
