//! `version`: works with the daemon down.

use super::{Context, Hooks, text};
use crate::exit::Failure;
use crate::{output, table};
use serde_json::{Value, json};
use std::time::Duration;

/// A version must not be waited for.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn show(context: &Context, hooks: &Hooks) -> Result<(), Failure> {
    let cli = json!({"version": hooks.version, "buildTime": hooks.build_time, "gitCommit": hooks.git_commit});
    let client = edgelet_api::client::Client::new(&context.socket, context.budget(PATIENCE));
    let daemon = match client.version() {
        Ok(info) => json!({
            "version": info.version,
            "buildTime": info.build_time,
            "gitCommit": info.git_commit,
            "allowedContainerEngine": info.allowed_container_engine,
        }),
        Err(error) => json!({"error": error.to_string()}),
    };
    let lines = [("cli", line(&cli)), ("daemon", line(&daemon))];
    let versions = json!({"cli": cli, "daemon": daemon});
    output::result(context.look.format, &versions, |out| table::card(out, &lines))
}

/// A program in one line, or why nothing is known of it.
fn line(program: &Value) -> String {
    match program["error"].as_str() {
        Some(error) => error.to_owned(),
        None => format!(
            "{} (commit {}, built {})",
            text(program, "version"),
            text(program, "gitCommit"),
            text(program, "buildTime")
        ),
    }
}
