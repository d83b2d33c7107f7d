//! libFuzzer entry of [`archipel_fuzz::coding_choice`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| archipel_fuzz::coding_choice(bytes));
