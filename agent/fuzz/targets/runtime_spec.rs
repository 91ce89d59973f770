#![no_main]
//! `config.json` of a bundle: taken, or refused in one line that says why.

use edgelet_oci::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|json: &[u8]| {
    if let Err(error) = fuzzing::config(json) {
        assert!(!error.to_string().is_empty());
    }
});
