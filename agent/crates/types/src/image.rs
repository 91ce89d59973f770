//! Images as the store knows them.

use crate::{Digest, ImageRef, Platform, UnixMillis};
use serde::{Deserialize, Serialize};

/// An image that is complete and verified on this device. The commit of this record is what makes an
/// image visible; everything it names was durable before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// Digest of the configuration: the image's identity (its "image ID").
    pub id: Digest,
    /// Digest of the manifest that it was pulled by; absent for a docker archive.
    pub manifest: Option<Digest>,
    /// What it is for.
    pub platform: Platform,
    /// Names that point at it. An image without one is dangling.
    pub names: Vec<ImageRef>,
    /// Lowest first.
    pub layers: Vec<LayerRecord>,
    /// How it wants to be run.
    pub config: RunConfig,
    /// When its author says it was made.
    pub created: Option<UnixMillis>,
    /// When it was published here.
    pub published_at: UnixMillis,
}

/// A layer, unpacked below `layers/`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerRecord {
    /// Digest of the uncompressed tar; also its directory's name.
    pub diff_id: Digest,
    /// Bytes of regular files, unpacked.
    pub unpacked_bytes: u64,
    /// Bytes as transferred, where known.
    pub content_bytes: Option<u64>,
}

/// The part of an image's configuration that says how to run it (OCI image-spec 1.1, config.md).
/// Everything here is a default that the workload's own specification overrides; nothing else in an
/// image's configuration has any effect.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RunConfig {
    /// `KEY=value`.
    pub env: Vec<String>,
    /// First words of the command line.
    pub entrypoint: Vec<String>,
    /// Following words, or the whole command line without an entrypoint.
    pub command: Vec<String>,
    /// Working directory.
    pub working_dir: Option<String>,
    /// `user[:group]`, by name or number.
    pub user: Option<String>,
    /// The signal that asks the program to end, such as `SIGQUIT` or `3`.
    pub stop_signal: Option<String>,
}

impl ImageRecord {
    /// Unpacked bytes of all layers, counted as if none were shared.
    pub fn unpacked_bytes(&self) -> u64 {
        self.layers.iter().map(|layer| layer.unpacked_bytes).sum()
    }
}
