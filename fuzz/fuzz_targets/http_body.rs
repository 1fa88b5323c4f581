//! See [`lb_fuzz::http_body`].
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| lb_fuzz::http_body::check(data));

#[cfg(not(fuzzing))]
fn main() {
    eprintln!("built without libFuzzer: `cargo xtask fuzz http_body`");
}
