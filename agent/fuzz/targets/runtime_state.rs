#![no_main]
//! The runtime's own record of a container, as somebody else may have left it: refused, or one that names a group
//! below the root.

use edgelet_oci::fuzzing;
use libfuzzer_sys::fuzz_target;
use std::path::Component;

fuzz_target!(|record: &[u8]| {
    let Some(group) = fuzzing::state(record) else { return };
    let mut parts = group.components();
    assert_eq!(parts.next(), Some(Component::RootDir), "{group:?}");
    assert!(parts.clone().count() > 0, "{group:?}");
    assert!(parts.all(|part| matches!(part, Component::Normal(_))), "{group:?}");
});
