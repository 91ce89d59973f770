#![no_main]
//! Messages of the service manager: read within their length, whatever they say of themselves, and never a value
//! that was not there.

use edgelet_oci::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|message: &[u8]| {
    let Some((length, texts)) = fuzzing::service_manager(message) else { return };
    // The longest that D-Bus knows; what is longer than a page or two is passed over, not kept.
    assert!(length <= 128 << 20, "{length} bytes are no message");
    assert!(texts.iter().map(String::len).sum::<usize>() <= message.len(), "more text than there is");
});
