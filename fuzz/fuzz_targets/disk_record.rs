//! libFuzzer entry of [`archipel_fuzz::disk_record`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| archipel_fuzz::disk_record(bytes));
