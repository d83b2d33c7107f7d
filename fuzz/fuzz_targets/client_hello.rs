//! libFuzzer entry of [`archipel_fuzz::client_hello`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| archipel_fuzz::client_hello(bytes));
