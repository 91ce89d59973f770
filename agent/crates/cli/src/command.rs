//! What each command does.

mod config;
mod deploy;
mod exec;
mod image;
mod logs;
mod ms;
mod system;
mod version;

use crate::args::{Command, Global, Image, Line, Ms, Shell, System};
use crate::exit::{Failure, SUCCESS};
use crate::output::{self, Look, is_rich};
use crate::progress::{Progress, Style};
use clap::CommandFactory;
use clap_complete::generate;
use clap_complete::shells::{Bash, Fish, Zsh};
use edgelet_api::client::Client;
use edgelet_types::Layout;
use serde_json::Value;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// What the program lends to the command line.
pub struct Hooks {
    /// Runs the node in the foreground until it is told to stop.
    pub daemon: fn(&Layout) -> ExitCode,
    /// Semantic version of this program.
    pub version: &'static str,
    /// When it was built, RFC 3339.
    pub build_time: &'static str,
    /// The commit it was built from.
    pub git_commit: &'static str,
}

/// How long an answer may take, and how long a lifecycle change is waited for.
const REQUEST: Duration = Duration::from_secs(60);

/// What all commands share.
struct Context {
    layout: Layout,
    look: Look,
    /// How progress is shown.
    style: Style,
    socket: PathBuf,
    timeout: Option<Duration>,
}

/// Runs one command.
pub(crate) fn run(line: Line, hooks: &Hooks) -> ExitCode {
    let context = Context::new(&line.global);
    if matches!(line.command, Some(Command::Daemon)) {
        return (hooks.daemon)(&context.layout);
    }
    start_logging(&line.global);
    match dispatch(line, &context, hooks) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => output::report(&failure, context.look),
    }
}

fn dispatch(line: Line, context: &Context, hooks: &Hooks) -> Result<u8, Failure> {
    let Some(command) = line.command else {
        // A line without command is one with --version; the other kind is help.
        return version::show(context, hooks).map(|()| SUCCESS);
    };
    match command {
        Command::Ms(Ms::Exec { target, command }) => return exec::run(context, &target.id, command),
        Command::Version | Command::System(System::Version) => version::show(context, hooks),
        Command::InitConfig => config::init(context),
        Command::Daemon => unreachable!("handled before anything is set up for commands"),
        Command::System(System::Status) => system::status(context),
        Command::System(System::Info) => system::info(context),
        Command::Ms(Ms::Ls { source }) => ms::list(context, &source),
        Command::Ms(Ms::Inspect { target, summary }) => ms::inspect(context, &target.id, summary),
        Command::Ms(Ms::Logs(logs)) => logs::show(context, &logs),
        Command::Ms(Ms::Start { target }) => ms::start(context, &target.id),
        Command::Ms(Ms::Stop { target }) => ms::stop(context, &target.id),
        Command::Ms(Ms::Restart { target }) => ms::restart(context, &target.id),
        Command::Ms(Ms::Kill { target, signal }) => ms::kill(context, &target.id, &signal),
        Command::Ms(Ms::Rm { target, cleanup }) => ms::remove(context, &target.id, cleanup),
        Command::Image(Image::Ls) => image::list(context),
        Command::Image(Image::Pull { reference, platform, registry_id }) => {
            image::pull(context, reference, platform, registry_id)
        }
        Command::Image(Image::Load { file }) => image::load(context, &file),
        Command::Image(Image::Rm { selector }) => image::remove(context, &selector),
        Command::Image(Image::Prune) => image::prune(context),
        Command::Deploy(deploy) => deploy::run(context, &deploy),
        Command::Completion { shell } => completion(shell),
    }
    .map(|()| SUCCESS)
}

impl Context {
    fn new(global: &Global) -> Self {
        let prefix = std::env::var_os(Layout::PREFIX_VARIABLE).filter(|prefix| !prefix.is_empty());
        let layout = Layout::new(prefix.unwrap_or_else(|| "/".into()));
        let look = Look { format: global.output, is_rich: is_rich(global.no_color) };
        let style = match (global.quiet, look.is_rich) {
            (true, _) => Style::Silent,
            (false, true) => Style::Bar,
            (false, false) => Style::Lines,
        };
        Self {
            socket: global.socket.clone().unwrap_or_else(|| layout.socket()),
            layout,
            look,
            style,
            timeout: global.timeout,
        }
    }

    fn client(&self) -> Client {
        Client::new(&self.socket, self.timeout.unwrap_or(REQUEST))
    }

    fn progress(&self) -> Progress {
        Progress::new(self.style)
    }

    /// How long a result is waited for: what the user said, or what is usual.
    fn budget(&self, usual: Duration) -> Duration {
        self.timeout.unwrap_or(usual)
    }
}

/// A text of an answer that is rather shown than understood; empty where there is none.
fn text<'a>(answer: &'a Value, key: &str) -> &'a str {
    answer[key].as_str().unwrap_or_default()
}

/// The things in an answer that is a list.
fn items(list: &Value) -> &[Value] {
    list["items"].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn start_logging(global: &Global) {
    let level = match (global.debug, global.verbose) {
        (true, _) => log::LevelFilter::Trace,
        (_, true) => log::LevelFilter::Debug,
        _ => log::LevelFilter::Warn,
    };
    // Fails only when somebody set up logging already, which is as good.
    let _ = env_logger::Builder::new().filter_level(level).try_init();
}

fn completion(shell: Shell) -> Result<(), Failure> {
    let mut line = Line::command();
    let mut script = Vec::new();
    // Not through the enumeration of all shells, which would bring the writers of all.
    match shell {
        Shell::Bash => generate(Bash, &mut line, "edgelet", &mut script),
        Shell::Zsh => generate(Zsh, &mut line, "edgelet", &mut script),
        Shell::Fish => generate(Fish, &mut line, "edgelet", &mut script),
    }
    output::finished(std::io::stdout().write_all(&script))
}
