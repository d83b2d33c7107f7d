//! libFuzzer entry of [`archipel_fuzz::chunked`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| archipel_fuzz::chunked(bytes));
