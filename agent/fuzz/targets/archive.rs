#![no_main]
//! Archives of images: nothing outside the store is touched, nothing is left in staging, and every image
//! that is there afterwards has all its layers.

use edgelet_fuzz::place::Place;
use edgelet_fuzz::tar::seal;
use edgelet_image::{CancelToken, Catalog, CatalogChange, ImageStore, Silent, StoreOptions};
use edgelet_types::image::ImageRecord;
use edgelet_types::{Fault, Layout, Platform, UnixMillis};
use libfuzzer_sys::fuzz_target;
use std::fs;
use std::sync::{Arc, Mutex};

fuzz_target!(|archive: &[u8]| {
    let place = Place::new();
    let layout = Layout::new(place.path());
    let options = StoreOptions { reserve_bytes: 0, parallel: 1, ..StoreOptions::default() };
    let store = ImageStore::open(&layout, Arc::new(Memory::default()), options).expect("open the store");
    let file = place.path().join("archive.tar");
    fs::write(&file, seal(archive)).expect("write the archive");
    let platform = Platform::parse("linux/amd64").expect("a platform");
    let loaded = store.load(&file, &platform, UnixMillis(0), &Silent, &CancelToken::new());
    place.check_surroundings();
    assert_eq!(fs::read_dir(layout.staging()).expect("list staging").count(), 0);
    let images = store.list().expect("list images");
    assert!(loaded.is_err() || !images.is_empty());
    for layer in images.iter().flat_map(|image| &image.layers) {
        assert!(layout.layer(&layer.diff_id).is_dir(), "layer {} does not stand", layer.diff_id);
    }
});

/// A catalog that forgets.
#[derive(Default)]
struct Memory(Mutex<Vec<ImageRecord>>);

impl Catalog for Memory {
    fn images(&self) -> Result<Vec<ImageRecord>, Fault> {
        Ok(self.0.lock().expect("no panic before").clone())
    }

    fn commit(&self, changes: &[CatalogChange]) -> Result<(), Fault> {
        let mut images = self.0.lock().expect("no panic before");
        for change in changes {
            let id = match change {
                CatalogChange::Put(record) => &record.id,
                CatalogChange::Remove(id) => id,
            };
            images.retain(|image| image.id != *id);
            if let CatalogChange::Put(record) = change {
                images.push(record.clone());
            }
        }
        Ok(())
    }
}
