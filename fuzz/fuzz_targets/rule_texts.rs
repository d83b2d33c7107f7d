//! libFuzzer entry of [`archipel_fuzz::rule_texts`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| archipel_fuzz::rule_texts(bytes));
