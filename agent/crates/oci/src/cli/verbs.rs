//! The verbs of the command line.

use super::Creation;
use super::arguments::{Arguments, Known, UsageError};
use super::foreground::{self, Relay, Signals};
use super::limits;
use super::template;
use crate::spec::{Process, Spec};
use crate::{
    Changes, ConsoleSocket, ControlError, CreateOptions, ExecOptions, ExecProcess, Id, Runtime, features,
};
use edgelet_sys::process::Child;
use edgelet_types::Fault;
use nix::sys::signal::Signal;
use serde_json::json;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub(super) const HELP: &str = "\
usage: edgelet-oci [--root DIR] [--log FILE] [--log-format text|json] [--debug] [--systemd-cgroup]
                   [--rootless auto|true|false] COMMAND

  create  ID [-b BUNDLE] [--console-socket PATH] [--pid-file FILE] [--preserve-fds N] [--no-new-keyring] [--no-pivot]
  start   ID
  run     ID [-d] [--keep] and the options of create
  exec    [-p FILE] [-d] [-t] [-u UID[:GID]] [--cwd DIR] [-e NAME=VALUE] [-c CAP] ID [PROGRAM ARGUMENT...]
  state   ID
  kill    ID [SIGNAL] [-a]
  delete  ID [-f]
  list    [-q] [-f table|json]
  ps      ID [-f table|json]
  pause   ID
  resume  ID
  update  ID [-r FILE|-] [--memory BYTES] [--cpu-quota MICROSECONDS] [--pids-limit N] and other limits
  events  ID [--stats] [--interval SECONDS]
  features
  spec    [-b BUNDLE] [--rootless]
";

/// Runs one verb; the answer is the exit code or what went wrong.
pub(super) fn run(verb: &str, words: &[String], root: &Path, creation: Creation) -> Result<u8, String> {
    let runtime = Runtime::new(root);
    if let [word, ..] = words
        && ["--help", "-h"].contains(&word.as_str())
    {
        return print_text(HELP);
    }
    if !["create", "run", "exec"].contains(&verb) {
        keep_only(0)?;
    }
    match verb {
        "create" => create(&runtime, words, creation),
        "start" => start(&runtime, words),
        "run" => run_container(&runtime, words, creation),
        "exec" => exec(&runtime, words),
        "state" => state(&runtime, words),
        "kill" => kill(&runtime, words),
        "delete" => delete(&runtime, words),
        "list" => list(&runtime, words),
        "ps" => ps(&runtime, words),
        "pause" => only_id(words).and_then(|id| runtime.pause(&id).map_err(control)).map(|()| 0),
        "resume" => only_id(words).and_then(|id| runtime.resume(&id).map_err(control)).map(|()| 0),
        "update" => limits::update(&runtime, words),
        "events" => limits::events(&runtime, words),
        "features" => print(&features::features()),
        "version" => version(),
        "help" => print_text(HELP),
        "spec" => template::spec(words),
        "checkpoint" | "restore" => Err(usage(UsageError::not_supported(verb))),
        other => Err(format!("unknown command {other:?}")),
    }
}

const CREATE: Known = Known {
    flags: &["no-new-keyring", "no-pivot", "detach", "d", "keep"],
    values: &["bundle", "b", "console-socket", "pid-file", "preserve-fds"],
};

fn create(runtime: &Runtime, words: &[String], creation: Creation) -> Result<u8, String> {
    let arguments = Arguments::parse(words, &CREATE).map_err(usage)?;
    let options = create_options(&arguments, creation)?;
    runtime.create(&options).map_err(fault)?;
    Ok(0)
}

fn create_options(arguments: &Arguments, creation: Creation) -> Result<CreateOptions, String> {
    let id = id_of(&arguments.operands)?;
    let mut options = CreateOptions::new(id, arguments.either("bundle", "b").unwrap_or("."));
    options.console = arguments.value("console-socket").map(|path| ConsoleSocket::Path(PathBuf::from(path)));
    options.pid_file = arguments.value("pid-file").map(PathBuf::from);
    let preserved = arguments.number("preserve-fds", 0).map_err(usage)?;
    let (sockets, env) = handed_over();
    options.preserve_fds = sockets.checked_add(preserved).ok_or("--preserve-fds: too many")?;
    options.env = env;
    keep_only(options.preserve_fds)?;
    options.no_pivot = arguments.has("no-pivot");
    options.keep_keyring = arguments.has("no-new-keyring");
    options.systemd_cgroup = creation.systemd_cgroup;
    options.without_cgroups = creation.without_cgroups;
    options.rootless = creation.rootless;
    Ok(options)
}

/// Sockets that a service manager gave us for the program (sd_listen_fds(3)): how many, and what tells it of them.
fn handed_over() -> (u32, Vec<String>) {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    let Some(count) = number("LISTEN_FDS").filter(|_| number("LISTEN_PID") == Some(std::process::id()))
    else {
        return (0, Vec::new());
    };
    let names = std::env::var("LISTEN_FDNAMES").ok().map(|names| format!("LISTEN_FDNAMES={names}"));
    // Inside it is the first process.
    let told = [format!("LISTEN_FDS={count}"), "LISTEN_PID=1".to_owned()];
    (count, told.into_iter().chain(names).collect())
}

fn start(runtime: &Runtime, words: &[String]) -> Result<u8, String> {
    runtime.start(&only_id(words)?).map_err(fault)?;
    Ok(0)
}

/// Create, start, and in the foreground wait and delete.
fn run_container(runtime: &Runtime, words: &[String], creation: Creation) -> Result<u8, String> {
    let arguments = Arguments::parse(words, &CREATE).map_err(usage)?;
    let mut options = create_options(&arguments, creation)?;
    if arguments.has("detach") || arguments.has("d") {
        runtime.run(&options).map_err(fault)?;
        return Ok(0);
    }
    let signals = Signals::collect().map_err(io_error("collect signals"))?;
    let relay = match options.console.is_none() && wants_terminal(&options.bundle) {
        true => {
            let (relay, theirs) = Relay::new().map_err(io_error("make terminal relay"))?;
            options.console = Some(ConsoleSocket::Connected(theirs));
            Some(relay)
        }
        false => None,
    };
    let state = runtime.run(&options).map_err(fault)?;
    // It is our child until we wait for it, so the id is still its own.
    let child = Child::adopt(state.pid).map_err(io_error("open init"))?;
    let code = foreground::attend(child, signals, relay).map_err(io_error("wait for init"));
    if matches!(code, Ok(KILLED)) && runtime.oom_killed(&options.id).unwrap_or(false) {
        log::warn!("the kernel ended it for want of memory: it came to its limit");
    }
    if !arguments.has("keep") {
        runtime.delete(&options.id, true).map_err(control)?;
    }
    Ok(exit_code(code?))
}

/// A first look; `create` reads and checks the configuration itself, and says what is wrong with it.
fn wants_terminal(bundle: &Path) -> bool {
    let text = std::fs::read(bundle.join("config.json")).unwrap_or_default();
    let spec: Spec = serde_json::from_slice(&text).unwrap_or_default();
    spec.process.and_then(|process| process.terminal).unwrap_or(false)
}

/// Whatever else the caller left open is neither for hooks nor for programs. Ours are marked already.
fn keep_only(preserved: u32) -> Result<(), String> {
    let first = preserved
        .checked_add(3)
        .ok_or_else(|| usage(UsageError::bad("--preserve-fds", &preserved.to_string())))?;
    edgelet_sys::descriptors::close_on_exec_from(first).map_err(io_error("mark descriptors"))
}

const EXEC: Known = Known {
    flags: &["detach", "d", "tty", "t", "no-new-privs", "ignore-paused"],
    values: &[
        "process",
        "p",
        "pid-file",
        "console-socket",
        "user",
        "u",
        "additional-gids",
        "g",
        "cwd",
        "env",
        "e",
        "cap",
        "c",
        "preserve-fds",
        "cgroup",
        "process-label",
        "apparmor",
    ],
};

fn exec(runtime: &Runtime, words: &[String]) -> Result<u8, String> {
    let (arguments, rest) = Arguments::leading(words, &EXEC).map_err(usage)?;
    let (id, program) = match rest.split_first() {
        Some((id, program)) => (Id::parse(id).map_err(|error| error.to_string())?, program),
        None => return Err(usage(UsageError::Missing("container id"))),
    };
    let program = program.strip_prefix(&["--".to_owned()]).unwrap_or(program);
    let process = exec_process(&arguments, program)?;
    let terminal = match &process {
        ExecProcess::Full(process) => process.terminal.unwrap_or(false),
        ExecProcess::Like(changes) => changes.terminal,
    };
    let mut options = ExecOptions::new(process);
    options.console = arguments.value("console-socket").map(|path| ConsoleSocket::Path(PathBuf::from(path)));
    options.pid_file = arguments.value("pid-file").map(PathBuf::from);
    options.preserve_fds = arguments.number("preserve-fds", 0).map_err(usage)?;
    keep_only(options.preserve_fds)?;
    options.ignore_paused = arguments.has("ignore-paused");
    options.cgroup = given(&arguments, "cgroup").map(PathBuf::from);
    if arguments.has("detach") || arguments.has("d") {
        runtime.exec(&id, &options).map_err(fault)?;
        return Ok(0);
    }
    let signals = Signals::collect().map_err(io_error("collect signals"))?;
    let relay = match terminal && options.console.is_none() {
        true => {
            let (relay, theirs) = Relay::new().map_err(io_error("make terminal relay"))?;
            options.console = Some(ConsoleSocket::Connected(theirs));
            Some(relay)
        }
        false => None,
    };
    let process = runtime.exec(&id, &options).map_err(fault)?;
    let code = foreground::attend(process.into(), signals, relay).map_err(io_error("wait for process"))?;
    Ok(exit_code(code))
}

fn exec_process(arguments: &Arguments, program: &[String]) -> Result<ExecProcess, String> {
    if let Some(path) = arguments.either("process", "p") {
        let text = std::fs::read(path).map_err(io_error(&format!("read {path}")))?;
        let mut process: Process =
            serde_json::from_slice(&text).map_err(|error| format!("{path}: {error}"))?;
        if arguments.has("tty") || arguments.has("t") {
            process.terminal = Some(true);
        }
        return Ok(ExecProcess::Full(Box::new(process)));
    }
    if program.is_empty() {
        return Err(usage(UsageError::Missing("program")));
    }
    let both = |long, short| {
        arguments.values(long).iter().chain(arguments.values(short)).cloned().collect::<Vec<_>>()
    };
    // Digits only: what is left out, or has a sign, may be a slip, and would be root.
    let number = |option: &str, text: &str| match text.parse::<u32>() {
        Ok(number) if text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(number),
        _ => Err(usage(UsageError::bad(option, text))),
    };
    let user = match arguments.either("user", "u").map(|text| (text, text.split_once(':'))) {
        None => None,
        Some((uid, None)) => Some((number("--user", uid)?, None)),
        Some((_, Some((uid, gid)))) => Some((number("--user", uid)?, Some(number("--user", gid)?))),
    };
    let groups = both("additional-gids", "g");
    Ok(ExecProcess::Like(Changes {
        args: program.to_vec(),
        env: both("env", "e"),
        cwd: arguments.value("cwd").map(PathBuf::from),
        user,
        additional_gids: groups
            .iter()
            .map(|text| number("--additional-gids", text))
            .collect::<Result<_, _>>()?,
        capabilities: both("cap", "c"),
        terminal: arguments.has("tty") || arguments.has("t"),
        no_new_privileges: arguments.has("no-new-privs").then_some(true),
        apparmor_profile: given(arguments, "apparmor").map(str::to_owned),
        selinux_label: given(arguments, "process-label").map(str::to_owned),
    }))
}

/// The value of an option; callers leave empty ones where they mean nothing.
fn given<'a>(arguments: &'a Arguments, name: &str) -> Option<&'a str> {
    arguments.value(name).filter(|value| !value.is_empty())
}

fn state(runtime: &Runtime, words: &[String]) -> Result<u8, String> {
    let state = runtime.state(&only_id(words)?).map_err(control)?;
    print(&serde_json::to_value(state).map_err(|error| error.to_string())?)
}

fn kill(runtime: &Runtime, words: &[String]) -> Result<u8, String> {
    // A negative number would look like an option, and there is no negative signal.
    let known = Known { flags: &["all", "a"], values: &[] };
    let arguments = Arguments::parse(words, &known).map_err(usage)?;
    let (id, signal) = match arguments.operands.as_slice() {
        [id] => (id, libc::SIGTERM),
        [id, signal] => (id, signal_number(signal).ok_or_else(|| usage(UsageError::bad("signal", signal)))?),
        [] => return Err(usage(UsageError::Missing("container id"))),
        [_, _, extra, ..] => return Err(usage(UsageError::Unexpected(extra.clone()))),
    };
    let id = Id::parse(id).map_err(|error| error.to_string())?;
    runtime.kill(&id, signal, arguments.has("all") || arguments.has("a")).map_err(control)?;
    Ok(0)
}

/// A number, or a name with or without `SIG`, in any case.
fn signal_number(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (0..=64).contains(&number).then_some(number);
    }
    let name = text.to_ascii_uppercase();
    let name = if name.starts_with("SIG") { name } else { format!("SIG{name}") };
    let real_time = |first: &str, sign: char, number: fn(i32) -> i32| {
        let rest = name.strip_prefix(first)?;
        let offset = if rest.is_empty() { 0 } else { rest.strip_prefix(sign)?.parse::<u8>().ok()? };
        (offset <= 30).then(|| number(offset.into()))
    };
    Signal::from_str(&name)
        .ok()
        .map(|signal| signal as i32)
        .or_else(|| real_time("SIGRTMIN", '+', |offset| 34 + offset))
        .or_else(|| real_time("SIGRTMAX", '-', |offset| 64 - offset))
}

fn delete(runtime: &Runtime, words: &[String]) -> Result<u8, String> {
    let known = Known { flags: &["force", "f"], values: &[] };
    let arguments = Arguments::parse(words, &known).map_err(usage)?;
    let id = id_of(&arguments.operands)?;
    runtime.delete(&id, arguments.has("force") || arguments.has("f")).map_err(control)?;
    Ok(0)
}

fn list(runtime: &Runtime, words: &[String]) -> Result<u8, String> {
    let known = Known { flags: &["quiet", "q"], values: &["format", "f"] };
    let arguments = Arguments::parse(words, &known).map_err(usage)?;
    let states = runtime.list().map_err(control)?;
    if arguments.has("quiet") || arguments.has("q") {
        return print_text(&states.iter().map(|state| format!("{}\n", state.id)).collect::<String>());
    }
    match arguments.either("format", "f") {
        Some("json") => print(&serde_json::to_value(states).map_err(|error| error.to_string())?),
        None | Some("table") => {
            let mut table = format!("{:<40} {:>8} {:<9} {:<26} BUNDLE\n", "ID", "PID", "STATUS", "CREATED");
            for state in states {
                let (status, bundle) = (state.status.to_string(), state.bundle.display());
                table.push_str(&format!(
                    "{:<40} {:>8} {status:<9} {:<26} {bundle}\n",
                    state.id, state.pid, state.created
                ));
            }
            print_text(&table)
        }
        Some(other) => Err(usage(UsageError::bad("--format", other))),
    }
}

fn ps(runtime: &Runtime, words: &[String]) -> Result<u8, String> {
    let known = Known { flags: &[], values: &["format", "f"] };
    let arguments = Arguments::parse(words, &known).map_err(usage)?;
    let pids = runtime.processes(&id_of(&arguments.operands)?).map_err(control)?;
    match arguments.either("format", "f") {
        Some("json") => print(&json!(pids)),
        None | Some("table") => print_text(&pids.iter().map(|pid| format!("{pid}\n")).collect::<String>()),
        Some(other) => Err(usage(UsageError::bad("--format", other))),
    }
}

fn version() -> Result<u8, String> {
    print_text(&format!(
        "edgelet-oci version {}\nspec: {}\n",
        env!("CARGO_PKG_VERSION"),
        features::SPEC_VERSION
    ))
}

pub(super) fn print(json: &serde_json::Value) -> Result<u8, String> {
    print_text(&format!("{json:#}\n"))
}

pub(super) fn print_text(text: &str) -> Result<u8, String> {
    io::stdout().write_all(text.as_bytes()).map_err(io_error("write output"))?;
    Ok(0)
}

fn only_id(words: &[String]) -> Result<Id, String> {
    let arguments = Arguments::parse(words, &Known { flags: &[], values: &[] }).map_err(usage)?;
    id_of(&arguments.operands)
}

pub(super) fn id_of(operands: &[String]) -> Result<Id, String> {
    match operands {
        [id] => Id::parse(id).map_err(|error| error.to_string()),
        [] => Err(usage(UsageError::Missing("container id"))),
        [_, extra, ..] => Err(usage(UsageError::Unexpected(extra.clone()))),
    }
}

/// The code of a program that SIGKILL ended.
const KILLED: i32 = 128 + libc::SIGKILL;

/// Codes are 0 to 255: a byte from the kernel, or 128 plus a signal.
fn exit_code(code: i32) -> u8 {
    u8::try_from(code).unwrap_or(u8::MAX)
}

pub(super) fn usage(error: UsageError) -> String {
    error.to_string()
}

fn fault(error: impl Into<Fault>) -> String {
    error.into().message
}

pub(super) fn control(error: ControlError) -> String {
    fault(error)
}

pub(super) fn io_error(step: &str) -> impl FnOnce(io::Error) -> String {
    let step = step.to_owned();
    move |error| format!("{step}: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        let cases = [
            ("KILL", Some(9)),
            ("SIGKILL", Some(9)),
            ("sigterm", Some(15)),
            ("9", Some(9)),
            ("0", Some(0)),
            ("SIGRTMIN+3", Some(37)),
            ("RTMIN", Some(34)),
            ("RTMIN-3", None),
            ("RTMIN+2147483647", None),
            ("RTMAX-1", Some(63)),
            ("65", None),
            ("MAGIC", None),
            ("", None),
        ];
        for (text, want) in cases {
            assert_eq!(signal_number(text), want, "{text:?}");
        }
    }
    #[test]
    fn the_manual_names_every_command_and_option() {
        let page = include_str!("../../../../assets/man/edgelet-oci.8").replace("\\-", "-");
        let shown = |word: &str| page.contains(&format!("\\fB{word}\\fR"));
        let commands = HELP.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
        let commands = commands.filter(|word| !word.is_empty());
        let options = [&CREATE, &EXEC, &limits::UPDATE, &limits::EVENTS]
            .into_iter()
            .flat_map(|known| known.flags.iter().chain(known.values));
        let options =
            options.map(|name| if name.len() == 1 { format!("-{name}") } else { format!("--{name}") });
        let missing: Vec<String> =
            commands.map(str::to_owned).chain(options).filter(|word| !shown(word)).collect();
        assert_eq!(missing, [""; 0]);
    }
}
