#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = kvdyno_engines::fuzzing::run("lsm_packed_block", bytes);
});
