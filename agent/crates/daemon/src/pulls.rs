//! Pulls in flight: who waits for them, how far they are, and how they are given up.

use crate::drive::wall_clock;
use edgelet_engine::StepId;
use edgelet_image::{CancelToken, ImageStore, Progress};
use edgelet_types::config::Config;
use edgelet_types::image::ImageRecord;
use edgelet_types::{Digest, Fault, ImageRef, Platform};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The pulls of the engine. Those that somebody asked for by hand report to that somebody.
pub struct Pulls {
    images: Arc<ImageStore>,
    config: Arc<Config>,
    running: Mutex<BTreeMap<StepId, Running>>,
}

struct Running {
    image: ImageRef,
    cancel: CancelToken,
    meter: Arc<Meter>,
}

impl Pulls {
    /// No pull is running.
    pub fn new(images: Arc<ImageStore>, config: Arc<Config>) -> Self {
        Self { images, config, running: Mutex::default() }
    }

    /// Pulls for a step of the engine; blocks until it is done, has failed, or was cancelled.
    pub fn pull(&self, step: StepId, image: &ImageRef, platform: &Platform) -> Result<ImageRecord, Fault> {
        let meter = Arc::new(Meter::default());
        let cancel = CancelToken::new();
        let running = Running { image: image.clone(), cancel: cancel.clone(), meter: meter.clone() };
        self.running().insert(step, running);
        let pulled =
            self.images.pull(image, platform, &self.config.registries, wall_clock(), &*meter, &cancel);
        self.running().remove(&step);
        Ok(pulled?)
    }

    /// Asks a pull to give up; one that has ended is fine.
    pub fn cancel(&self, step: StepId) {
        if let Some(running) = self.running().get(&step) {
            running.cancel.cancel();
        }
    }

    /// How far the pull of an image is, where one is running and its size is known.
    pub fn percent(&self, image: &ImageRef) -> Option<u8> {
        self.running().values().find(|running| running.image == *image)?.meter.percent()
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<StepId, Running>> {
        // Every change of the map is a single call.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds up the layers of one pull.
#[derive(Default)]
pub struct Meter {
    layers: Mutex<BTreeMap<Digest, (u64, u64)>>,
}

impl Meter {
    /// Bytes that have come, of bytes that will.
    pub fn bytes(&self) -> (u64, u64) {
        let layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        layers.values().fold((0, 0), |(done, total), layer| (done + layer.0, total + layer.1))
    }

    fn percent(&self) -> Option<u8> {
        let (done, total) = self.bytes();
        let percent = done.saturating_mul(100).checked_div(total)?;
        Some(u8::try_from(percent.min(100)).unwrap_or(100))
    }
}

impl Progress for Meter {
    fn layer(&self, layer: &Digest, done_bytes: u64, total_bytes: Option<u64>) {
        let mut layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        layers.insert(*layer, (done_bytes, total_bytes.unwrap_or(0).max(done_bytes)));
    }
}
