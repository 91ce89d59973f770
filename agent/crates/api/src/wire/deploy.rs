//! Deployment of manifests.

use super::{ErrorBody, OperationState};
use serde::{Deserialize, Serialize};

/// A deployment that has been accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Applied {
    /// To ask how it goes.
    pub operation_id: String,
    /// Always running.
    pub status: OperationState,
    /// RFC 3339.
    pub started_at: String,
    /// `Microservice`.
    pub kind: String,
    /// The manifest's name.
    pub name: String,
    /// The image it runs.
    pub image: String,
    /// What was accepted and has no effect.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// How a deployment goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApplyStatus {
    /// The operation.
    pub operation_id: String,
    /// How far it is.
    pub status: OperationState,
    /// RFC 3339.
    pub started_at: String,
    /// RFC 3339; absent while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
    /// The workload's UUID.
    pub deployment_id: String,
    /// `parsing`, `persisting`, `pulling`, `creating`, `starting` or `done`.
    pub stage: String,
    /// `Microservice`.
    pub kind: String,
    /// The manifest's name.
    pub name: String,
    /// The image it runs.
    pub image: String,
    /// 0 to 100 while pulling, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<u8>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorBody>,
}

/// A manifest that would be accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Validation {
    /// Always true; a manifest that is not valid is an error.
    pub valid: bool,
    /// `Microservice`.
    pub kind: String,
    /// The manifest's name.
    pub name: String,
    /// `edgelet.iofog.org/v1`.
    pub api_version: String,
    /// What was accepted and has no effect.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}
