#![no_main]
//! Image references: what is shown, in full or for people, is the same reference when it is read back.

use edgelet_types::ImageRef;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(reference) = ImageRef::parse(text) else { return };
    assert_eq!(ImageRef::parse(&reference.to_string()), Ok(reference.clone()));
    assert_eq!(ImageRef::parse(&reference.familiar()), Ok(reference));
});
