//! Our own log: lines on stderr, with the severity in front as systemd's journal reads it. A service
//! manager keeps them; we write no log files.

use edgelet_types::config::LogLevel;
use log::{Level, LevelFilter};
use std::io::Write;

/// Logs from now on. Called once, by the daemon.
pub fn start(level: LogLevel) {
    let filter = level.as_filter().parse::<LevelFilter>().unwrap_or(LevelFilter::Info);
    env_logger::Builder::new()
        // Other crates' details are not ours to show unless somebody asks for details.
        .filter_level(filter.min(LevelFilter::Warn))
        .filter_module("edgelet", filter)
        .format(|out, record| {
            writeln!(out, "<{}>{}: {}", priority(record.level()), record.target(), record.args())
        })
        .init();
    // Ends the process: see the crate's invariants. The message is written by the standard hook first.
    let say = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        say(panic);
        std::process::abort();
    }));
}

/// Syslog severities (RFC 5424 6.2.1), as in sd-daemon(3).
fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}
