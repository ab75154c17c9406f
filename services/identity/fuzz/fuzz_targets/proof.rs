//! See `identity::fuzzing::proof`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    identity::fuzzing::proof(data);
});
