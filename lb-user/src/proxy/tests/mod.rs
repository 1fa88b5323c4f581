//! The proxy as a whole, from raw clients to scripted backends, on loopback and without root.

mod backends;
mod bodies;
mod challenges;
mod choice;
mod finishing;
mod http2;
mod logs;
mod manners;
mod refusals;
mod rig;
mod smuggling;
mod who;
