//! The command line `edgelet-oci`, as podman, containerd and CRI-O call an OCI runtime.
//!
//! Global options stand before the verb; options of a verb before or after the id. Errors go to
//! standard error and, as one JSON object or one line, to the file of `--log`.

mod arguments;
mod foreground;
mod limits;
mod report;
mod template;
mod verbs;

use arguments::{Arguments, UsageError};
use report::Report;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Runs the program with its whole `argv`. To be called from `main` before there is a second thread.
pub fn main(args: Vec<OsString>) -> ExitCode {
    match run(&args) {
        Ok(code) => ExitCode::from(code),
        Err(message) => {
            eprintln!("edgelet-oci: error: {message}");
            ExitCode::FAILURE
        }
    }
}

/// The answer is the exit code, or an error that has not been reported to the log yet.
fn run(args: &[OsString]) -> Result<u8, String> {
    let words: Vec<String> = args.iter().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let (global, rest) = Global::parse(&words).map_err(|error| error.to_string())?;
    let (verb, rest) = match rest.split_first() {
        _ if global.help => ("help", rest),
        _ if global.version => ("version", rest),
        Some((verb, rest)) => (verb.as_str(), rest),
        None => return Err(format!("no command\n{}", verbs::HELP)),
    };
    // Where a container could reach this program through /proc/PID/exe. Before anything is opened: what
    // follows may be done by a second execution.
    if ["create", "run", "exec"].contains(&verb) {
        edgelet_sys::seal::seal_program(args).map_err(|error| format!("seal the program: {error}"))?;
    }
    // A caller that does not want to wait for its children has passed that on; we wait for ours.
    edgelet_sys::process::let_children_vanish(false)
        .map_err(|error| format!("wait for children: {error}"))?;
    let report = Report::open(global.log.as_deref(), global.json, global.debug)
        .map_err(|error| format!("open log {:?}: {error}", global.log.as_deref().unwrap_or(Path::new(""))))?;
    report.install();
    verbs::run(verb, rest, &global.root, global.creation).inspect_err(|message| report.error(message))
}

/// What stands before the verb.
#[derive(Debug)]
struct Global {
    root: PathBuf,
    log: Option<PathBuf>,
    json: bool,
    debug: bool,
    creation: Creation,
    help: bool,
    version: bool,
}

/// What of it is about containers that are created.
#[derive(Debug, Clone, Copy)]
struct Creation {
    systemd_cgroup: bool,
    without_cgroups: bool,
    rootless: Option<bool>,
}

/// A memory file system that the caller may write.
fn default_root() -> PathBuf {
    let of_user =
        std::env::var_os("XDG_RUNTIME_DIR").filter(|_| !edgelet_sys::namespace::is_root_of_machine());
    of_user.map_or_else(|| PathBuf::from("/run"), PathBuf::from).join("edgelet-oci")
}

impl Global {
    fn parse(words: &[String]) -> Result<(Self, &[String]), UsageError> {
        let known = arguments::Known {
            flags: &["debug", "systemd-cgroup", "help", "version", "h", "v"],
            values: &["root", "log", "log-format", "rootless", "cgroup-manager"],
        };
        let (options, rest) = Arguments::leading(words, &known)?;
        let systemd_cgroup = match options.value("cgroup-manager") {
            None | Some("cgroupfs" | "disabled") => options.has("systemd-cgroup"),
            Some("systemd") => true,
            Some(other) => return Err(UsageError::bad("--cgroup-manager", other)),
        };
        let rootless = match options.value("rootless") {
            None | Some("auto") => None,
            Some("true") => Some(true),
            Some("false") => Some(false),
            Some(other) => return Err(UsageError::bad("--rootless", other)),
        };
        let json = match options.value("log-format") {
            None | Some("text") => false,
            Some("json") => true,
            Some(other) => return Err(UsageError::bad("--log-format", other)),
        };
        let global = Self {
            root: options.value("root").map_or_else(default_root, PathBuf::from),
            log: options.value("log").map(PathBuf::from),
            json,
            debug: options.has("debug"),
            creation: Creation {
                systemd_cgroup,
                without_cgroups: options.value("cgroup-manager") == Some("disabled"),
                rootless,
            },
            help: options.has("help") || options.has("h"),
            version: options.has("version") || options.has("v"),
        };
        Ok((global, rest))
    }
}
