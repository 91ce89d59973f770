//! Workloads.

use crate::node::{self, Phase};
use edgelet_types::workload::{Source, Target};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A workload in a list.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Microservice {
    /// Its identity.
    pub uuid: String,
    /// Its name within the application.
    pub name: String,
    /// Its application; `edgelet` for local ones.
    pub application: String,
    /// `local`, `managed` or `controlplane`.
    pub source: String,
    /// What is true, such as `RUNNING`.
    pub state: String,
    /// What is wanted: `running`, `stopped` or `deleted`.
    pub desired_state: String,
    /// The image it runs.
    pub image: String,
    /// The newest instance; absent when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_id: Option<String>,
    /// Grows when the specification changes, and at a restart that somebody asked for.
    pub generation: u64,
    /// The generation of the newest instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<u64>,
}

/// A workload with everything that is known.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MicroserviceDetail {
    /// As in a list.
    #[serde(flatten)]
    pub summary: Microservice,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub updated_at: String,
    /// RFC 3339: when the newest instance was started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// What the manifest sets, not the image.
    pub env: BTreeMap<String, String>,
    /// Always empty: this version maps no ports.
    pub ports: Vec<Value>,
    /// What users attached.
    pub labels: BTreeMap<String, String>,
    /// The failure that still matters; empty when there is none.
    pub error_message: String,
    /// Its reason code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_reason: Option<String>,
    /// The last failure of all; kept after recovery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// When that was, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error_at: Option<i64>,
    /// Restarts since the last change of the specification; absent when 0.
    #[serde(skip_serializing_if = "is_zero")]
    pub restart_count: u64,
    /// What it waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_text: Option<String>,
    /// The engine's own view.
    pub raw: Raw,
}

/// What the engine knows; no stable shape.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Raw {
    /// The specification and the instance.
    pub engine_inspect: Value,
}

/// The optional body of `kill`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KillRequest {
    /// By name or number; SIGKILL when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
}

impl From<&node::Microservice> for Microservice {
    fn from(ms: &node::Microservice) -> Self {
        let workload = &ms.workload;
        Self {
            uuid: workload.id.to_string(),
            name: workload.name.to_string(),
            application: workload.application.to_string(),
            source: source_word(workload.source).to_owned(),
            state: phase_word(ms.phase).to_owned(),
            desired_state: target_word(workload.target).to_owned(),
            image: workload.spec.image.to_string(),
            container_id: ms.container.as_ref().map(ToString::to_string),
            generation: workload.generation,
            observed_generation: ms.running_generation,
        }
    }
}

impl From<&node::Microservice> for MicroserviceDetail {
    fn from(ms: &node::Microservice) -> Self {
        let workload = &ms.workload;
        let percent = match ms.phase {
            Phase::Pulling { percent } => percent.map(|percent| format!("{percent} % pulled")),
            _ => None,
        };
        Self {
            summary: ms.into(),
            created_at: workload.created_at.to_string(),
            updated_at: workload.updated_at.to_string(),
            started_at: ms.started_at.map(|at| at.to_string()),
            env: workload.spec.env.iter().cloned().collect(),
            ports: Vec::new(),
            labels: workload.spec.labels.clone(),
            error_message: ms.error.as_ref().map(ToString::to_string).unwrap_or_default(),
            error_reason: ms.error.as_ref().map(|fault| fault.reason.code().to_owned()),
            last_error: ms.last_failure.as_ref().map(|failure| failure.fault.to_string()),
            last_error_at: ms.last_failure.as_ref().map(|failure| failure.at.0),
            restart_count: ms.restarts,
            status_text: ms.waiting_for.clone().or(percent),
            raw: Raw {
                engine_inspect: json!({
                    "containerId": ms.container,
                    "pid": ms.pid,
                    "spec": workload.spec,
                }),
            },
        }
    }
}

/// The word for a source, in answers and in the `source` filter.
pub(crate) fn source_word(source: Source) -> &'static str {
    match source {
        Source::Local => "local",
        Source::Managed => "managed",
        Source::Controlplane => "controlplane",
    }
}

fn target_word(target: Target) -> &'static str {
    match target {
        Target::Running => "running",
        Target::Stopped => "stopped",
        Target::Deleted => "deleted",
    }
}

fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Queued => "QUEUED",
        Phase::Pulling { .. } => "PULLING",
        Phase::Creating => "CREATING",
        Phase::Starting => "STARTING",
        Phase::Running => "RUNNING",
        Phase::Updating => "UPDATING",
        Phase::Exiting => "EXITING",
        Phase::Stopping => "STOPPING",
        Phase::Stopped => "STOPPED",
        Phase::Deleting => "DELETING",
        Phase::Failed => "FAILED",
        Phase::StuckInRestart => "STUCK_IN_RESTART",
        Phase::Unknown => "UNKNOWN",
    }
}

// serde's `skip_serializing_if` passes a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(count: &u64) -> bool {
    *count == 0
}
