//! libFuzzer entry of [`archipel_fuzz::response_head`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| archipel_fuzz::response_head(bytes));
