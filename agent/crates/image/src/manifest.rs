//! Manifests and indexes, parsed as the hostile input they are (OCI image-spec 1.1, manifest.md and
//! image-index.md; Docker Image Manifest Version 2, Schema 2).
//!
//! Unknown fields are ignored, as the specification demands. Missing and contradictory ones are refused.
//! Annotations are data and have no effect.

use edgelet_types::{Digest, Platform, limits};
use serde::Deserialize;
use std::collections::BTreeMap;

pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

/// What a registry may answer when asked for a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Document {
    /// A list of manifests for different platforms.
    Index(Index),
    /// One image.
    Manifest(Manifest),
}

/// A list of manifests, with the entries that could be images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Index {
    pub(crate) entries: Vec<Entry>,
}

/// One line of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) blob: Blob,
    pub(crate) platform: Option<Platform>,
    /// Names that an archive gives to the image.
    pub(crate) annotations: BTreeMap<String, String>,
}

/// One image: its configuration and its layers, lowest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) config: Blob,
    pub(crate) layers: Vec<Blob>,
}

/// A promise of content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Blob {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

/// Why a manifest or an image's configuration cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// Not JSON, or a field of the wrong type, or one missing.
    #[error("not a valid {what}: {cause}")]
    Malformed {
        /// `manifest`, `index` or `configuration`.
        what: &'static str,
        /// What the parser says.
        cause: String,
    },
    /// The format of registries before 2015, with no content digests.
    #[error("image manifest schema 1 is not supported; the image must be pushed again by a current tool")]
    SchemaOne,
    /// Something that is not a container image, or a kind of layer that we do not unpack.
    #[error("{what} of type {media_type:?} is not supported")]
    MediaType {
        /// Which part.
        what: &'static str,
        /// What it says it is.
        media_type: String,
    },
    /// Two statements about the same thing disagree.
    #[error("the manifest contradicts itself: {0}")]
    Contradiction(String),
    /// More than the named limit.
    #[error("{what}: {count} is more than the limit of {limit}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How much.
        count: u64,
        /// How much is accepted.
        limit: u64,
    },
}

impl Document {
    /// Parses what arrived with the given `Content-Type`, where there was one.
    pub(crate) fn parse(bytes: &[u8], content_type: Option<&str>) -> Result<Self, ManifestError> {
        let malformed = |cause: serde_json::Error| ManifestError::Malformed {
            what: "manifest",
            cause: cause.to_string(),
        };
        let wire: WireDocument = serde_json::from_slice(bytes).map_err(malformed)?;
        match wire.schema_version {
            2 => {}
            1 => return Err(ManifestError::SchemaOne),
            other => return Err(contradiction(format!("schemaVersion is {other}, want 2"))),
        }
        match wire.kind(content_type)? {
            Kind::Index => wire.into_index().map(Document::Index),
            Kind::Manifest => wire.into_manifest().map(Document::Manifest),
        }
    }
}

impl Index {
    /// The entry that runs best on `platform`. Entries without a platform are taken only when there is
    /// none with a fitting one, and only if there is just one of them.
    pub(crate) fn choose(&self, platform: &Platform) -> Option<&Entry> {
        let fit = |entry: &Entry| entry.platform.as_ref().and_then(|image| image.fit(platform));
        let mut best: Option<(u32, &Entry)> = None;
        for entry in &self.entries {
            // The first of equals wins (image-spec, image-index.md, "manifests").
            if let Some(fit) = fit(entry)
                && best.is_none_or(|(best, _)| fit > best)
            {
                best = Some((fit, entry));
            }
        }
        let mut unlabelled = self.entries.iter().filter(|entry| entry.platform.is_none());
        match (best, unlabelled.next(), unlabelled.next()) {
            (Some((_, entry)), _, _) => Some(entry),
            (None, Some(only), None) => Some(only),
            _ => None,
        }
    }
}

enum Kind {
    Index,
    Manifest,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireDocument {
    schema_version: u64,
    media_type: Option<String>,
    config: Option<WireDescriptor>,
    layers: Option<Vec<WireDescriptor>>,
    manifests: Option<Vec<WireDescriptor>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireDescriptor {
    media_type: String,
    digest: Digest,
    size: u64,
    platform: Option<WirePlatform>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct WirePlatform {
    architecture: String,
    os: String,
    variant: Option<String>,
}

impl WireDocument {
    /// What it is, by its own word, the server's, or its shape. They must not disagree: a document that
    /// is a manifest to one reader and an index to another is an attack (CVE-2021-41190).
    fn kind(&self, content_type: Option<&str>) -> Result<Kind, ManifestError> {
        if self.manifests.is_some() && (self.layers.is_some() || self.config.is_some()) {
            return Err(contradiction("it is an index and an image at once".to_owned()));
        }
        let essence = content_type.map(|text| text.split(';').next().unwrap_or_default().trim());
        let served = essence.filter(|text| !matches!(*text, "" | "application/json" | "text/plain"));
        let served = served.filter(|text| *text != "application/octet-stream");
        if let (Some(own), Some(served)) = (&self.media_type, served)
            && own != served
        {
            return Err(contradiction(format!("it says {own:?} and the registry says {served:?}")));
        }
        match self.media_type.as_deref().or(served) {
            Some(OCI_INDEX | DOCKER_LIST) => Ok(Kind::Index),
            Some(OCI_MANIFEST | DOCKER_MANIFEST) => Ok(Kind::Manifest),
            Some(other) => Err(media_type("manifest", other)),
            None if self.manifests.is_some() => Ok(Kind::Index),
            None => Ok(Kind::Manifest),
        }
    }

    fn into_index(self) -> Result<Index, ManifestError> {
        let manifests = self.manifests.ok_or_else(|| missing("index", "manifests"))?;
        at_most("entries of an index", manifests.len(), limits::INDEX_ENTRIES)?;
        let is_image = |entry: &WireDescriptor| {
            matches!(entry.media_type.as_str(), OCI_INDEX | DOCKER_LIST | OCI_MANIFEST | DOCKER_MANIFEST)
        };
        let entries = manifests.into_iter().filter(is_image).map(|entry| Entry {
            blob: Blob { digest: entry.digest, size: entry.size },
            platform: entry.platform.as_ref().map(WirePlatform::parse),
            annotations: entry.annotations.unwrap_or_default(),
        });
        Ok(Index { entries: entries.collect() })
    }

    fn into_manifest(self) -> Result<Manifest, ManifestError> {
        let config = self.config.ok_or_else(|| missing("manifest", "config"))?;
        let layers = self.layers.ok_or_else(|| missing("manifest", "layers"))?;
        if !matches!(config.media_type.as_str(), OCI_CONFIG | DOCKER_CONFIG) {
            return Err(media_type("an artifact with a configuration", &config.media_type));
        }
        at_most("layers", layers.len(), limits::IMAGE_LAYERS)?;
        at_most_bytes("bytes of configuration", config.size, limits::IMAGE_CONFIG_BYTES)?;
        let layers = layers.into_iter().map(|layer| {
            // Which compression it really is, its first bytes say; the digests decide what it holds.
            match layer.media_type.as_str() {
                "application/vnd.oci.image.layer.v1.tar"
                | "application/vnd.oci.image.layer.v1.tar+gzip"
                | "application/vnd.oci.image.layer.v1.tar+zstd"
                | "application/vnd.docker.image.rootfs.diff.tar"
                | "application/vnd.docker.image.rootfs.diff.tar.gzip"
                | "application/vnd.docker.image.rootfs.diff.tar.zstd" => {}
                other => return Err(media_type("a layer", other)),
            }
            at_most_bytes("bytes of a layer", layer.size, limits::LAYER_BYTES)?;
            Ok(Blob { digest: layer.digest, size: layer.size })
        });
        Ok(Manifest {
            config: Blob { digest: config.digest, size: config.size },
            layers: layers.collect::<Result<_, _>>()?,
        })
    }
}

impl WirePlatform {
    /// A platform that we cannot even name is one that we cannot run, such as the `unknown/unknown` of
    /// attestations; it stays in the list as one that fits nothing.
    fn parse(&self) -> Platform {
        let text = match self.variant.as_deref().filter(|variant| !variant.is_empty()) {
            Some(variant) => format!("{}/{}/{variant}", self.os, self.architecture),
            None => format!("{}/{}", self.os, self.architecture),
        };
        let unknown =
            || Platform { os: "unknown".to_owned(), architecture: "unknown".to_owned(), variant: None };
        Platform::parse(&text).unwrap_or_else(|_| unknown())
    }
}

fn contradiction(text: String) -> ManifestError {
    ManifestError::Contradiction(text)
}

fn missing(what: &'static str, field: &str) -> ManifestError {
    ManifestError::Malformed { what, cause: format!("missing field `{field}`") }
}

fn media_type(what: &'static str, media_type: &str) -> ManifestError {
    ManifestError::MediaType { what, media_type: media_type.chars().take(100).collect() }
}

fn at_most(what: &'static str, count: usize, limit: usize) -> Result<(), ManifestError> {
    at_most_bytes(what, count as u64, limit as u64)
}

fn at_most_bytes(what: &'static str, count: u64, limit: u64) -> Result<(), ManifestError> {
    match count <= limit {
        true => Ok(()),
        false => Err(ManifestError::TooMany { what, count, limit }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    type Case = (&'static str, fn(&mut Value), &'static str);
    const D: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn manifest() -> Value {
        json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "newer": {"field": 1},
            "config": {"mediaType": OCI_CONFIG, "digest": D, "size": 2},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": D, "size": 3}],
            "annotations": {"io.example.command": "rm -rf /"},
        })
    }

    fn parse(value: &Value) -> Result<Document, ManifestError> {
        Document::parse(value.to_string().as_bytes(), None)
    }

    fn platform(text: &str) -> Platform {
        Platform::parse(text).expect(text)
    }

    fn index_of(platforms: &[Value]) -> Index {
        let entry = |(n, platform): (usize, &Value)| {
            let mut entry = json!({"mediaType": OCI_MANIFEST, "digest": D, "size": n});
            if !platform.is_null() {
                entry["platform"] = platform.clone();
            }
            entry
        };
        let entries: Vec<Value> = platforms.iter().enumerate().map(entry).collect();
        match parse(&json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})) {
            Ok(Document::Index(index)) => index,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn both_dialects_parse_and_unknown_fields_are_ignored() {
        let mut docker = manifest();
        docker["mediaType"] = json!(DOCKER_MANIFEST);
        docker["config"]["mediaType"] = json!(DOCKER_CONFIG);
        docker["layers"][0]["mediaType"] = json!("application/vnd.docker.image.rootfs.diff.tar.gzip");
        assert_eq!(parse(&manifest()), parse(&docker));
        assert!(matches!(parse(&manifest()), Ok(Document::Manifest(m)) if m.layers[0].size == 3));
    }

    #[test]
    fn what_is_missing_contradictory_or_foreign_is_refused_by_name() {
        let cases: Vec<Case> = vec![
            ("schema 1", |m| m["schemaVersion"] = json!(1), "schema 1"),
            ("schema 3", |m| m["schemaVersion"] = json!(3), "schemaVersion is 3"),
            ("no config", |m| m["config"] = Value::Null, "missing field `config`"),
            ("no layers", |m| m["layers"] = Value::Null, "missing field `layers`"),
            ("both kinds", |m| m["manifests"] = json!([]), "index and an image at once"),
            ("artifact", |m| m["config"]["mediaType"] = json!("application/x"), "\"application/x\""),
            ("odd layer", |m| m["layers"][0]["mediaType"] = json!("text/html"), "a layer of type"),
            ("sha512", |m| m["layers"][0]["digest"] = json!("sha512:00"), "only sha256"),
            ("negative size", |m| m["config"]["size"] = json!(-1), "invalid value"),
            ("huge config", |m| m["config"]["size"] = json!(1u64 << 40), "bytes of configuration"),
            ("huge layer", |m| m["layers"][0]["size"] = json!(1u64 << 60), "bytes of a layer"),
            ("many layers", |m| m["layers"] = json!(vec![m["layers"][0].clone(); 128]), "128 is more"),
        ];
        for (name, change, want) in cases {
            let mut value = manifest();
            change(&mut value);
            let error = parse(&value).expect_err(name).to_string();
            assert!(error.contains(want), "{name}: {error}");
        }
        let error = Document::parse(manifest().to_string().as_bytes(), Some(OCI_INDEX));
        assert!(matches!(error, Err(ManifestError::Contradiction(_))));
        assert!(Document::parse(b"<html>", None).is_err());
    }

    #[test]
    fn the_best_fitting_entry_is_chosen_and_attestations_never() {
        let arm = |variant: &str| json!({"os": "linux", "architecture": "arm", "variant": variant});
        let unknown = json!({"os": "unknown", "architecture": "unknown"});
        let amd64 = json!({"os": "linux", "architecture": "amd64"});
        let index = index_of(&[unknown.clone(), arm("v6"), arm("v7"), amd64]);
        let size = |index: &Index, text: &str| index.choose(&platform(text)).map(|e| e.blob.size);
        assert_eq!(size(&index, "linux/arm/v7"), Some(2));
        assert_eq!(size(&index, "linux/arm/v6"), Some(1));
        assert_eq!(size(&index, "linux/amd64"), Some(3));
        assert_eq!(size(&index, "linux/riscv64"), None);
        assert_eq!(size(&index_of(&[unknown, Value::Null]), "linux/amd64"), Some(1));
        assert_eq!(size(&index_of(&[Value::Null, Value::Null]), "linux/amd64"), None);
    }
}
