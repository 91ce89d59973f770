//! `image`.

use super::{Context, items, text};
use crate::exit::Failure;
use crate::{output, table, wait};
use edgelet_api::error::Code;
use edgelet_api::wire::{ImagePullRequest, OperationState};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

/// How long a pull is waited for; a thin link needs hours.
const PULL: Duration = Duration::from_secs(6 * 3600);
/// How long a load is waited for.
const LOAD: Duration = Duration::from_secs(30 * 60);

pub(super) fn list(context: &Context) -> Result<(), Failure> {
    let list = context.client().images()?;
    output::result(context.look.format, &list, |out| {
        let cells: Vec<[String; 6]> = items(&list).iter().map(cells).collect();
        table::write(out, ["REPOSITORY", "TAG", "ID", "CREATED", "SIZE", "IN USE"], &cells)
    })
}

fn cells(image: &Value) -> [String; 6] {
    let [repository, tag, id, size] =
        ["repository", "tag", "shortId", "diskUsageHuman"].map(|key| text(image, key).to_owned());
    let created = text(image, "createdAt").chars().take(10).collect();
    let in_use = image["inUse"].as_u64().map(|count| count.to_string()).unwrap_or_default();
    [repository, tag, id, created, size, in_use]
}

pub(super) fn pull(
    context: &Context,
    image: String,
    platform: Option<String>,
    registry_id: Option<i64>,
) -> Result<(), Failure> {
    let client = context.client();
    let request = ImagePullRequest { image, registry_id, platform, background: Some(true) };
    let operation = client.pull(&request)?;
    let doing = format!("pull {}", operation.image);
    let mut progress = context.progress();
    let ended = wait::until(context.budget(PULL), &doing, || {
        let status = client.pull_status(&operation.operation_id)?;
        if status.status.is_final() {
            return Ok(Some(status));
        }
        progress.bytes(&doing, status.progress, status.bytes_done, status.bytes_total);
        Ok(None)
    })?;
    if ended.status == OperationState::Failed {
        return Err(ended.error_detail.map_or_else(|| unexplained(&doing), Failure::api));
    }
    progress.done(&format!("{doing}: done"));
    output::result(context.look.format, &ended, |out| writeln!(out, "{}", ended.resolved_image))
}

pub(super) fn load(context: &Context, file: &Path) -> Result<(), Failure> {
    let client = context.client();
    let doing = format!("load {}", file.display());
    let wrong = |message: String| Failure::local(Code::InvalidArgument, message);
    // The daemon has another working directory.
    let path = std::path::absolute(file).map_err(|error| wrong(format!("{doing}: {error}")))?;
    let path = path.to_str().ok_or_else(|| wrong(format!("{doing}: the path is not UTF-8")))?;
    let operation = client.load(path)?;
    let mut progress = context.progress();
    let ended = wait::until(context.budget(LOAD), &doing, || {
        let status = client.load_status(&operation.operation_id)?;
        if status.status.is_final() {
            return Ok(Some(status));
        }
        match status.progress {
            0 => progress.stage(&doing),
            percent => progress.stage(&format!("{doing}: {percent} %")),
        }
        Ok(None)
    })?;
    if ended.status == OperationState::Failed {
        return Err(ended.error.map_or_else(|| unexplained(&doing), Failure::api));
    }
    progress.done(&format!("{doing}: done"));
    output::result(context.look.format, &ended, |out| {
        ended.loaded.iter().try_for_each(|image| match image.name.is_empty() {
            true => writeln!(out, "{}", image.id),
            false => writeln!(out, "{}", image.name),
        })
    })
}

pub(super) fn remove(context: &Context, selector: &str) -> Result<(), Failure> {
    let removed = context.client().remove_image(selector)?;
    output::result(context.look.format, &removed, |out| writeln!(out, "{}", text(&removed, "message")))
}

pub(super) fn prune(context: &Context) -> Result<(), Failure> {
    let pruned = context.client().prune_images()?;
    output::result(context.look.format, &pruned, |out| writeln!(out, "{}", text(&pruned, "message")))
}

fn unexplained(doing: &str) -> Failure {
    Failure::local(Code::Internal, format!("{doing}: failed, and the daemon does not say why"))
}
