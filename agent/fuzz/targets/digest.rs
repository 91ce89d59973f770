#![no_main]
//! Digests: one text per digest, and no error that is longer than what a log line should carry.

use edgelet_types::Digest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match Digest::parse(text) {
        Ok(digest) => {
            assert_eq!(digest.to_string(), text);
            assert_eq!(Digest::from_hex(&digest.to_hex()), Some(digest));
        }
        Err(error) => assert!(error.to_string().len() < 1024, "{error}"),
    }
});
