//! The `Microservice` manifest: YAML text in, a checked specification out.
//!
//! Every rule is applied here, so that a manifest that parses can be run as it says. What this version
//! does not do is refused by the name of its field; nothing is ignored. The text is read within a budget
//! (aliases, depth, nodes), because manifests are strangers' input.

mod check;
mod container;
mod fields;
mod file;
mod mounts;
mod yaml;

use check::{at, name, not_supported};
use edgelet_types::limits::DEPLOY_MANIFEST_BYTES;
use edgelet_types::{Fault, ImageRef, Name, Reason, WorkloadSpec};
use fields::{Fields, IS_THERE};
use file::{Metadata, Spec};
use std::collections::BTreeMap;

/// The only accepted `apiVersion`.
pub const API_VERSION: &str = "edgelet.iofog.org/v1";
/// The only accepted `kind`, so far.
pub const KIND: &str = "Microservice";

/// What a manifest says.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// `metadata.name`: which workload it is. Applying the same name again replaces it.
    pub name: Name,
    /// How to run it.
    pub spec: WorkloadSpec,
    /// What was accepted and yet has no effect, in sentences for its author.
    pub warnings: Vec<String>,
}

/// Why a manifest is refused. Its author must change it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// Longer than any honest one.
    #[error("manifest: {bytes} bytes are more than the {DEPLOY_MANIFEST_BYTES} that are accepted")]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
    /// Not YAML, more than one document, or past the parser's budget.
    #[error("manifest: {0}")]
    Syntax(String),
    /// A field is missing, unknown, of the wrong type, or breaks a rule.
    #[error("manifest: {path}: {rule}")]
    Field {
        /// Such as `spec.container.tmpfs[0].size`.
        path: String,
        /// What is wanted.
        rule: String,
    },
    /// A field asks for something that this version does not do.
    #[error("manifest: {path}: not supported by this version{hint}")]
    NotSupported {
        /// Such as `spec.models`.
        path: String,
        /// `; …` what to do instead, or nothing.
        hint: String,
    },
}

impl From<ManifestError> for Fault {
    fn from(error: ManifestError) -> Self {
        let reason = match error {
            ManifestError::NotSupported { .. } => Reason::NotSupported,
            _ => Reason::InvalidInput,
        };
        Fault::new(reason, error)
    }
}

/// Parses and checks one manifest. Pure; its cost is bounded by [`DEPLOY_MANIFEST_BYTES`] and the
/// parser's budget.
pub fn parse(text: &str) -> Result<Manifest, ManifestError> {
    if text.len() as u64 > DEPLOY_MANIFEST_BYTES {
        return Err(ManifestError::TooLarge { bytes: text.len() });
    }
    check(read(text)?)
}

/// Text to fields: syntax, kind, types and unknown names.
fn read(text: &str) -> Result<(Metadata, Spec), ManifestError> {
    let mut fields = Fields::of("", yaml::parse(text)?)?;
    // Before anything else, because other versions and kinds have other fields.
    if fields.take_first("apiVersion")? != API_VERSION {
        return Err(at("apiVersion", format!("must be {API_VERSION}")));
    }
    check_kind(&fields.take_first("kind")?)?;
    let metadata = fields.take("metadata");
    let spec = fields.take("spec");
    fields.finish()?;
    Ok((metadata.expect(IS_THERE), spec.expect(IS_THERE)))
}

/// Kinds that other versions of this program deploy are told from those that none does.
fn check_kind(kind: &str) -> Result<(), ManifestError> {
    match kind {
        KIND => Ok(()),
        "Registry" | "Model" | "Knowledge" | "RuntimeClass" | "ControlPlane" => {
            Err(not_supported(format!("kind: {kind}"), &format!("; only {KIND} can be deployed")))
        }
        _ => Err(at("kind", format!("{kind:?}: must be {KIND}"))),
    }
}

/// Fields to a specification: the rules.
fn check((metadata, wanted): (Metadata, Spec)) -> Result<Manifest, ManifestError> {
    // The namespace is read by tools that share their manifests with a controller; a node has one.
    if let Some(namespace) = &metadata.namespace {
        name("metadata.namespace", namespace)?;
    }
    let mut warnings = Vec::new();
    let image = ImageRef::parse(&wanted.image).map_err(|error| at("spec.image", error.to_string()))?;
    let mut spec = WorkloadSpec::of(image);
    spec.labels = own_labels(metadata.labels, &mut warnings);
    refuse_unsupported(&wanted)?;
    container::apply(wanted.container.unwrap_or_default(), &mut spec)?;
    Ok(Manifest { name: name("metadata.name", &metadata.name)?, spec, warnings })
}

/// Labels that say what the node knows itself cannot be set from outside.
fn own_labels(labels: BTreeMap<String, String>, warnings: &mut Vec<String>) -> BTreeMap<String, String> {
    let (protected, own): (BTreeMap<_, _>, BTreeMap<_, _>) =
        labels.into_iter().partition(|(key, _)| is_protected(&key.to_ascii_lowercase()));
    warnings.extend(
        protected
            .into_keys()
            .map(|key| format!("metadata.labels.{key}: dropped, the node sets this label itself")),
    );
    own
}

fn is_protected(key: &str) -> bool {
    const PREFIXES: [&str; 3] = ["edgelet.iofog.org/", "iofog-", "app.kubernetes.io/"];
    PREFIXES.iter().any(|prefix| key.starts_with(prefix))
}

fn refuse_unsupported(spec: &Spec) -> Result<(), ManifestError> {
    let present = [
        ("spec.registry", spec.registry.is_some(), "; name the registry's host in spec.image"),
        ("spec.schedule", spec.schedule.is_some_and(|order| order != 0), ""),
        ("spec.config", spec.config.as_ref().is_some_and(|config| !config.is_empty()), ""),
        ("spec.models", spec.models.is_some(), ""),
        ("spec.knowledge", spec.knowledge.is_some(), ""),
    ];
    match present.into_iter().find(|(_, present, _)| *present) {
        Some((path, _, hint)) => Err(not_supported(path, hint)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
