//! See `identity::fuzzing::certificate`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    identity::fuzzing::certificate(data);
});
