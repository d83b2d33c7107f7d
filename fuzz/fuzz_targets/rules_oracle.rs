//! libFuzzer entry of [`archipel_fuzz::rules_oracle`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| archipel_fuzz::rules_oracle(bytes));
