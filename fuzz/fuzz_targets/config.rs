//! See [`lb_fuzz::config`].
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| lb_fuzz::config::check(data));

#[cfg(not(fuzzing))]
fn main() {
    eprintln!("built without libFuzzer: `cargo xtask fuzz config`");
}
