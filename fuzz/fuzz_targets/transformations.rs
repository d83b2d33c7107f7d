//! libFuzzer entry of [`archipel_fuzz::transformations`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| archipel_fuzz::transformations(bytes));
