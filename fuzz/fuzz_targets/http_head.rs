//! See [`lb_fuzz::http_head`].
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| lb_fuzz::http_head::check(data));

#[cfg(not(fuzzing))]
fn main() {
    eprintln!("built without libFuzzer: `cargo xtask fuzz http_head`");
}
