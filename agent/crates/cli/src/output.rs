//! Results to standard output, everything else to standard error.

use crate::exit::{Failure, SUCCESS};
use crate::yaml;
use edgelet_api::error::Code;
use serde::Serialize;
use serde_json::Value;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

/// How results and errors are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    Human,
    Json,
    Yaml,
}

/// How a failure is shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    pub(crate) format: Format,
    /// With colours.
    pub(crate) is_rich: bool,
}

/// Writes a result: `human` for people, the value itself otherwise.
pub(crate) fn result(
    format: Format,
    value: &impl Serialize,
    human: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), Failure> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let written = match format {
        Format::Human => human(&mut out),
        Format::Json => out.write_all(json(&plain(value)).as_bytes()),
        Format::Yaml => out.write_all(yaml::document(&plain(value)).as_bytes()),
    };
    finished(written.and_then(|()| out.flush()))
}

/// A result as plain data, of which both formats are made: what a type costs, it costs once.
fn plain(value: &impl Serialize) -> Value {
    serde_json::to_value(value).expect("results have texts as keys and fail nowhere")
}

/// JSON for people.
pub(crate) fn json(value: &Value) -> String {
    format!("{value:#}\n")
}

/// Turns the outcome of writing to standard output into the outcome of a command. That the reader went
/// away, as in `| head`, is no failure.
pub(crate) fn finished(written: io::Result<()>) -> Result<(), Failure> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::local(Code::Internal, format!("write the result: {error}")))
        }
        _ => Ok(()),
    }
}

/// Shows a help text that was asked for.
pub(crate) fn show_help(text: &str) -> ExitCode {
    match finished(io::stdout().write_all(text.as_bytes())) {
        Ok(()) => ExitCode::from(SUCCESS),
        Err(failure) => report(&failure, Look { format: Format::Human, is_rich: false }),
    }
}

/// Tells why a command failed, and makes it the exit code.
pub(crate) fn report(failure: &Failure, look: Look) -> ExitCode {
    let structured = serde_json::json!({"error": {
        "code": failure.code,
        "message": failure.message,
        "remedy": failure.remedy,
    }});
    let text = match look.format {
        Format::Human => human(failure, look.is_rich),
        Format::Json => format!("{structured}\n"),
        Format::Yaml => yaml::document(&structured),
    };
    // When standard error is gone, the exit code is all that can still be said.
    let _ = io::stderr().write_all(text.as_bytes());
    ExitCode::from(failure.exit())
}

fn human(failure: &Failure, is_rich: bool) -> String {
    let (red, plain) = match is_rich {
        true => ("\x1b[31m", "\x1b[0m"),
        false => ("", ""),
    };
    let hint = failure.hint.as_deref().unwrap_or(failure.remedy.advice());
    format!("{red}Error[{}]{plain}: {}\n  hint: {hint}\n", failure.code, failure.message)
}

/// Whether standard error is a terminal that may show colours and moving bars.
pub(crate) fn is_rich(no_color: bool) -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    !no_color && !set("NO_COLOR") && !set("CI") && !is_dumb && io::stderr().is_terminal()
}
