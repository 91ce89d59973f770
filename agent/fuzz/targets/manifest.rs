#![no_main]
//! Deployment manifests: what is accepted survives its way through the database.

use edgelet_api::manifest;
use edgelet_types::WorkloadSpec;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(manifest) = manifest::parse(text) else { return };
    let stored = serde_json::to_string(&manifest.spec).expect("a specification can be stored");
    let spec: WorkloadSpec = serde_json::from_str(&stored).expect("what was stored can be read");
    assert_eq!(spec, manifest.spec);
});
