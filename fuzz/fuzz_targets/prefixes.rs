//! See [`lb_fuzz::prefixes`].
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| lb_fuzz::prefixes::check(data));

#[cfg(not(fuzzing))]
fn main() {
    eprintln!("built without libFuzzer: `cargo xtask fuzz prefixes`");
}
