//! `update` and `events`: what a container is limited to, and what it uses.

use super::arguments::{Arguments, Known, UsageError};
use super::verbs::{control, id_of, io_error, print, print_text, usage};
use crate::spec::Resources;
use crate::{ControlError, Id, Runtime, Status};
use serde_json::{Value, json};
use std::io::{self, Read};
use std::time::Duration;

pub(super) const UPDATE: Known = Known {
    flags: &[],
    values: &[
        "resources",
        "r",
        "memory",
        "memory-reservation",
        "memory-swap",
        "cpu-share",
        "cpu-quota",
        "cpu-period",
        "cpu-burst",
        "cpu-idle",
        "cpu-rt-runtime",
        "cpu-rt-period",
        "cpuset-cpus",
        "cpuset-mems",
        "blkio-weight",
        "pids-limit",
    ],
};

/// Sets limits of a container that exists: those of a file, of the standard input, or of options.
pub(super) fn update(runtime: &Runtime, words: &[String]) -> Result<u8, String> {
    let arguments = Arguments::parse(words, &UPDATE).map_err(usage)?;
    let id = id_of(&arguments.operands)?;
    let is_given = |option: &&str| !matches!(*option, "resources" | "r") && arguments.value(option).is_some();
    let option = UPDATE.values.iter().find(|option| is_given(option));
    let limits = match (arguments.either("resources", "r"), option) {
        (Some(_), Some(option)) => return Err(format!("--resources says it all; --{option} stands alone")),
        (Some(file), None) => read_limits(file)?,
        (None, Some(_)) => limits_of(&arguments)?,
        (None, None) => return Err("no limit is named".to_owned()),
    };
    runtime.update(&id, &limits).map_err(control)?;
    Ok(0)
}

fn read_limits(file: &str) -> Result<Resources, String> {
    let mut text = String::new();
    let limit = edgelet_types::limits::RUNTIME_SPEC_BYTES;
    let read = match file {
        "-" => io::stdin().take(limit).read_to_string(&mut text),
        file => std::fs::File::open(file).and_then(|file| file.take(limit).read_to_string(&mut text)),
    };
    read.map_err(io_error(&format!("read {file}")))?;
    serde_json::from_str(&text).map_err(|error| format!("{file}: {error}"))
}

/// The options as the object that a file would hold.
fn limits_of(arguments: &Arguments) -> Result<Resources, String> {
    let mut limits = json!({"memory": {}, "cpu": {}, "blockIO": {}, "pids": {}});
    let mut set = |option: &str, group: &str, field: &str, parse: fn(&str) -> Option<Value>| {
        let Some(text) = arguments.value(option) else { return Ok(()) };
        let value = parse(text).ok_or_else(|| usage(UsageError::bad(&format!("--{option}"), text)))?;
        limits[group][field] = value;
        Ok::<(), String>(())
    };
    set("memory", "memory", "limit", bytes)?;
    set("memory-reservation", "memory", "reservation", bytes)?;
    set("memory-swap", "memory", "swap", bytes)?;
    set("cpu-share", "cpu", "shares", number)?;
    set("cpu-quota", "cpu", "quota", number)?;
    set("cpu-period", "cpu", "period", number)?;
    set("cpu-burst", "cpu", "burst", number)?;
    set("cpu-idle", "cpu", "idle", number)?;
    set("cpu-rt-runtime", "cpu", "realtimeRuntime", number)?;
    set("cpu-rt-period", "cpu", "realtimePeriod", number)?;
    set("cpuset-cpus", "cpu", "cpus", |text| Some(json!(text)))?;
    set("cpuset-mems", "cpu", "mems", |text| Some(json!(text)))?;
    set("blkio-weight", "blockIO", "weight", number)?;
    set("pids-limit", "pids", "limit", number)?;
    serde_json::from_value(limits).map_err(|error| error.to_string())
}

fn number(text: &str) -> Option<Value> {
    text.parse::<i64>().ok().map(|number| json!(number))
}

/// A number of bytes, or one with a unit of 1024 steps: `512m`.
fn bytes(text: &str) -> Option<Value> {
    let text = text.to_ascii_lowercase();
    let text = text.trim_end_matches("ib").trim_end_matches('b');
    let (digits, shift) = match text.char_indices().last()? {
        (at, 'k') => (&text[..at], 10),
        (at, 'm') => (&text[..at], 20),
        (at, 'g') => (&text[..at], 30),
        (at, 't') => (&text[..at], 40),
        _ => (text, 0),
    };
    digits.parse::<i64>().ok()?.checked_mul(1 << shift).map(|bytes| json!(bytes))
}

pub(super) const EVENTS: Known = Known { flags: &["stats"], values: &["interval"] };

/// Shows what a container uses: once, or again and again until it ends, with a line for each time that the
/// kernel killed something of it for want of memory.
pub(super) fn events(runtime: &Runtime, words: &[String]) -> Result<u8, String> {
    let arguments = Arguments::parse(words, &EVENTS).map_err(usage)?;
    let id = id_of(&arguments.operands)?;
    let interval = interval(arguments.value("interval").unwrap_or("5s")).ok_or_else(|| {
        usage(UsageError::bad("--interval", arguments.value("interval").unwrap_or_default()))
    })?;
    if arguments.has("stats") {
        return print(&statistics(runtime, &id).map_err(control)?);
    }
    let mut told = false;
    loop {
        match runtime.state(&id).map_err(control)?.status {
            Status::Stopped => return Ok(0),
            _ => print_text(&format!("{}\n", statistics(runtime, &id).map_err(control)?))?,
        };
        if !told && runtime.oom_killed(&id).map_err(control)? {
            told = true;
            print_text(&format!("{}\n", json!({"type": "oom", "id": id.as_str()})))?;
        }
        std::thread::sleep(interval);
    }
}

fn statistics(runtime: &Runtime, id: &Id) -> Result<Value, ControlError> {
    Ok(json!({"type": "stats", "id": id.as_str(), "data": runtime.statistics(id)?}))
}

/// Seconds, as `5s`, `5`, or `500ms`.
fn interval(text: &str) -> Option<Duration> {
    let (number, unit) = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(number), _) => (number, 1),
        (None, Some(number)) => (number, 1000),
        (None, None) => (text, 1000),
    };
    let millis = number.parse::<u32>().ok().filter(|number| *number > 0)?;
    Some(Duration::from_millis(u64::from(millis) * unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_have_units() {
        let cases = [("0", 0), ("-1", -1), ("512", 512), ("2k", 2048), ("3M", 3 << 20), ("1GiB", 1 << 30)];
        for (text, want) in cases {
            assert_eq!(bytes(text), Some(json!(want)), "{text}");
        }
        for bad in ["", "m", "1x", "9999999999999999t", "1.5g"] {
            assert_eq!(bytes(bad), None, "{bad}");
        }
        let millis = |text| interval(text).map(|time| time.as_millis());
        assert_eq!(
            [millis("5s"), millis("2"), millis("30ms"), millis("0")],
            [Some(5000), Some(2000), Some(30), None]
        );
    }

    #[test]
    fn options_become_limits() {
        let words = ["--memory", "4m", "--cpu-share=512", "--pids-limit", "-1", "--cpuset-cpus", "0-1", "x"];
        let words = words.map(str::to_owned);
        let arguments = Arguments::parse(&words, &UPDATE).expect("words");
        let limits = limits_of(&arguments).expect("limits");
        assert_eq!(limits.memory.and_then(|memory| memory.limit()), Some(4 << 20));
        assert_eq!(limits.cpu.as_ref().and_then(|cpu| cpu.shares()), Some(512));
        assert_eq!(limits.cpu.and_then(|cpu| cpu.cpus().clone()).as_deref(), Some("0-1"));
        assert_eq!(limits.pids.and_then(|pids| pids.limit), Some(-1));
        let wrong = ["--cpu-quota", "much", "x"].map(str::to_owned);
        let arguments = Arguments::parse(&wrong, &UPDATE).expect("words");
        assert!(limits_of(&arguments).is_err());
    }
}
