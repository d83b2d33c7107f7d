//! libFuzzer entry of [`archipel_fuzz::purge_journal`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| archipel_fuzz::purge_journal(bytes));
