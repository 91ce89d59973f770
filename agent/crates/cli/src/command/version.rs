//! `version`: works with the daemon down.

use super::{Context, Hooks};
use crate::exit::Failure;
use crate::{output, table};
use serde::Serialize;
use std::time::Duration;

/// A version must not be waited for.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Versions {
    cli: Program,
    daemon: Daemon,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Program {
    version: String,
    build_time: String,
    git_commit: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Daemon {
    #[serde(flatten)]
    program: Option<Program>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed_container_engine: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

pub(super) fn show(context: &Context, hooks: &Hooks) -> Result<(), Failure> {
    let cli = Program {
        version: hooks.version.to_owned(),
        build_time: hooks.build_time.to_owned(),
        git_commit: hooks.git_commit.to_owned(),
    };
    let client = edgelet_api::client::Client::new(&context.socket, context.budget(PATIENCE));
    let daemon = match client.version() {
        Ok(info) => Daemon {
            program: Some(Program {
                version: info.version,
                build_time: info.build_time,
                git_commit: info.git_commit,
            }),
            allowed_container_engine: Some(info.allowed_container_engine),
            error: None,
        },
        Err(error) => {
            Daemon { program: None, allowed_container_engine: None, error: Some(error.to_string()) }
        }
    };
    let versions = Versions { cli, daemon };
    output::result(context.look.format, &versions, |out| {
        let line = |program: &Program| {
            format!("{} (commit {}, built {})", program.version, program.git_commit, program.build_time)
        };
        let daemon = match (&versions.daemon.program, &versions.daemon.error) {
            (Some(program), _) => line(program),
            (None, error) => error.clone().unwrap_or_default(),
        };
        table::card(out, &[("cli", line(&versions.cli)), ("daemon", daemon)])
    })
}
