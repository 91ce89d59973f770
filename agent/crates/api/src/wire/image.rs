//! Images.

use super::{ENGINE, ErrorBody, OperationState, human_bytes};
use crate::node;
use edgelet_types::ImageRef;
use serde::{Deserialize, Serialize};

/// An image under one of its names. An image with two names is listed twice, one without a name once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// Its identity: digest of the configuration.
    pub id: String,
    /// The first 12 digits.
    pub short_id: String,
    /// `registry/repository`, or `<none>`.
    pub repository: String,
    /// The tag, or `<none>`.
    pub tag: String,
    /// Digest of the manifest; empty for an image from a docker archive.
    pub digest: String,
    /// RFC 3339: when it was made, else when it came here.
    pub created_at: String,
    /// Bytes as transferred, where known.
    pub content_size_bytes: Option<u64>,
    /// The same for people.
    pub content_size_human: Option<String>,
    /// Bytes on disk, shared layers counted in full.
    pub disk_usage_bytes: u64,
    /// The same for people.
    pub disk_usage_human: String,
    /// How many workloads need it.
    pub in_use: Option<u64>,
    /// `edgelet`.
    pub engine: String,
}

impl Image {
    /// The rows of one image.
    pub(crate) fn rows(image: &node::Image) -> Vec<Self> {
        let names = &image.record.names;
        match names.is_empty() {
            true => vec![Self::row(image, None)],
            false => names.iter().map(|name| Self::row(image, Some(name))).collect(),
        }
    }

    fn row(image: &node::Image, name: Option<&ImageRef>) -> Self {
        let record = &image.record;
        let none = || "<none>".to_owned();
        let content = record
            .layers
            .iter()
            .try_fold(0_u64, |sum, layer| layer.content_bytes.map(|bytes| sum.saturating_add(bytes)));
        let disk = record.unpacked_bytes();
        Self {
            id: record.id.to_string(),
            short_id: record.id.short(),
            repository: name.map_or_else(none, ImageRef::name),
            tag: name.and_then(ImageRef::tag).map_or_else(none, str::to_owned),
            digest: record.manifest.map(|digest| digest.to_string()).unwrap_or_default(),
            created_at: record.created.unwrap_or(record.published_at).to_string(),
            content_size_bytes: content,
            content_size_human: content.map(human_bytes),
            disk_usage_bytes: disk,
            disk_usage_human: human_bytes(disk),
            in_use: Some(image.used_by),
            engine: ENGINE.to_owned(),
        }
    }
}

/// What to pull.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ImagePullRequest {
    /// The reference.
    pub image: String,
    /// Not supported yet; refused when given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry_id: Option<i64>,
    /// `os/arch[/variant]`; the host's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// Answer at once with an operation to ask about.
    #[serde(default, rename = "async", skip_serializing_if = "Option::is_none")]
    pub background: Option<bool>,
}

/// How a pull goes, or how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImagePullStatus {
    /// The operation.
    pub operation_id: String,
    /// How far it is.
    pub status: OperationState,
    /// 0 to 100.
    pub progress: u8,
    /// Bytes that are here.
    #[serde(default)]
    pub bytes_done: u64,
    /// Bytes in all; 0 while unknown.
    #[serde(default)]
    pub bytes_total: u64,
    /// As asked for.
    pub image: String,
    /// `registry/repository@digest`, once it is known.
    #[serde(default)]
    pub resolved_image: String,
    /// The variant.
    #[serde(default)]
    pub platform: String,
    /// `edgelet`.
    pub engine: String,
    /// For people.
    #[serde(default)]
    pub message: String,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The same as code can read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_detail: Option<ErrorBody>,
    /// RFC 3339.
    pub started_at: String,
    /// RFC 3339; absent while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
}

/// What to load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadRequest {
    /// An absolute path on the device.
    pub path: String,
}

/// How a load goes, or how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageLoadStatus {
    /// The operation.
    pub operation_id: String,
    /// How far it is.
    pub status: OperationState,
    /// 0 to 100.
    pub progress: u8,
    /// The images; empty while it runs.
    pub loaded: Vec<ImageLoaded>,
    /// How many.
    pub count: usize,
    /// `edgelet`.
    pub engine: String,
    /// For people.
    pub message: String,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorBody>,
    /// RFC 3339.
    pub started_at: String,
    /// RFC 3339; absent while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
}

/// An image that was in an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageLoaded {
    /// Its name; empty when the archive gives none.
    pub name: String,
    /// Its identity.
    pub id: String,
}

/// What to remove.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoveRequest {
    /// A name, an id, or the first digits of one.
    pub selector: String,
}

/// What was removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImageRemoved {
    /// `removed`.
    pub status: String,
    /// As asked for.
    pub selector: String,
    /// The name or id.
    pub removed: String,
    /// `edgelet`.
    pub engine: String,
    /// For people.
    pub message: String,
}

/// What pruning took away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImagePrune {
    /// `ok`.
    pub status: String,
    /// `dangling`.
    pub mode: String,
    /// Ids of images.
    pub deleted: Vec<String>,
    /// How many.
    pub deleted_count: usize,
    /// Always 0.
    pub containers_deleted_count: usize,
    /// Always 0.
    pub volumes_deleted_count: usize,
    /// As `deleted_count`.
    pub images_deleted_count: usize,
    /// Bytes that are free now.
    pub space_reclaimed_bytes: u64,
    /// The same for people.
    pub space_reclaimed_human: String,
    /// `edgelet`.
    pub engine: String,
    /// For people.
    pub message: String,
}

impl From<node::Pruned> for ImagePrune {
    fn from(pruned: node::Pruned) -> Self {
        let count = pruned.images.len();
        let human = human_bytes(pruned.reclaimed_bytes);
        Self {
            status: "ok".to_owned(),
            mode: "dangling".to_owned(),
            deleted: pruned.images.iter().map(ToString::to_string).collect(),
            deleted_count: count,
            containers_deleted_count: 0,
            volumes_deleted_count: 0,
            images_deleted_count: count,
            space_reclaimed_bytes: pruned.reclaimed_bytes,
            message: format!("{count} images removed, {human} reclaimed"),
            space_reclaimed_human: human,
            engine: ENGINE.to_owned(),
        }
    }
}
