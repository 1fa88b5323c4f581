//! See [`lb_fuzz::peers`].
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| lb_fuzz::peers::check(data));

#[cfg(not(fuzzing))]
fn main() {
    eprintln!("built without libFuzzer: `cargo xtask fuzz peers`");
}
