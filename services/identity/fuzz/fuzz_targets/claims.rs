//! See `identity::fuzzing::claims`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    identity::fuzzing::claims(data);
});
