//! What the tests that need root, namespaces or a kernel have in common.

pub mod backing;
pub mod bench;
pub mod bulk;
pub mod capture;
pub mod changing;
pub mod download;
pub mod flood;
pub mod gate;
pub mod lab;
pub mod leftovers;
pub mod mariadb;
pub mod model;
pub mod modes;
pub mod nat;
pub mod netns;
pub mod node;
pub mod open;
pub mod packet;
pub mod pinned;
pub mod release_1;
pub mod rig;
pub mod segment;
pub mod shape;
pub mod toml;
pub mod two_nics;
