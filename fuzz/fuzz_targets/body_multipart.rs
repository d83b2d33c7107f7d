//! libFuzzer entry of [`archipel_fuzz::body_multipart`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| archipel_fuzz::body_multipart(bytes));
