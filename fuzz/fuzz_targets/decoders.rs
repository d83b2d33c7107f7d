//! libFuzzer entry of [`archipel_fuzz::decoders`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| archipel_fuzz::decoders(bytes));
