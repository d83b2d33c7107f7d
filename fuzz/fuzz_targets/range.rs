//! libFuzzer entry of [`archipel_fuzz::range`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| archipel_fuzz::range(bytes));
