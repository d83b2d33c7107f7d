//! libFuzzer entry of [`archipel_fuzz::operators`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| archipel_fuzz::operators(bytes));
