//! What this runtime can do, for callers that ask before they try (OCI runtime-spec 1.3, features.md).

use crate::mount_options;
use serde_json::{Value, json};

/// The version of the specification that is implemented.
pub(crate) const SPEC_VERSION: &str = "1.3.0";

/// The answer of `features`. What other code decides as well comes from there, the rest from a document.
pub(crate) fn features() -> Value {
    let mut features: Value =
        serde_json::from_slice(include_bytes!("features.json")).expect("a document of ours");
    let capabilities: std::collections::BTreeSet<String> =
        caps::all().iter().map(ToString::to_string).collect();
    features["ociVersionMax"] = json!(SPEC_VERSION);
    features["mountOptions"] = json!(mount_options::OPTIONS);
    features["linux"]["capabilities"] = json!(capabilities);
    features
}
