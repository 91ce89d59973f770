//! Images: pulled from a registry or loaded from an archive, verified, unpacked, kept, mounted, removed.
//!
//! What it is not: it does not decide which images a device should have, it holds no truth (the daemon's
//! database does, through [`Catalog`]), and it takes no settings from images.
//!
//! Invariants:
//! - Every byte is checked against its digest before anything that depends on it is visible.
//! - A directory below `layers/` is complete, verified and durable. It arrives by rename.
//! - An image becomes visible by one commit to the catalog, after all its layers stand.
//! - No name from an image or archive is resolved outside the directory it is meant for.
//! - Memory does not depend on the size of what is read.

#![forbid(unsafe_code)]

mod catalog;
mod progress;

mod lease;
mod selector;
mod snapshot;
mod store;

mod load;
mod parallel;
mod pull;
mod retry;
mod transfer;

mod config;
mod manifest;
mod registry;

mod checkpoint;
mod content;
mod layer;
mod partial;
mod space;
mod staging;
mod stream;
mod tar;
mod unpack;
mod usage;

#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;

pub use catalog::{Catalog, CatalogChange};
pub use layer::LayerError;
pub use load::{ArchiveError, LoadError};
pub use manifest::ManifestError;
pub use progress::{CancelToken, LayerDone, Phase, Progress, Silent};
pub use pull::{PullCause, PullError};
pub use registry::{RegistryError, Timeouts};
pub use snapshot::{Access, MountError, Users, unmount};
pub use space::NoRoom;
pub use store::{ImageStore, Prune, Removed, StoreError, StoreOptions};
pub use tar::TarError;
pub use unpack::UnpackError;
