//! The images of this device: what there is, what may go, and who may not be disturbed meanwhile.

use crate::catalog::{Catalog, CatalogChange};
use crate::lease::Leases;
use crate::registry::Timeouts;
use crate::space::Room;
use crate::{partial, selector, staging, usage};
use edgelet_sys::root::RootDir;
use edgelet_types::image::{ImageRecord, LayerRecord};
use edgelet_types::{Digest, Fault, ImageRef, Layout, Platform, Reason};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// All images of one node. Shared between threads; every method blocks.
pub struct ImageStore {
    pub(crate) layout: Layout,
    pub(crate) options: StoreOptions,
    pub(crate) room: Room,
    /// Layers that running work needs.
    pub(crate) leases: Leases,
    catalog: Arc<dyn Catalog>,
    /// Held from reading the catalog to changing it.
    changing: Mutex<()>,
}

/// Numbers of an image store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreOptions {
    /// Bytes of the data file system that images leave free.
    pub reserve_bytes: u64,
    /// How many layers of one image are fetched at a time; at least one.
    pub parallel: usize,
    /// How long a registry is waited for.
    pub timeouts: Timeouts,
    /// How often a request that failed in passing is made in all; at least once.
    pub attempts: u32,
    /// The wait before the second attempt; doubled before each further one, up to a minute.
    pub first_wait: Duration,
    /// The most of the time of a pull that a power cut makes vain. Each time the data file system is flushed.
    pub keep_every: Duration,
}

impl Default for StoreOptions {
    /// The defaults of the configuration file; five attempts within half a minute.
    fn default() -> Self {
        Self {
            reserve_bytes: 64 << 20,
            parallel: 3,
            timeouts: Timeouts::default(),
            attempts: 5,
            first_wait: Duration::from_secs(2),
            keep_every: Duration::from_secs(60),
        }
    }
}

/// Which images [`ImageStore::prune`] removes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prune {
    /// Those without a name.
    Dangling,
    /// Every one that is not kept.
    All,
}

/// What went.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Removed {
    /// Names that no longer point anywhere.
    pub names: Vec<ImageRef>,
    /// Images that are gone.
    pub images: Vec<Digest>,
    /// Layers that are gone.
    pub layers: Vec<Digest>,
    /// Bytes of disk that this freed.
    pub freed_bytes: u64,
}

/// Why the store could not do something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// No image of that name or id.
    #[error("no image {0:?}")]
    NotFound(String),
    /// Several images whose id starts like this.
    #[error("{selector:?} could be {}", .candidates.join(", "))]
    Ambiguous {
        /// What was asked for.
        selector: String,
        /// What it could be; some of them if there are many.
        candidates: Vec<String>,
    },
    /// A container needs it.
    #[error("image {0} is in use")]
    InUse(String),
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] Fault),
    /// The data file system failed.
    #[error("{doing}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Fault {
        let reason = match &error {
            StoreError::NotFound(_) => Reason::NotFound,
            StoreError::Ambiguous { .. } => Reason::InvalidInput,
            StoreError::InUse(_) => Reason::Conflict,
            StoreError::Catalog(fault) => return fault.clone(),
            StoreError::Io { source, .. } => Reason::of_storage(source, Reason::Storage),
        };
        Fault::chain(reason, &error)
    }
}

impl ImageStore {
    /// Opens the store and makes the directories that it needs, for root only. One store per node may be
    /// open; the daemon's lock sees to that.
    pub fn open(
        layout: &Layout,
        catalog: Arc<dyn Catalog>,
        options: StoreOptions,
    ) -> Result<Self, StoreError> {
        let io = |source| StoreError::Io { doing: "open the image store", source };
        for directory in
            [layout.data(), layout.layers(), layout.partial(), layout.staging(), layout.scratch()]
        {
            make_private(&directory).map_err(io)?;
        }
        let room = Room::new(&layout.data(), options.reserve_bytes).map_err(io)?;
        let leases = Leases::default();
        Ok(Self { layout: layout.clone(), options, room, leases, catalog, changing: Mutex::new(()) })
    }

    /// Removes what an interrupted pull, load or prune left, and says how many bytes that freed. To be
    /// called once, after opening. Finished layers of an interrupted pull stay: the next pull of the
    /// image continues from them, and [`ImageStore::prune`] removes them otherwise.
    ///
    /// An image that has lost a layer, as after a file-system repair, is no longer one: its record goes, so
    /// that the image is pulled again instead of failing for ever.
    pub fn recover(&self) -> Result<u64, StoreError> {
        let freed = staging::clear(&self.layout)
            .map_err(|source| StoreError::Io { doing: "empty the staging directory", source })?;
        let freed = freed
            + self
                .sweep_partial(|digest| !self.stands(digest) && partial::can_go_on(&self.layout, digest))?;
        if freed > 0 {
            log::info!("interrupted image work removed freed_bytes={freed}");
        }
        let _changing = self.changing();
        let mut changes = Vec::new();
        for image in self.list()? {
            if let Some(lost) = image.layers.iter().find(|layer| !self.stands(&layer.diff_id)) {
                log::error!("image has lost a layer image={} layer={}", image.id, lost.diff_id);
                changes.push(CatalogChange::Remove(image.id));
            }
        }
        if !changes.is_empty() {
            self.catalog.commit(&changes)?;
        }
        Ok(freed)
    }

    /// Whether a layer is here. A directory below `layers/` is complete and verified by construction, so
    /// its presence is the answer.
    pub(crate) fn stands(&self, diff_id: &Digest) -> bool {
        self.layout.layer(diff_id).is_dir()
    }

    /// Every image.
    pub fn list(&self) -> Result<Vec<ImageRecord>, StoreError> {
        Ok(self.catalog.images()?)
    }

    /// The image that `selector` names: an image id with or without `sha256:`, a beginning of one of at
    /// least three digits, or a name in any form that [`ImageRef::parse`] completes.
    pub fn resolve(&self, selector: &str) -> Result<ImageRecord, StoreError> {
        let images = self.list()?;
        Ok(images[selector::find(&images, selector)?].clone())
    }

    /// The image of that name if it runs on `platform`. Never asks a registry.
    pub fn find(&self, name: &ImageRef, platform: &Platform) -> Result<Option<ImageRecord>, StoreError> {
        let fits = |image: &ImageRecord| image.platform.fit(platform).is_some();
        Ok(self.list()?.into_iter().find(|image| image.names.contains(name) && fits(image)))
    }

    /// Removes a name, and the image with its last one; given an id, removes the image with all its names.
    /// An image that `in_use` contains stays, and the error says so. Layers that nothing needs any more
    /// go with it.
    pub fn remove(&self, selector: &str, in_use: &BTreeSet<Digest>) -> Result<Removed, StoreError> {
        let _changing = self.changing();
        let images = self.list()?;
        let image = &images[selector::find(&images, selector)?];
        let name = ImageRef::parse(selector).ok().filter(|name| image.names.contains(name));
        let mut removed = Removed::default();
        let change = match name {
            Some(name) if image.names.len() > 1 => {
                let names = image.names.iter().filter(|other| **other != name).cloned().collect();
                removed.names.push(name);
                CatalogChange::Put(ImageRecord { names, ..image.clone() })
            }
            _ if in_use.contains(&image.id) => return Err(StoreError::InUse(selector.to_owned())),
            _ => {
                removed.names.clone_from(&image.names);
                removed.images.push(image.id);
                CatalogChange::Remove(image.id)
            }
        };
        self.catalog.commit(&[change])?;
        log::info!("image removed selector={selector} image={}", image.id);
        if !removed.images.is_empty() {
            self.sweep(&mut removed)?;
        }
        Ok(removed)
    }

    /// Removes the images that `mode` selects, except those whose id `keep` contains, and then every layer
    /// that no image and no running pull needs. With [`Prune::All`], whoever makes up `keep` sees to it that
    /// no pull he cares for ends between that and the call.
    pub fn prune(&self, keep: &BTreeSet<Digest>, mode: Prune) -> Result<Removed, StoreError> {
        let _changing = self.changing();
        let goes =
            |image: &ImageRecord| !keep.contains(&image.id) && (mode == Prune::All || image.names.is_empty());
        let mut removed = Removed::default();
        let mut changes = Vec::new();
        for image in self.list()?.into_iter().filter(goes) {
            changes.push(CatalogChange::Remove(image.id));
            removed.images.push(image.id);
            removed.names.extend(image.names);
        }
        if !changes.is_empty() {
            self.catalog.commit(&changes)?;
        }
        self.sweep(&mut removed)?;
        removed.freed_bytes += self.sweep_partial(|_| false)?;
        if removed != Removed::default() {
            let (images, layers, freed) = (removed.images.len(), removed.layers.len(), removed.freed_bytes);
            log::info!("images pruned images={images} layers={layers} freed_bytes={freed}");
        }
        Ok(removed)
    }

    /// Makes a finished image visible, with `names` taken from whatever image had them before. This is the
    /// one commit of a pull; nothing is written when nothing changes.
    pub(crate) fn publish(&self, image: ImageRecord) -> Result<ImageRecord, StoreError> {
        let _changing = self.changing();
        let images = self.list()?;
        let (image, changes) = publication(&images, image);
        if !changes.is_empty() {
            self.catalog.commit(&changes)?;
        }
        Ok(image)
    }

    /// What is known about a layer that stands already: from an image that has it, or by looking.
    pub(crate) fn describe_layer(&self, diff_id: &Digest) -> Result<LayerRecord, StoreError> {
        let images = self.list()?;
        let known = images.iter().flat_map(|image| &image.layers).find(|layer| layer.diff_id == *diff_id);
        if let Some(known) = known {
            return Ok(known.clone());
        }
        let walk = || {
            let layers = RootDir::open(&self.layout.layers())?;
            usage::file_bytes(&layers, OsStr::new(&diff_id.to_hex()))
        };
        let unpacked_bytes = walk().map_err(|source| StoreError::Io { doing: "measure a layer", source })?;
        Ok(LayerRecord { diff_id: *diff_id, unpacked_bytes, content_bytes: None })
    }

    /// Removes layers that nothing needs. Called with `changing` held, so that what is needed stands
    /// still. A layer is first renamed into staging: a cut leaves it whole, or there, where the next start
    /// removes the rest of it.
    fn sweep(&self, removed: &mut Removed) -> Result<(), StoreError> {
        let io = |source| StoreError::Io { doing: "remove layers", source };
        let needed: BTreeSet<Digest> =
            self.list()?.iter().flat_map(|image| &image.layers).map(|layer| layer.diff_id).collect();
        let layers = RootDir::open(&self.layout.layers()).map_err(io)?;
        let trash = RootDir::open(&self.layout.staging()).map_err(io)?;
        let mut moved = Vec::new();
        for entry in std::fs::read_dir(self.layout.layers()).map_err(io)? {
            let name = entry.map_err(io)?.file_name();
            let digest = name.to_str().and_then(Digest::from_hex);
            // The lease is looked at under its lock: no pull can take up a layer while it moves away.
            let away = self.leases.unless_leased(digest.as_ref(), || {
                if digest.is_some_and(|digest| needed.contains(&digest)) {
                    return Ok(None);
                }
                let new = staging::random_name()?;
                layers.place(&name)?.rename_to(&trash.place(&new)?)?;
                Ok(Some(new))
            });
            if let Some(new) = away.transpose().map_err(io)?.flatten() {
                moved.push(new);
                removed.layers.extend(digest);
            }
        }
        if moved.is_empty() {
            return Ok(());
        }
        edgelet_sys::durable::sync_dir(&self.layout.layers()).map_err(io)?;
        for name in moved {
            removed.freed_bytes += usage::disk_bytes(&trash, OsStr::new(&name)).map_err(io)?;
            trash.place(&name).and_then(|place| place.remove_all()).map_err(io)?;
        }
        Ok(())
    }

    /// Removes what was begun of layers, except of those that `is_kept` and those that somebody is making.
    fn sweep_partial(&self, is_kept: impl Fn(&Digest) -> bool) -> Result<u64, StoreError> {
        let sweep = || -> io::Result<u64> {
            let partial = RootDir::open(&self.layout.partial())?;
            let mut freed = 0;
            for entry in std::fs::read_dir(self.layout.partial())? {
                let name = entry?.file_name();
                let digest = name.to_str().and_then(Digest::from_hex);
                let removed = self.leases.unless_leased(digest.as_ref(), || {
                    if digest.is_some_and(|digest| is_kept(&digest)) {
                        return Ok(0);
                    }
                    digest.map_or(Ok(()), |digest| partial::forget_volatile(&self.layout, &digest))?;
                    let bytes = usage::disk_bytes(&partial, &name)?;
                    partial.place(&name)?.remove_all().map(|()| bytes)
                });
                freed += removed.transpose()?.unwrap_or(0);
            }
            Ok(freed)
        };
        sweep().map_err(|source| StoreError::Io { doing: "remove what was begun of layers", source })
    }

    fn changing(&self) -> std::sync::MutexGuard<'_, ()> {
        // Nothing is kept behind this lock that a panic could have left half done.
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The record to be stored and the changes that make it so: names move from other images, and an image
/// that is here already keeps the names it has.
fn publication(images: &[ImageRecord], mut image: ImageRecord) -> (ImageRecord, Vec<CatalogChange>) {
    let mut changes = Vec::new();
    for other in images {
        if other.id == image.id {
            let kept: Vec<_> =
                other.names.iter().filter(|name| !image.names.contains(name)).cloned().collect();
            image.names = [kept, image.names].concat();
            image.published_at = other.published_at;
            image.manifest = image.manifest.or(other.manifest);
        } else if other.names.iter().any(|name| image.names.contains(name)) {
            let names = other.names.iter().filter(|name| !image.names.contains(name)).cloned().collect();
            changes.push(CatalogChange::Put(ImageRecord { names, ..other.clone() }));
        }
    }
    if !images.contains(&image) {
        changes.push(CatalogChange::Put(image.clone()));
    }
    (image, changes)
}

/// A directory that only root may look into. A laxer mode from elsewhere is corrected.
fn make_private(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let directory = RootDir::open(path)?;
    let mode = std::fs::Permissions::from_mode(0o700);
    std::fs::File::from(directory.as_fd().try_clone_to_owned()?).set_permissions(mode)
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgelet_types::UnixMillis;

    fn image(seed: &str, names: &[&str]) -> ImageRecord {
        ImageRecord {
            id: Digest::of(seed.as_bytes()),
            manifest: None,
            platform: Platform::host(),
            names: names.iter().map(|name| ImageRef::parse(name).expect(name)).collect(),
            layers: Vec::new(),
            config: edgelet_types::image::RunConfig::default(),
            created: None,
            published_at: UnixMillis(1),
        }
    }

    #[test]
    fn a_name_moves_in_the_commit_that_publishes() {
        let old = image("old", &["app:1", "app:latest"]);
        let (new, changes) = publication(std::slice::from_ref(&old), image("new", &["app:latest"]));
        assert_eq!(changes, [CatalogChange::Put(image("old", &["app:1"])), CatalogChange::Put(new)]);
    }

    #[test]
    fn an_image_that_is_here_gains_names_and_keeps_its_date() {
        let here = image("same", &["app:1"]);
        let again = ImageRecord { published_at: UnixMillis(2), ..image("same", &["app:2"]) };
        let (merged, changes) = publication(std::slice::from_ref(&here), again);
        assert_eq!(merged, image("same", &["app:1", "app:2"]));
        assert_eq!(changes.len(), 1);
        assert_eq!(publication(std::slice::from_ref(&here), here.clone()), (here, vec![]));
    }
}
