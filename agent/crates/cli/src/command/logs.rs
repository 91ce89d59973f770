//! `ms logs`.

use super::Context;
use crate::args::Logs;
use crate::exit::Failure;
use crate::output::{self, Format};
use edgelet_api::client::LogFilter;
use edgelet_api::error::Code;
use edgelet_api::wire::LogEntry;
use std::io::{self, Write};

pub(super) fn show(context: &Context, logs: &Logs) -> Result<(), Failure> {
    let filter = LogFilter { tail: Some(logs.tail), since: logs.since.clone(), until: logs.until.clone() };
    if logs.follow {
        return follow(context, logs, &filter);
    }
    let answer = context.client().logs(&logs.target.id, &filter)?;
    output::result(context.look.format, &answer, |out| {
        answer.entries.iter().try_for_each(|entry| line(out, entry, logs.timestamps))
    })
}

/// Each line is on the screen before the next one is read. Ctrl-C ends this program as any other.
fn follow(context: &Context, logs: &Logs, filter: &LogFilter) -> Result<(), Failure> {
    if context.look.format != Format::Human {
        return Err(Failure::local(Code::InvalidArgument, "--follow has no structured output"));
    }
    let mut out = io::stdout().lock();
    for entry in context.client().follow_logs(&logs.target.id, filter)? {
        let written = line(&mut out, &entry?, logs.timestamps).and_then(|()| out.flush());
        if written.is_err() {
            return output::finished(written);
        }
    }
    Ok(())
}

/// The line as it was written: its colours are the program's own.
fn line(out: &mut dyn Write, entry: &LogEntry, timestamps: bool) -> io::Result<()> {
    match timestamps {
        true => writeln!(out, "{} {}", entry.ts, entry.line),
        false => writeln!(out, "{}", entry.line),
    }
}
