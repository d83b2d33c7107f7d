//! libFuzzer entry of [`archipel_fuzz::waf_transaction`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| archipel_fuzz::waf_transaction(bytes));
