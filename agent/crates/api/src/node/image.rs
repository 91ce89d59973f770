//! Images.

use edgelet_types::image::ImageRecord;
use edgelet_types::{Digest, ImageRef, Platform};

/// An image on this device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// What it is.
    pub record: ImageRecord,
    /// How many workloads need it.
    pub used_by: u64,
}

/// An image that somebody wants pulled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullRequest {
    /// What.
    pub image: ImageRef,
    /// Which variant; the host's when absent.
    pub platform: Option<Platform>,
}

/// What a pull brought, or found to be here already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PulledImage {
    /// The image's identity.
    pub id: Digest,
    /// Digest of the manifest of the chosen platform.
    pub manifest: Digest,
    /// The variant that was chosen.
    pub platform: Platform,
}

/// An image that was in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedImage {
    /// Its name, where the archive gives one.
    pub name: Option<ImageRef>,
    /// Its identity.
    pub id: Digest,
}

/// What to remove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageTarget {
    /// This name; the image too, when it was the last one.
    Name(ImageRef),
    /// The image and all its names.
    Id(Digest),
}

/// What pruning took away.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pruned {
    /// Images.
    pub images: Vec<Digest>,
    /// Bytes that are free now and were not before.
    pub reclaimed_bytes: u64,
}
