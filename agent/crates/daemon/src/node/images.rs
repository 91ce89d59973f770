//! Images by hand: what somebody asks for beside what the engine does by itself.

use super::LocalNode;
use crate::drive::wall_clock;
use crate::pulls::Meter;
use edgelet_api::node::{Image, ImageTarget, LoadedImage, Pruned, PullRequest, PulledImage, Watch};
use edgelet_image::{CancelToken, Progress, Prune};
use edgelet_types::{Digest, Fault, Platform, Reason};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

impl LocalNode {
    pub(super) fn list_images(&self) -> Result<Vec<Image>, Fault> {
        let facts = self.engine.call(|engine, now| engine.facts(now))?;
        let used_by =
            |id: &Digest| facts.iter().filter(|fact| fact.image.as_ref() == Some(id)).count() as u64;
        let records = self.images.list()?;
        Ok(records.into_iter().map(|record| Image { used_by: used_by(&record.id), record }).collect())
    }

    pub(super) fn pull_image(&self, request: &PullRequest, watch: &dyn Watch) -> Result<PulledImage, Fault> {
        let platform = request.platform.clone().unwrap_or_else(Platform::host);
        let registries = &self.config.registries;
        let watched = Watched::new(watch);
        let record = self.images.pull(
            &request.image,
            &platform,
            registries,
            wall_clock(),
            &watched,
            &watched.cancel,
        )?;
        self.announce_images()?;
        let manifest =
            record.manifest.ok_or_else(|| Fault::new(Reason::Internal, "a pulled image has no manifest"))?;
        Ok(PulledImage { id: record.id, manifest, platform: record.platform })
    }

    pub(super) fn load_images(&self, archive: &Path, watch: &dyn Watch) -> Result<Vec<LoadedImage>, Fault> {
        let watched = Watched::new(watch);
        let records =
            self.images.load(archive, &Platform::host(), wall_clock(), &watched, &watched.cancel)?;
        self.announce_images()?;
        let loaded = |record: edgelet_types::image::ImageRecord| LoadedImage {
            name: record.names.first().cloned(),
            id: record.id,
        };
        Ok(records.into_iter().map(loaded).collect())
    }

    pub(super) fn remove_image(&self, target: &ImageTarget) -> Result<ImageTarget, Fault> {
        let selector = match target {
            ImageTarget::Name(name) => name.to_string(),
            ImageTarget::Id(id) => id.to_string(),
        };
        let removed = self.images.remove(&selector, &self.needed()?)?;
        self.announce_images()?;
        Ok(match removed.images.first() {
            Some(id) => ImageTarget::Id(*id),
            None => target.clone(),
        })
    }

    pub(super) fn prune_images(&self) -> Result<Pruned, Fault> {
        let removed = self.images.prune(&self.needed()?, Prune::Dangling)?;
        self.announce_images()?;
        Ok(Pruned { images: removed.images, reclaimed_bytes: removed.freed_bytes })
    }

    /// What no workload can do without.
    fn needed(&self) -> Result<BTreeSet<Digest>, Fault> {
        self.engine.call(|engine, _| engine.needed_images())
    }
}

/// Passes progress on to whoever asked, and hears from them whether they still want it.
struct Watched<'a> {
    watch: &'a dyn Watch,
    meter: Meter,
    cancel: CancelToken,
}

impl<'a> Watched<'a> {
    fn new(watch: &'a dyn Watch) -> Self {
        Self { watch, meter: Meter::default(), cancel: CancelToken::new() }
    }

    fn listen(&self) {
        if self.watch.is_cancelled() {
            self.cancel.cancel();
        }
    }
}

impl Progress for Watched<'_> {
    fn layer(&self, layer: &Digest, done_bytes: u64, total_bytes: Option<u64>) {
        self.meter.layer(layer, done_bytes, total_bytes);
        let (done, total) = self.meter.bytes();
        self.watch.progress(done, total);
        self.listen();
    }

    fn retrying(&self, cause: &str, wait: Duration) {
        log::warn!("image attempt failed error=\"{cause}\" retry_in_s={}", wait.as_secs());
        self.listen();
    }
}
