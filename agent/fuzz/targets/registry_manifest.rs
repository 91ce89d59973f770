#![no_main]
//! Manifests, indexes and configurations from registries: the same bytes are the same document to
//! everybody who accepts them, whatever the registry calls them (CVE-2021-41190).

use edgelet_image::fuzzing;
use edgelet_types::limits;
use libfuzzer_sys::fuzz_target;

const TYPES: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json; charset=utf-8",
    "application/json",
];

fuzz_target!(|bytes: &[u8]| {
    let plain = fuzzing::document(bytes, None);
    for content_type in TYPES {
        let served = fuzzing::document(bytes, Some(content_type));
        assert!(served.is_none() || plain.is_none() || served == plain, "{content_type}");
    }
    for layers in [0, 1, 2, limits::IMAGE_LAYERS + 1] {
        if let Some(found) = fuzzing::config(bytes, layers) {
            assert!(found == layers && layers <= limits::IMAGE_LAYERS);
        }
    }
});
