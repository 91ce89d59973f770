//! `ms`: list, inspect and lifecycle.

use super::{Context, REQUEST};
use crate::exit::{Failure, NOT_FOUND};
use crate::{output, table, wait};
use edgelet_api::client::ClientError;
use edgelet_api::error::Code;
use edgelet_api::wire::{Microservice, MicroserviceDetail};
use serde::Serialize;

/// The shape of a row; the command line says `type` where the API says `source`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row<'a> {
    uuid: &'a str,
    application: &'a str,
    name: &'a str,
    state: &'a str,
    container_id: &'a str,
    image: &'a str,
    #[serde(rename = "type")]
    source: &'a str,
}

#[derive(Serialize)]
struct Rows<'a> {
    items: Vec<Row<'a>>,
}

impl<'a> Row<'a> {
    fn of(ms: &'a Microservice) -> Self {
        Self {
            uuid: &ms.uuid,
            application: &ms.application,
            name: &ms.name,
            state: &ms.state,
            container_id: ms.container_id.as_deref().unwrap_or_default(),
            image: &ms.image,
            source: &ms.source,
        }
    }
}

pub(super) fn list(context: &Context, source: &str) -> Result<(), Failure> {
    let list = context.client().microservices(source)?;
    let rows = Rows { items: list.items.iter().map(Row::of).collect() };
    output::result(context.look.format, &rows, |out| {
        let cells: Vec<[String; 7]> = rows.items.iter().map(cells).collect();
        table::write(out, ["UUID", "APPLICATION", "NAME", "STATE", "TYPE", "IMAGE", "CONTAINER"], &cells)
    })
}

fn cells(row: &Row<'_>) -> [String; 7] {
    let container: String = row.container_id.chars().take(12).collect();
    let Row { uuid, application, name, state, image, source, .. } = row;
    [uuid, application, name, state, source, image, container.as_str()].map(str::to_owned)
}

pub(super) fn inspect(context: &Context, id: &str, summary: bool) -> Result<(), Failure> {
    let detail = context.client().microservice(id)?;
    output::result(context.look.format, &detail, |out| match summary {
        true => table::card(out, &card(&detail)),
        false => out.write_all(output::json(&output::plain(&detail)).as_bytes()),
    })
}

fn card(detail: &MicroserviceDetail) -> Vec<(&'static str, String)> {
    let ms = &detail.summary;
    let mut lines = vec![
        ("name", format!("{}.{}", ms.application, ms.name)),
        ("uuid", ms.uuid.clone()),
        ("type", ms.source.clone()),
        ("image", ms.image.clone()),
        ("state", ms.state.clone()),
        ("desired", ms.desired_state.clone()),
        ("container", ms.container_id.clone().unwrap_or_default()),
        ("started", detail.started_at.clone().unwrap_or_default()),
        ("waiting for", detail.status_text.clone().unwrap_or_default()),
        ("error", detail.error_message.clone()),
        ("last error", detail.last_error.clone().unwrap_or_default()),
    ];
    if detail.restart_count > 0 {
        lines.push(("restarts", detail.restart_count.to_string()));
    }
    lines.retain(|(_, value)| !value.is_empty());
    lines
}

pub(super) fn start(context: &Context, id: &str) -> Result<(), Failure> {
    let wanted = context.client().start(id)?;
    let now = until_running(context, "start", &wanted)?;
    changed(context, &now, "started")
}

pub(super) fn restart(context: &Context, id: &str) -> Result<(), Failure> {
    let wanted = context.client().restart(id)?;
    let now = until_running(context, "restart", &wanted)?;
    changed(context, &now, "restarted")
}

pub(super) fn stop(context: &Context, id: &str) -> Result<(), Failure> {
    let wanted = context.client().stop(id)?;
    let now = watch(context, "stop", &wanted, |detail| Ok(detail.summary.state == "STOPPED"))?;
    changed(context, &now, "stopped")
}

/// A signal is sent when it is sent; what the program makes of it is its own affair.
pub(super) fn kill(context: &Context, id: &str, signal: &str) -> Result<(), Failure> {
    let now = context.client().kill(id, Some(signal))?;
    changed(context, &now, &format!("was sent {signal}"))
}

pub(super) fn remove(context: &Context, id: &str, cleanup: bool) -> Result<(), Failure> {
    let client = context.client();
    let wanted = client.delete(id, cleanup)?;
    let doing = format!("remove {}", title(&wanted));
    let mut progress = context.progress();
    wait::until(context.budget(REQUEST), &doing, || match client.microservice(&wanted.uuid) {
        Ok(detail) => {
            progress.stage(&format!("{doing}: {}", detail.summary.state.to_lowercase()));
            Ok(None)
        }
        Err(ClientError::Api(body)) if Failure::api(body.clone()).exit() == NOT_FOUND => Ok(Some(())),
        Err(error) => Err(error.into()),
    })?;
    drop(progress);
    changed(context, &wanted, "removed")
}

fn until_running(context: &Context, verb: &str, wanted: &Microservice) -> Result<Microservice, Failure> {
    watch(context, verb, wanted, |detail| {
        let now = &detail.summary;
        if now.state == "RUNNING" && now.observed_generation.is_none_or(|seen| seen >= wanted.generation) {
            return Ok(true);
        }
        match now.state.as_str() {
            state @ ("FAILED" | "STUCK_IN_RESTART") => {
                let message = format!("{}: {}", state.to_lowercase(), detail.error_message);
                Err(Failure::local(Code::Internal, message))
            }
            _ => Ok(false),
        }
    })
}

/// Shows how a workload changes until it is as wanted.
fn watch(
    context: &Context,
    verb: &str,
    wanted: &Microservice,
    is_done: impl Fn(&MicroserviceDetail) -> Result<bool, Failure>,
) -> Result<Microservice, Failure> {
    let client = context.client();
    let doing = format!("{verb} {}", title(wanted));
    let mut progress = context.progress();
    wait::until(context.budget(REQUEST), &doing, || {
        let detail = client.microservice(&wanted.uuid)?;
        if is_done(&detail).map_err(|failure| failure.context(&doing))? {
            return Ok(Some(detail.summary));
        }
        progress.stage(&format!("{doing}: {}", detail.summary.state.to_lowercase()));
        Ok(None)
    })
}

fn changed(context: &Context, ms: &Microservice, what: &str) -> Result<(), Failure> {
    output::result(context.look.format, &Row::of(ms), |out| {
        writeln!(out, "{} {}", title(ms), table::printable(what))
    })
}

fn title(ms: &Microservice) -> String {
    format!("{}.{}", ms.application, ms.name)
}
