//! What Fulcrum's XDP program and its manager share: map keys and values, the arithmetic on them, and limits.
//!
//! Layout rules, which hold for every type that goes into a map:
//! - `repr(C)`, every padding byte is a named field, the size is asserted in [`layout`];
//! - no `bool`, `Option` or data-carrying enum inside: the other side may write any bit pattern;
//! - byte order is a type ([`addr`]): what has `Be` in its name is in network order, everything else in host order.
//!
//! Everything here is pure and `no_std`, so it is tested on the host and used, as the same code, by both sides.
#![no_std]

pub mod addr;
pub mod backend;
pub mod csum;
pub mod decap;
pub mod flow;
pub mod fragment;
pub mod hash;
pub mod id;
pub mod layout;
pub mod limits;
pub mod nat;
pub mod parse;
pub mod protect;
pub mod removal;
pub mod ring;
pub mod select;
pub mod service;
pub mod slot;
pub mod stats;
pub mod trace;
