//! `deploy`: a manifest in, a running workload out.

use super::{Context, text};
use crate::args::Deploy;
use crate::exit::Failure;
use crate::{output, wait};
use edgelet_api::client::Client;
use edgelet_api::error::Code;
use edgelet_api::wire::{ApplyStatus, OperationState};
use edgelet_types::limits::DEPLOY_MANIFEST_BYTES;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{Read, stdin};
use std::path::Path;
use std::time::Duration;

/// How long a deployment is waited for.
const USUAL: Duration = Duration::from_secs(15 * 60);

pub(super) fn run(context: &Context, deploy: &Deploy) -> Result<(), Failure> {
    let manifest =
        read(&deploy.file).map_err(|failure| failure.context(&format!("read {}", deploy.file.display())))?;
    let client = context.client();
    match deploy.dry_run {
        true => check(context, &client, &manifest),
        false => {
            let file_name = deploy.file.file_name().and_then(|name| name.to_str());
            apply(context, &client, &manifest, deploy.source_name.as_deref().or(file_name))
        }
    }
}

fn check(context: &Context, client: &Client, manifest: &str) -> Result<(), Failure> {
    let valid = client.validate(manifest)?;
    let warnings = valid["warnings"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut progress = context.progress();
    warnings.iter().filter_map(Value::as_str).for_each(|warning| progress.warn(warning));
    output::result(context.look.format, &valid, |out| {
        writeln!(out, "{} {}: valid", text(&valid, "kind"), text(&valid, "name"))
    })
}

fn apply(
    context: &Context,
    client: &Client,
    manifest: &str,
    source_name: Option<&str>,
) -> Result<(), Failure> {
    let applied = client.apply(manifest, source_name)?;
    let doing = format!("deploy {}", applied.name);
    let mut progress = context.progress();
    applied.warnings.iter().for_each(|warning| progress.warn(warning));
    let mut stages: Vec<String> = Vec::new();
    let ended = wait::until(context.budget(USUAL), &doing, || {
        let status = client.apply_status(&applied.operation_id)?;
        if stages.last() != Some(&status.stage) {
            stages.push(status.stage.clone());
        }
        if status.status.is_final() {
            return Ok(Some(status));
        }
        match status.progress {
            Some(percent) => progress.stage(&format!("{doing}: {} {percent} %", status.stage)),
            None => progress.stage(&format!("{doing}: {}", status.stage)),
        }
        Ok(None)
    })?;
    if ended.status == OperationState::Failed {
        return Err(failed(ended, &doing));
    }
    progress.done(&format!("{doing}: done"));
    let deployed = json!({
        "status": ended.status,
        "deploymentId": ended.deployment_id,
        "operationId": ended.operation_id,
        "stage": ended.stage,
        // In the order in which they were seen.
        "stages": stages,
    });
    output::result(context.look.format, &deployed, |out| {
        writeln!(out, "{} {} is running", ended.kind, ended.name)
    })
}

fn failed(status: ApplyStatus, doing: &str) -> Failure {
    let doing = format!("{doing}: {}", status.stage);
    match status.error {
        Some(body) => Failure::api(body).context(&doing).goes_on(),
        None => Failure::local(Code::Internal, format!("{doing}: failed, and the daemon does not say why")),
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    let wrong = |error: &dyn std::fmt::Display| Failure::local(Code::InvalidArgument, error.to_string());
    let source: Box<dyn Read> = match path.as_os_str() == "-" {
        true => Box::new(stdin()),
        false => Box::new(File::open(path).map_err(|error| wrong(&error))?),
    };
    let mut text = String::new();
    source.take(DEPLOY_MANIFEST_BYTES + 1).read_to_string(&mut text).map_err(|error| wrong(&error))?;
    match text.len() as u64 > DEPLOY_MANIFEST_BYTES {
        true => Err(wrong(&format!("is larger than {DEPLOY_MANIFEST_BYTES} bytes"))),
        false => Ok(text),
    }
}
