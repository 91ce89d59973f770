//! `system status` and `system info`.

use super::Context;
use crate::exit::Failure;
use crate::{output, table};
use edgelet_api::wire::human_bytes;
use serde_json::Value;
use std::io::{self, Write};

pub(super) fn status(context: &Context) -> Result<(), Failure> {
    let status = context.client().status()?;
    output::result(context.look.format, &status, |out| show_status(&status, out))
}

pub(super) fn info(context: &Context) -> Result<(), Failure> {
    let info = context.client().info()?;
    output::result(context.look.format, &info, |out| {
        let lines: Vec<(&str, String)> =
            info.as_object().into_iter().flatten().map(|(key, value)| (key.as_str(), text(value))).collect();
        table::card(out, &lines)
    })
}

/// How a value of the status object is written for people.
enum Unit {
    Plain,
    Bytes,
    Cores,
    Percent,
    GibOfData,
}

/// The keys that people see, in this order; `cpuUsage` and `memoryUsage` say the same as the stack's.
const SHOWN: &[(&str, &str, Unit)] = &[
    ("edgeletDaemon", "daemon", Unit::Plain),
    ("warningMessage", "warning", Unit::Plain),
    ("systemTime", "time", Unit::Plain),
    ("runningMicroservices", "running microservices", Unit::Plain),
    ("runtime.engine", "engine", Unit::Plain),
    ("runtime.engineReady", "engine ready", Unit::Plain),
    ("cgroupMode", "cgroups", Unit::Plain),
    ("edgeletStackCpu", "edgelet cpu", Unit::Cores),
    ("edgeletStackMemory", "edgelet memory", Unit::Bytes),
    ("diskUsage", "edgelet data", Unit::GibOfData),
    ("systemCpus", "host cores", Unit::Plain),
    ("systemTotalCpu", "host cpu busy", Unit::Percent),
    ("systemTotalMemory", "host memory", Unit::Bytes),
    ("systemAvailableMemory", "host memory available", Unit::Bytes),
    ("systemTotalDisk", "host disk", Unit::Bytes),
    ("systemAvailableDisk", "host disk available", Unit::Bytes),
    ("systemOs", "host os", Unit::Plain),
    ("systemOsVersion", "host os version", Unit::Plain),
    ("systemKernelVersion", "host kernel", Unit::Plain),
    ("availableNetworkInterfaces", "network interfaces", Unit::Plain),
];

fn show_status(status: &Value, out: &mut dyn Write) -> io::Result<()> {
    let line = |(key, title, unit): &(&str, &'static str, Unit)| {
        let value = text(status.get(*key)?);
        let value = match unit {
            Unit::Plain => value,
            Unit::Bytes => value.parse().map_or(value, human_bytes),
            Unit::Cores => value.parse::<f64>().map_or(value, |cores| format!("{cores:.2} cores")),
            Unit::Percent => format!("{value} %"),
            Unit::GibOfData => format!("{value} GiB"),
        };
        (!value.is_empty()).then_some((*title, value))
    };
    let lines: Vec<(&str, String)> = SHOWN.iter().filter_map(line).collect();
    table::card(out, &lines)
}

/// A scalar without quotes.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
