//! libFuzzer entry of [`archipel_fuzz::cache_store`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| archipel_fuzz::cache_store(bytes));
