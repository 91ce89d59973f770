//! From a reference to an image that stands here.

use crate::config::ImageConfig;
use crate::layer::{self, Expected, LayerError, Standing, Surroundings};
use crate::load::ArchiveError;
use crate::manifest::{Blob, Document, Manifest, ManifestError};
use crate::progress::{CancelToken, LayerDone, Phase, Progress};
use crate::registry::{Client, RegistryError, Served};
use crate::space::NoRoom;
use crate::store::{ImageStore, StoreError};
use crate::tar::TarError;
use crate::transfer::Transfer;
use crate::unpack::UnpackError;
use crate::{parallel, retry};
use edgelet_types::config::Registry;
use edgelet_types::image::{ImageRecord, LayerRecord};
use edgelet_types::{Digest, Fault, ImageRef, Platform, Reason, UnixMillis, limits};
use std::collections::BTreeMap;

/// Why an image could not be pulled. Nothing of it is visible; layers that were finished stay for the next
/// attempt.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[error("pull {reference}")]
pub struct PullError {
    /// What was asked for.
    pub reference: ImageRef,
    /// Why.
    #[source]
    pub cause: Box<PullCause>,
}

/// What went wrong with a pull or load.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PullCause {
    /// The registry did not give something.
    #[error("{what}")]
    Registry {
        /// What was being fetched.
        what: String,
        /// Why.
        #[source]
        source: RegistryError,
    },
    /// The image is not one, or one that we do not run.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// There is no variant for the wanted platform.
    #[error("the image has no variant for {wanted}{}", variants(.offered))]
    Platform {
        /// What was asked for.
        wanted: Platform,
        /// What there is.
        offered: Vec<Platform>,
    },
    /// The image is larger than what is free.
    #[error("no room")]
    NoRoom(#[source] NoRoom),
    /// A layer could not be made.
    #[error("layer {digest}")]
    Layer {
        /// Its digest as transferred, or unpacked where there is no other.
        digest: Digest,
        /// Why.
        #[source]
        source: LayerError,
    },
    /// The archive that is loaded is none, or damaged.
    #[error(transparent)]
    Archive(ArchiveError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// We were told to stop.
    #[error("cancelled")]
    Cancelled,
}

impl PullCause {
    /// The stable reason for callers.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Registry { source, .. } => source.reason(),
            Self::Manifest(ManifestError::SchemaOne | ManifestError::MediaType { .. }) => {
                Reason::NotSupported
            }
            Self::Manifest(_) => Reason::ImageInvalid,
            Self::Platform { .. } => Reason::ImagePlatform,
            Self::NoRoom(_) => Reason::NoSpace,
            Self::Layer { source, .. } => layer_reason(source),
            Self::Archive(error) => error.reason(),
            Self::Store(StoreError::Catalog(fault)) => fault.reason,
            Self::Store(StoreError::Io { source, .. }) => Reason::of_storage(source, Reason::Storage),
            Self::Store(_) => Reason::Internal,
            Self::Cancelled => Reason::Cancelled,
        }
    }

    fn is_passing(&self) -> bool {
        match self {
            Self::Registry { source, .. } => source.is_passing(),
            _ => false,
        }
    }
}

fn layer_reason(error: &LayerError) -> Reason {
    match error {
        LayerError::Registry(error) => error.reason(),
        LayerError::Transfer(_) | LayerError::Truncated { .. } => Reason::RegistryUnreachable,
        LayerError::TooLong(_) | LayerError::Digest { .. } => Reason::DigestMismatch,
        LayerError::Codec(_) | LayerError::Bomb(_) => Reason::ImageInvalid,
        LayerError::Unpack(UnpackError::Archive(TarError::Unsupported(_))) => Reason::NotSupported,
        LayerError::Unpack(UnpackError::NoSpace { .. }) => Reason::NoSpace,
        LayerError::Unpack(UnpackError::Write { source, .. }) => match source.raw_os_error() {
            // The names in the archive asked for something that no file system does.
            Some(nix::libc::ENAMETOOLONG | nix::libc::ELOOP | nix::libc::ENOTDIR | nix::libc::ENOENT) => {
                Reason::ImageInvalid
            }
            _ => Reason::of_storage(source, Reason::Storage),
        },
        LayerError::Unpack(_) => Reason::ImageInvalid,
        LayerError::Publish(source) => Reason::of_storage(source, Reason::Storage),
        LayerError::Cancelled => Reason::Cancelled,
    }
}

impl From<PullError> for Fault {
    fn from(error: PullError) -> Fault {
        Fault::chain(error.cause.reason(), &error)
    }
}

/// An image that has been found, with nothing of it fetched but its description.
pub(crate) struct Found {
    pub(crate) manifest: Option<Digest>,
    pub(crate) config_digest: Digest,
    pub(crate) config: ImageConfig,
    /// Lowest first.
    pub(crate) layers: Vec<Expected>,
}

impl ImageStore {
    /// Makes the image that `reference` names stand here, in its variant for `platform`, and gives it that
    /// name. Layers that stand already are not fetched. `registries` says how to reach registries by
    /// the host and port of references; `now` is the time that goes into the record.
    ///
    /// Blocks, for hours on a thin link; [`CancelToken::cancel`] ends it early. Failures that pass by
    /// themselves are tried again a few times.
    pub fn pull(
        &self,
        reference: &ImageRef,
        platform: &Platform,
        registries: &BTreeMap<String, Registry>,
        now: UnixMillis,
        progress: &dyn Progress,
        cancel: &CancelToken,
    ) -> Result<ImageRecord, PullError> {
        let registry = registries.get(reference.registry()).cloned().unwrap_or_default();
        let pull = Pull { store: self, platform, progress, cancel };
        let image = pull.run(reference, &registry, now).map_err(|cause| {
            // Whatever broke because we broke it, the cause is the cancellation.
            let cause = if cancel.is_cancelled() { PullCause::Cancelled } else { cause };
            PullError { reference: reference.clone(), cause: Box::new(cause) }
        })?;
        log::info!("image pulled name={reference} image={} layers={}", image.id, image.layers.len());
        Ok(image)
    }
}

/// A running pull.
struct Pull<'a> {
    store: &'a ImageStore,
    platform: &'a Platform,
    progress: &'a dyn Progress,
    cancel: &'a CancelToken,
}

impl Pull<'_> {
    fn run(
        &self,
        reference: &ImageRef,
        registry: &Registry,
        now: UnixMillis,
    ) -> Result<ImageRecord, PullCause> {
        let client = Client::new(reference, registry, &self.store.options.timeouts, self.cancel)
            .map_err(|source| PullCause::Registry { what: "set up".to_owned(), source })?;
        self.progress.phase(Phase::Resolving);
        let found = self.resolve(&client, reference)?;
        let fetch = |expected: &Expected, around: &Surroundings<'_>| {
            let blob = expected
                .content
                .ok_or_else(|| ManifestError::Contradiction("a layer without a descriptor".to_owned()))?;
            let open = |from: u64| {
                let retries = self.policy().begin(self.cancel, self.progress);
                Ok(Transfer::new(&client, blob, from, retries))
            };
            layer::make(open, expected, around)
                .map_err(|source| PullCause::Layer { digest: blob.digest, source })
        };
        let names = vec![reference.clone()];
        self.store.assemble(found, names, now, self.progress, self.cancel, &fetch)
    }

    /// Finds the manifest for our platform, through indexes if need be, and its configuration.
    fn resolve(&self, client: &Client, reference: &ImageRef) -> Result<Found, PullCause> {
        let mut selector = reference.selector();
        let mut promised: Option<Blob> = None;
        for _ in 0..INDEX_DEPTH {
            let served = self.manifest(client, &selector)?;
            if let Some(blob) = promised
                && blob.size != served.bytes.len() as u64
            {
                let text = format!("{} has {} B, want {}", blob.digest, served.bytes.len(), blob.size);
                return Err(ManifestError::Contradiction(text).into());
            }
            match Document::parse(&served.bytes, served.content_type.as_deref())? {
                Document::Manifest(manifest) => {
                    return self.describe(client, manifest, Digest::of(&served.bytes));
                }
                Document::Index(index) => {
                    let offered = || index.entries.iter().filter_map(|entry| entry.platform.clone());
                    let entry = index.choose(self.platform).ok_or_else(|| PullCause::Platform {
                        wanted: self.platform.clone(),
                        offered: offered().collect(),
                    })?;
                    selector = entry.blob.digest.to_string();
                    promised = Some(entry.blob);
                }
            }
        }
        let limit = INDEX_DEPTH as u64;
        Err(ManifestError::TooMany { what: "indexes in indexes", count: limit + 1, limit }.into())
    }

    fn describe(&self, client: &Client, manifest: Manifest, digest: Digest) -> Result<Found, PullCause> {
        let what = || format!("configuration {}", manifest.config.digest);
        let bytes = self.retrying(|| {
            client.small_blob(&manifest.config).map_err(|source| registry_error(what(), source))
        })?;
        let config = ImageConfig::parse(&bytes, manifest.layers.len())?;
        if config.platform.fit(self.platform).is_none() {
            let offered = vec![config.platform];
            return Err(PullCause::Platform { wanted: self.platform.clone(), offered });
        }
        let layers = config.diff_ids.iter().zip(&manifest.layers);
        let layers = layers.map(|(diff_id, blob)| Expected { diff_id: *diff_id, content: Some(*blob) });
        Ok(Found {
            manifest: Some(digest),
            config_digest: manifest.config.digest,
            layers: layers.collect(),
            config,
        })
    }

    fn manifest(&self, client: &Client, selector: &str) -> Result<Served, PullCause> {
        self.retrying(|| {
            client.manifest(selector).map_err(|source| registry_error(format!("manifest {selector}"), source))
        })
    }

    fn retrying<T>(&self, act: impl FnMut() -> Result<T, PullCause>) -> Result<T, PullCause> {
        let wait_asked = |cause: &PullCause| match cause {
            PullCause::Registry { source, .. } => source.retry_after(),
            _ => None,
        };
        let passing = |cause: &PullCause| cause.is_passing().then(|| wait_asked(cause));
        self.policy().run(self.cancel, self.progress, passing, act)
    }

    fn policy(&self) -> retry::Policy {
        let options = &self.store.options;
        retry::Policy { attempts: options.attempts, first_wait: options.first_wait }
    }
}

/// An index in an index is allowed by the specification; more than a few is somebody playing.
pub(crate) const INDEX_DEPTH: usize = 3;

fn registry_error(what: String, source: RegistryError) -> PullCause {
    PullCause::Registry { what, source }
}

/// How one layer is made from wherever its bytes are.
pub(crate) type Make<'a> = dyn Fn(&Expected, &Surroundings<'_>) -> Result<Standing, PullCause> + Sync + 'a;

impl ImageStore {
    /// Makes all layers of an image stand and then makes the image visible, in one commit. While this runs
    /// none of its layers can be removed.
    pub(crate) fn assemble(
        &self,
        found: Found,
        names: Vec<ImageRef>,
        now: UnixMillis,
        progress: &dyn Progress,
        cancel: &CancelToken,
        make: &Make<'_>,
    ) -> Result<ImageRecord, PullCause> {
        let _lease = self.leases.lease(found.layers.iter().map(|layer| layer.diff_id));
        let distinct: BTreeMap<Digest, Expected> =
            found.layers.iter().map(|layer| (layer.diff_id, *layer)).collect();
        self.check_room(distinct.values())?;
        progress.phase(Phase::Layers);
        // In the manifest's order, so that the bars of a terminal are too.
        let mut ordered: Vec<Expected> = Vec::new();
        for layer in &found.layers {
            if !ordered.iter().any(|seen| seen.diff_id == layer.diff_id) {
                ordered.push(*layer);
            }
        }
        let around = self.surroundings(progress, cancel);
        let stand = |expected: &Expected| self.ensure_layer(expected, &around, make);
        let records = parallel::map(&ordered, self.options.parallel, stand)?;
        progress.phase(Phase::Publishing);
        let record_of =
            |layer: &Expected| records.iter().find(|record| record.diff_id == layer.diff_id).cloned();
        let image = ImageRecord {
            id: found.config_digest,
            manifest: found.manifest,
            platform: found.config.platform,
            names,
            layers: found.layers.iter().filter_map(record_of).collect(),
            config: found.config.run,
            created: found.config.created,
            published_at: now,
        };
        if cancel.is_cancelled() {
            return Err(PullCause::Cancelled);
        }
        Ok(self.publish(image)?)
    }

    pub(crate) fn surroundings<'a>(
        &'a self,
        progress: &'a dyn Progress,
        cancel: &'a CancelToken,
    ) -> Surroundings<'a> {
        let keep_every = self.options.keep_every;
        Surroundings { layout: &self.layout, room: &self.room, progress, cancel, keep_every }
    }

    /// Makes one layer unless it stands.
    fn ensure_layer(
        &self,
        expected: &Expected,
        around: &Surroundings<'_>,
        make: &Make<'_>,
    ) -> Result<LayerRecord, PullCause> {
        let diff_id = expected.diff_id;
        let Some(_making) = self.leases.make(diff_id, around.cancel) else {
            return Err(PullCause::Cancelled);
        };
        if self.stands(&diff_id) {
            around.progress.layer_done(&diff_id, LayerDone::Present);
            let known = self.describe_layer(&diff_id)?;
            let content_bytes = known.content_bytes.or(expected.content.map(|blob| blob.size));
            return Ok(LayerRecord { content_bytes, ..known });
        }
        let standing = make(expected, around)?;
        around.progress.layer_done(&diff_id, LayerDone::Unpacked);
        let content_bytes = expected.content.map(|_| standing.content_bytes);
        Ok(LayerRecord { diff_id, unpacked_bytes: standing.unpacked_bytes, content_bytes })
    }

    /// Refuses before the first byte what cannot fit: the unpacked layers take at least their compressed
    /// size, almost always more.
    fn check_room<'a>(&self, layers: impl Iterator<Item = &'a Expected>) -> Result<(), PullCause> {
        let missing = layers.filter(|layer| !self.stands(&layer.diff_id));
        let need = missing
            .filter_map(|layer| layer.content)
            .fold(0, |sum: u64, blob| sum.saturating_add(blob.size.min(limits::LAYER_BYTES)));
        self.room.check(need).map_err(PullCause::NoRoom)
    }
}

fn variants(platforms: &[Platform]) -> String {
    let mut names: Vec<String> = platforms.iter().map(ToString::to_string).collect();
    names.retain(|name| name != "unknown/unknown");
    names.truncate(16);
    match names.is_empty() {
        true => String::new(),
        false => format!("; it has {}", names.join(", ")),
    }
}
