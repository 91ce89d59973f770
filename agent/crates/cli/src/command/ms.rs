//! `ms`: list, inspect and lifecycle.

use super::{Context, REQUEST, items, text};
use crate::exit::{Failure, NOT_FOUND};
use crate::{output, table, wait};
use edgelet_api::client::ClientError;
use edgelet_api::error::Code;
use serde_json::{Value, json};

pub(super) fn list(context: &Context, source: &str) -> Result<(), Failure> {
    let list = context.client().microservices(source)?;
    let rows: Vec<Value> = items(&list).iter().map(row).collect();
    let cells: Vec<[String; 7]> = rows.iter().map(cells).collect();
    output::result(context.look.format, &json!({"items": rows}), |out| {
        table::write(out, ["UUID", "APPLICATION", "NAME", "STATE", "TYPE", "IMAGE", "CONTAINER"], &cells)
    })
}

/// The shape of a row; the command line says `type` where the API says `source`.
fn row(ms: &Value) -> Value {
    json!({
        "uuid": text(ms, "uuid"),
        "application": text(ms, "application"),
        "name": text(ms, "name"),
        "state": text(ms, "state"),
        "containerId": text(ms, "containerId"),
        "image": text(ms, "image"),
        "type": text(ms, "source"),
    })
}

fn cells(row: &Value) -> [String; 7] {
    let container: String = text(row, "containerId").chars().take(12).collect();
    let [uuid, application, name, state, source, image] =
        ["uuid", "application", "name", "state", "type", "image"].map(|key| text(row, key).to_owned());
    [uuid, application, name, state, source, image, container]
}

pub(super) fn inspect(context: &Context, id: &str, summary: bool) -> Result<(), Failure> {
    let detail = context.client().microservice(id)?;
    output::result(context.look.format, &detail, |out| match summary {
        true => table::card(out, &card(&detail)),
        false => out.write_all(output::json(&detail).as_bytes()),
    })
}

fn card(detail: &Value) -> Vec<(&'static str, String)> {
    let line = |title, key| (title, text(detail, key).to_owned());
    let mut lines = vec![
        ("name", title(detail)),
        line("uuid", "uuid"),
        line("type", "source"),
        line("image", "image"),
        line("state", "state"),
        line("desired", "desiredState"),
        line("container", "containerId"),
        line("started", "startedAt"),
        line("waiting for", "statusText"),
        line("error", "errorMessage"),
        line("last error", "lastError"),
    ];
    if let Some(restarts) = detail["restartCount"].as_u64() {
        lines.push(("restarts", restarts.to_string()));
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
    let now = watch(context, "stop", &wanted, |now| Ok(text(now, "state") == "STOPPED"))?;
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
    wait::until(context.budget(REQUEST), &doing, || match client.microservice(text(&wanted, "uuid")) {
        Ok(now) => {
            progress.stage(&stage(&doing, &now));
            Ok(None)
        }
        Err(ClientError::Api(body)) if Failure::api(body.clone()).exit() == NOT_FOUND => Ok(Some(())),
        Err(error) => Err(error.into()),
    })?;
    drop(progress);
    changed(context, &wanted, "removed")
}

fn until_running(context: &Context, verb: &str, wanted: &Value) -> Result<Value, Failure> {
    watch(context, verb, wanted, |now| {
        let seen = now["observedGeneration"].as_u64();
        let is_new = seen.is_none_or(|seen| Some(seen) >= wanted["generation"].as_u64());
        match text(now, "state") {
            "RUNNING" => Ok(is_new),
            state @ ("FAILED" | "STUCK_IN_RESTART") => {
                let message = format!("{}: {}", state.to_lowercase(), text(now, "errorMessage"));
                Err(Failure::local(Code::Internal, message).because_of(text(now, "errorReason")).goes_on())
            }
            _ => Ok(false),
        }
    })
}

/// Shows how a workload changes until it is as wanted.
fn watch(
    context: &Context,
    verb: &str,
    wanted: &Value,
    is_done: impl Fn(&Value) -> Result<bool, Failure>,
) -> Result<Value, Failure> {
    let client = context.client();
    let doing = format!("{verb} {}", title(wanted));
    let mut progress = context.progress();
    wait::until(context.budget(REQUEST), &doing, || {
        let now = client.microservice(text(wanted, "uuid"))?;
        if is_done(&now).map_err(|failure| failure.context(&doing))? {
            return Ok(Some(now));
        }
        progress.stage(&stage(&doing, &now));
        Ok(None)
    })
}

fn stage(doing: &str, now: &Value) -> String {
    format!("{doing}: {}", text(now, "state").to_lowercase())
}

fn changed(context: &Context, ms: &Value, what: &str) -> Result<(), Failure> {
    output::result(context.look.format, &row(ms), |out| {
        writeln!(out, "{} {}", title(ms), table::printable(what))
    })
}

fn title(ms: &Value) -> String {
    format!("{}.{}", text(ms, "application"), text(ms, "name"))
}
