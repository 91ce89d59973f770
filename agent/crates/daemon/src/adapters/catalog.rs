//! The index of images, in the store.

use edgelet_image::{Catalog, CatalogChange};
use edgelet_store::Store;
use edgelet_types::Fault;
use edgelet_types::image::ImageRecord;
use edgelet_types::record::Change;
use std::sync::Arc;

/// [`Catalog`] over the store.
pub struct StoreCatalog(pub Arc<Store>);

impl Catalog for StoreCatalog {
    fn images(&self) -> Result<Vec<ImageRecord>, Fault> {
        let rows = self.0.images()?;
        for row in &rows.unreadable {
            log::error!("image record unreadable key={} problem=\"{}\"", row.key, row.problem);
        }
        Ok(rows.read)
    }

    fn commit(&self, changes: &[CatalogChange]) -> Result<(), Fault> {
        let changes: Vec<Change> = changes
            .iter()
            .map(|change| match change {
                CatalogChange::Put(record) => Change::PutImage(Box::new(record.clone())),
                CatalogChange::Remove(id) => Change::RemoveImage(*id),
            })
            .collect();
        Ok(self.0.commit(&changes)?)
    }
}
