//! The port to the truth: which images exist.

use edgelet_types::image::ImageRecord;
use edgelet_types::{Digest, Fault};

/// Where image records are kept. The daemon implements it over its database.
pub trait Catalog: Send + Sync {
    /// Every record, in any order.
    fn images(&self) -> Result<Vec<ImageRecord>, Fault>;

    /// Applies all changes or none, durably, before it returns. What a record names is durable already
    /// when this is called. An empty list is never passed.
    fn commit(&self, changes: &[CatalogChange]) -> Result<(), Fault>;
}

/// One change to the catalog.
// Lists of changes have a few entries; a box in each would cost callers more than it saves.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CatalogChange {
    /// Adds the record, or replaces the one with the same id.
    Put(ImageRecord),
    /// Removes the record with this id; one that is not there is fine.
    Remove(Digest),
}
