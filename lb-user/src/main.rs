//! `fulcrum`.

fn main() {}
