//! libFuzzer entry of [`archipel_fuzz::http2`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| archipel_fuzz::http2(bytes));
