//! `/v1/deploy/microservices`: from a manifest to a running workload.
//!
//! Applying is quick: the intent is durable when it is answered. How the deployment goes is read off the
//! workload whenever somebody asks, and the first answer that is final stays.

use super::operations::{Operation, new_id, now};
use super::reply::{self, Response};
use super::{Context, microservices};
use crate::error::{Code, Refusal};
use crate::manifest::{self, API_VERSION, KIND, Manifest};
use crate::node::{self, Apply, Microservice, Node, Phase};
use crate::wire::{self, Applied, ApplyStatus, MicroserviceDetail, OperationState, Validation};
use edgelet_types::workload::{Source, Target};
use edgelet_types::{Fault, Name, Reason, UnixMillis};
use futures_util::{StreamExt, TryStreamExt};
use std::sync::{Arc, Mutex, PoisonError};
use warp::Buf;
use warp::filters::multipart::{FormData, Part};

/// A deployment under way.
pub(super) struct Applying {
    pub(super) id: String,
    started_at: UnixMillis,
    name: String,
    image: String,
    applied: node::Applied,
    ended: Mutex<Option<(UnixMillis, Step)>>,
}

/// How far a deployment is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Going { stage: &'static str, percent: Option<u8> },
    Done,
    Failed { stage: &'static str, fault: Fault },
}

pub(super) async fn list(context: Arc<Context>) -> Response {
    reply::answer(microservices::listed(&context, Some(Source::Local)).await)
}

pub(super) async fn inspect(selector: String, context: Arc<Context>) -> Response {
    let detail = context.backend.call(move |node| Ok(MicroserviceDetail::from(&local(node, &selector)?)));
    reply::answer(detail.await)
}

pub(super) async fn delete(selector: String, context: Arc<Context>) -> Response {
    let deleted = context.backend.call(move |node| {
        let found = local(node, &selector)?;
        node.delete(&found.workload.id)?;
        Ok(wire::Microservice::from(&found))
    });
    reply::answer(deleted.await)
}

/// The local workload that a selector means; others are not deployed here.
fn local(node: &dyn Node, selector: &str) -> Result<Microservice, Fault> {
    let found = microservices::find(node, selector)?;
    match found.workload.source {
        Source::Local => Ok(found),
        _ => Err(Fault::new(Reason::NotFound, format!("microservice {selector:?}: not a local one"))),
    }
}

pub(super) async fn validate(form: FormData) -> Response {
    reply::answer(read(form).await.and_then(|form| Ok(validation(&parse(&form)?))))
}

pub(super) async fn apply(form: FormData, context: Arc<Context>) -> Response {
    let form = match read(form).await {
        Ok(form) => form,
        Err(refusal) => return reply::refuse(&refusal),
    };
    let manifest = match parse(&form) {
        Ok(manifest) => manifest,
        Err(refusal) => return reply::refuse(&refusal),
    };
    match form.dry_run {
        true => reply::answer(Ok(validation(&manifest))),
        false => reply::accepted(start(form, manifest, &context).await),
    }
}

async fn start(form: Form, manifest: Manifest, context: &Context) -> Result<Applied, Refusal> {
    let Manifest { name, spec, warnings } = manifest;
    let image = spec.image.to_string();
    let apply = Apply {
        application: Name::parse(Apply::LOCAL_APPLICATION).expect("a DNS label"),
        name: name.clone(),
        spec,
        manifest: form.manifest,
    };
    context.operations.check_room()?;
    let started_at = now();
    let applied = context.backend.call(move |node| node.apply(&apply)).await?;
    log::info!(
        "manifest applied name={name} id={} generation={} source={:?}",
        applied.id,
        applied.generation,
        form.source_name.unwrap_or_default()
    );
    let operation = Arc::new(Applying {
        id: new_id("dep_apply"),
        started_at,
        name: name.to_string(),
        image,
        applied,
        ended: Mutex::new(None),
    });
    context.operations.add(Operation::Apply(operation.clone()))?;
    Ok(Applied {
        operation_id: operation.id.clone(),
        status: OperationState::Running,
        started_at: started_at.to_string(),
        kind: KIND.to_owned(),
        name: operation.name.clone(),
        image: operation.image.clone(),
        warnings,
    })
}

pub(super) async fn status(id: String, context: Arc<Context>) -> Response {
    reply::answer(match context.operations.get(&id) {
        Ok(Operation::Apply(apply)) => current(&apply, &context).await,
        Ok(_) => Err(Refusal::new(Code::NotFound, format!("operation {id:?}: not a deployment"))),
        Err(refusal) => Err(refusal),
    })
}

async fn current(apply: &Applying, context: &Context) -> Result<ApplyStatus, Refusal> {
    // Only whole values are ever put in, so a panic elsewhere leaves nothing half done.
    let known = apply.ended.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let (ended_at, step) = match known {
        Some((at, step)) => (Some(at), step),
        None => {
            let id = apply.applied.id.clone();
            // The inner result is a fact about the workload, the outer one about the call.
            let found = context.backend.call(move |node| Ok(node.microservice(&id))).await?;
            let step = step(found, &apply.applied, apply.started_at)?;
            let at = (!matches!(step, Step::Going { .. })).then(now);
            if let Some(at) = at {
                let mut ended = apply.ended.lock().unwrap_or_else(PoisonError::into_inner);
                *ended = Some((at, step.clone()));
            }
            (at, step)
        }
    };
    Ok(shown(apply, ended_at, step))
}

/// Where a deployment is, from what is true of its workload.
fn step(
    found: Result<Microservice, Fault>,
    applied: &node::Applied,
    since: UnixMillis,
) -> Result<Step, Fault> {
    let superseded = |why: &str| {
        Ok(Step::Failed {
            stage: "starting",
            fault: Fault::new(Reason::Cancelled, format!("deployment {why}")),
        })
    };
    let ms = match found {
        Ok(ms) => ms,
        Err(fault) if fault.reason == Reason::NotFound => return superseded("was removed meanwhile"),
        Err(fault) => return Err(fault),
    };
    if ms.workload.generation > applied.generation {
        return superseded("was replaced by a newer one");
    }
    match ms.workload.target {
        Target::Running => {}
        Target::Stopped => return superseded("was stopped meanwhile"),
        Target::Deleted => return superseded("was removed meanwhile"),
    }
    if ms.phase == Phase::Running && ms.running_generation == Some(applied.generation) {
        return Ok(Step::Done);
    }
    if let Some(failure) = ms.last_failure
        && failure.generation == applied.generation
        && failure.at >= since
    {
        return Ok(Step::Failed { stage: stage_of(failure.fault.reason), fault: failure.fault });
    }
    Ok(match ms.phase {
        Phase::Pulling { percent } => Step::Going { stage: "pulling", percent },
        Phase::Queued | Phase::Unknown => Step::Going { stage: "persisting", percent: None },
        Phase::Starting | Phase::Exiting => Step::Going { stage: "starting", percent: None },
        _ => Step::Going { stage: "creating", percent: None },
    })
}

/// At which stage something with this reason happens.
fn stage_of(reason: Reason) -> &'static str {
    match reason {
        Reason::ImageNotFound
        | Reason::ImagePlatform
        | Reason::ImageInvalid
        | Reason::DigestMismatch
        | Reason::RegistryUnreachable
        | Reason::RegistryDenied
        | Reason::RegistryUntrusted
        | Reason::RegistryProtocol => "pulling",
        // A pull without room says so in its own words; most of a full disk is met by the start.
        Reason::CreateFailed | Reason::NoSpace => "creating",
        _ => "starting",
    }
}

fn shown(apply: &Applying, ended_at: Option<UnixMillis>, step: Step) -> ApplyStatus {
    let (status, stage, progress, error) = match step {
        Step::Going { stage, percent } => (OperationState::Running, stage, percent, None),
        Step::Done => (OperationState::Succeeded, "done", None, None),
        Step::Failed { stage, fault } => {
            (OperationState::Failed, stage, None, Some(Refusal::from(fault).body()))
        }
    };
    ApplyStatus {
        operation_id: apply.id.clone(),
        status,
        started_at: apply.started_at.to_string(),
        ended_at: ended_at.map(|at| at.to_string()),
        deployment_id: apply.applied.id.to_string(),
        stage: stage.to_owned(),
        kind: KIND.to_owned(),
        name: apply.name.clone(),
        image: apply.image.clone(),
        progress,
        error,
    }
}

/// The fields of the form.
#[derive(Default)]
struct Form {
    manifest: String,
    source_name: Option<String>,
    dry_run: bool,
}

async fn read(mut parts: FormData) -> Result<Form, Refusal> {
    let mut form = Form::default();
    let mut has_manifest = false;
    while let Some(part) = parts.next().await {
        let part = part.map_err(|error| invalid(format!("form: {error}")))?;
        let field = part.name().to_owned();
        let value = text(part).await?;
        match field.as_str() {
            "manifest" => (form.manifest, has_manifest) = (value, true),
            "sourceName" => form.source_name = Some(value),
            "dryRun" => form.dry_run = boolean(&field, &value)?,
            // Every deployment can be polled, so there is nothing to choose.
            "async" => _ = boolean(&field, &value)?,
            _ => return Err(invalid(format!("form: {field}: no such field"))),
        }
    }
    match has_manifest {
        true => Ok(form),
        false => Err(invalid("form: manifest: is missing")),
    }
}

async fn text(part: Part) -> Result<String, Refusal> {
    let field = part.name().to_owned();
    // Bounded, because the whole body is.
    let bytes = part
        .stream()
        .try_fold(Vec::new(), |mut bytes, mut chunk| async move {
            while chunk.has_remaining() {
                let piece = chunk.chunk();
                bytes.extend_from_slice(piece);
                let read = piece.len();
                chunk.advance(read);
            }
            Ok(bytes)
        })
        .await
        .map_err(|error| invalid(format!("form: {field}: {error}")))?;
    String::from_utf8(bytes).map_err(|_| invalid(format!("form: {field}: is not UTF-8")))
}

fn parse(form: &Form) -> Result<Manifest, Refusal> {
    manifest::parse(&form.manifest).map_err(|error| Fault::from(error).into())
}

fn validation(manifest: &Manifest) -> Validation {
    Validation {
        valid: true,
        kind: KIND.to_owned(),
        name: manifest.name.to_string(),
        api_version: API_VERSION.to_owned(),
        warnings: manifest.warnings.clone(),
    }
}

fn boolean(field: &str, value: &str) -> Result<bool, Refusal> {
    value.parse().map_err(|_| invalid(format!("form: {field}: must be true or false")))
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new(Code::InvalidArgument, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Failure;
    use edgelet_types::{ImageRef, Workload, WorkloadId, WorkloadSpec};

    fn ms(generation: u64, phase: Phase, running: Option<u64>) -> Microservice {
        Microservice {
            workload: Workload {
                id: WorkloadId::from_random([7; 16]),
                application: Name::parse("edgelet").expect("a name"),
                name: Name::parse("web").expect("a name"),
                source: Source::Local,
                target: Target::Running,
                generation,
                spec: WorkloadSpec::of(ImageRef::parse("busybox").expect("a reference")),
                manifest: None,
                created_at: UnixMillis(0),
                updated_at: UnixMillis(0),
            },
            phase,
            container: None,
            running_generation: running,
            pid: None,
            started_at: None,
            error: None,
            last_failure: None,
            restarts: 0,
            waiting_for: None,
        }
    }

    fn failed(generation: u64, at: i64) -> Microservice {
        let fault = Fault::new(Reason::RegistryUnreachable, "pull: no route");
        let failure = Failure { fault, at: UnixMillis(at), generation };
        Microservice { last_failure: Some(failure), ..ms(2, Phase::Failed, None) }
    }

    #[test]
    fn the_workload_tells_how_far_its_deployment_is() {
        let applied = node::Applied { id: WorkloadId::from_random([7; 16]), generation: 2 };
        let stopped = {
            let mut ms = ms(2, Phase::Stopped, None);
            ms.workload.target = Target::Stopped;
            ms
        };
        let cases = [
            (Ok(ms(2, Phase::Queued, None)), "persisting"),
            (Ok(ms(2, Phase::Pulling { percent: Some(4) }, None)), "pulling"),
            (Ok(ms(2, Phase::Running, Some(1))), "creating"),
            (Ok(ms(2, Phase::Starting, Some(2))), "starting"),
            (Ok(ms(2, Phase::Running, Some(2))), "done"),
            (Ok(ms(3, Phase::Running, Some(3))), "failed CANCELLED"),
            (Ok(stopped), "failed CANCELLED"),
            (Ok(failed(2, 100)), "failed REGISTRY_UNREACHABLE"),
            // What went wrong before this deployment, or with another generation, is not its failure.
            (Ok(failed(2, 99)), "creating"),
            (Ok(failed(1, 100)), "creating"),
            (Err(Fault::new(Reason::NotFound, "gone")), "failed CANCELLED"),
        ];
        for (found, want) in cases {
            let shown = match step(found, &applied, UnixMillis(100)).expect("an answer") {
                Step::Going { stage, .. } => stage.to_owned(),
                Step::Done => "done".to_owned(),
                Step::Failed { fault, .. } => format!("failed {}", fault.reason.code()),
            };
            assert_eq!(shown, want);
        }
        let broken = step(Err(Fault::new(Reason::Storage, "disk")), &applied, UnixMillis(100));
        assert_eq!(broken.map_err(|fault| fault.reason), Err(Reason::Storage));
    }
}
