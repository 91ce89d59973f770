//! From what somebody wants (a workload and an image) to what the runtime is told (an OCI bundle).
//!
//! Everything here is pure: what must be looked up on the machine is looked up before and passed in.

mod capabilities;
mod identity;
mod mounts;
mod process;
mod resources;
mod spec;

pub use identity::{Identity, resolve as resolve_identity};
pub use spec::{BundleError, DeviceNode, Facts, host_files, spec};
