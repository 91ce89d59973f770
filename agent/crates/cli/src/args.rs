//! What can be typed. Parsing only; what it means is in `command`.

use crate::exit::Failure;
use crate::output::{Format, Look, is_rich};
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};
use edgelet_api::error::Code;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Node software for embedded Linux: runs containers, alone or under a fleet controller.
#[derive(Debug, Parser)]
#[command(
    name = "edgelet",
    bin_name = "edgelet",
    disable_version_flag = true,
    disable_help_subcommand = true
)]
pub(crate) struct Line {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// How results are written
    #[arg(short, long, value_enum, default_value = "human", global = true)]
    pub(crate) output: Format,
    /// No progress on standard error
    #[arg(long, global = true)]
    pub(crate) quiet: bool,
    /// Say more about what is done
    #[arg(long, global = true)]
    pub(crate) verbose: bool,
    /// Say everything
    #[arg(long, global = true)]
    pub(crate) debug: bool,
    /// Socket of the daemon [default: /run/edgelet/edgelet.sock]
    #[arg(long, value_name = "PATH", global = true)]
    pub(crate) socket: Option<PathBuf>,
    /// Time limit of a request, and of waiting for a result, such as 90s or 20m
    #[arg(long, value_name = "DUR", value_parser = duration, global = true)]
    pub(crate) timeout: Option<Duration>,
    /// No colour, no moving output
    #[arg(long, global = true)]
    pub(crate) no_color: bool,
    /// Show the versions of this program and of the daemon
    #[arg(long)]
    pub(crate) version: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the versions of this program and of the daemon
    Version,
    /// Write the default configuration where there is none
    InitConfig,
    /// Run the node in the foreground
    #[command(hide = true)]
    Daemon,
    /// The node
    #[command(subcommand)]
    System(System),
    /// Microservices
    #[command(subcommand)]
    Ms(Ms),
    /// Images
    #[command(subcommand)]
    Image(Image),
    /// Deploy a manifest and wait for the result
    Deploy(Deploy),
    /// Print a completion script
    Completion {
        /// For this shell
        #[arg(value_enum)]
        shell: Shell,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum System {
    /// What is true of the node and its host
    Status,
    /// How the node is configured
    Info,
    /// Show the versions of this program and of the daemon
    Version,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Ms {
    /// List them
    Ls {
        /// Only of this source
        #[arg(long, default_value = "all", value_parser = ["managed", "local", "controlplane", "all"])]
        source: String,
    },
    /// Show everything that is known of one
    Inspect {
        #[command(flatten)]
        target: Target,
        /// Only the most important, for people
        #[arg(long)]
        summary: bool,
    },
    /// Show its output
    Logs(Logs),
    /// Run a program in it; an interactive shell when none is named
    Exec {
        #[command(flatten)]
        target: Target,
        /// Program and arguments, after --
        #[arg(last = true)]
        command: Vec<String>,
    },
    /// Start it
    Start {
        #[command(flatten)]
        target: Target,
    },
    /// Stop it
    Stop {
        #[command(flatten)]
        target: Target,
    },
    /// Replace its container by a fresh one
    Restart {
        #[command(flatten)]
        target: Target,
    },
    /// Send a signal to it
    Kill {
        #[command(flatten)]
        target: Target,
        /// Name or number
        #[arg(short, long, default_value = "SIGKILL")]
        signal: String,
    },
    /// Remove it
    Rm {
        #[command(flatten)]
        target: Target,
        /// Mark its volumes for a later volume prune
        #[arg(long)]
        cleanup: bool,
    },
}

// No doc comment: clap would take it for the help of the command.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// UUID, application.name, name, or first digits of the container id
    pub(crate) id: String,
}

#[derive(Debug, Args)]
pub(crate) struct Logs {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Go on with new lines as they come
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// How many of the last lines
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) tail: u64,
    /// Not before this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Not after this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// With the time of each line
    #[arg(long)]
    pub(crate) timestamps: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Image {
    /// List them
    Ls,
    /// Fetch one from its registry
    Pull {
        /// Such as registry.example/app:1.2
        reference: String,
        /// Variant, as os/arch[/variant]
        #[arg(short, long)]
        platform: Option<String>,
        /// Number of a configured registry
        #[arg(short, long, value_name = "N")]
        registry_id: Option<i64>,
    },
    /// Load the images of an archive on this device
    Load {
        /// .tar or .tar.gz, OCI layout or docker archive
        #[arg(short, long, value_name = "TAR")]
        file: PathBuf,
    },
    /// Remove one, or one of its names
    Rm {
        /// repository:tag, id, or at least 3 first digits of an id
        selector: String,
    },
    /// Remove those without a name that nothing needs
    Prune,
}

#[derive(Debug, Args)]
pub(crate) struct Deploy {
    /// The manifest; - for standard input
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Only check it
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Where it came from, for the daemon's log
    #[arg(long = "sourceName", value_name = "NAME")]
    pub(crate) source_name: Option<String>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// What a command line turned out to be.
pub(crate) enum Parsed {
    Command(Line),
    Help(String),
    Wrong(Failure, Look),
}

/// Parses a command line; the first word is the program's name.
pub(crate) fn parse(args: &[OsString]) -> Parsed {
    match Line::try_parse_from(args) {
        Ok(Line { command: None, global }) if !global.version => {
            Parsed::Help(Line::command().render_help().to_string())
        }
        Ok(line) => Parsed::Command(line),
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
                Parsed::Help(error.to_string())
            }
            _ => Parsed::Wrong(wrong(&error), look_of(args)),
        },
    }
}

/// What is wrong, in one line; how it should be is in the help.
fn wrong(error: &clap::Error) -> Failure {
    let text = error.to_string();
    let text = text.split("\n\nUsage:").next().unwrap_or(&text);
    let text = text.split("\n\nFor more information").next().unwrap_or(text);
    let text = text.strip_prefix("error: ").unwrap_or(text);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let mut failure = Failure::local(Code::InvalidArgument, lines.join("; "));
    failure.hint = Some("see `edgelet --help`, or --help after a command".to_owned());
    failure
}

/// The wanted look of a line that could not be parsed.
fn look_of(args: &[OsString]) -> Look {
    let no_color = args.iter().any(|word| word == "--no-color");
    Look { format: format_of(args), is_rich: is_rich(no_color) }
}

fn format_of(args: &[OsString]) -> Format {
    let words: Vec<&str> = args.iter().filter_map(|word| word.to_str()).collect();
    let wants = |name: &str| {
        words.windows(2).any(|pair| matches!(pair[0], "-o" | "--output") && pair[1] == name)
            || words.iter().any(|word| {
                word.strip_prefix("--output=").or(word.strip_prefix("-o")).is_some_and(|value| value == name)
            })
    };
    match (wants("json"), wants("yaml")) {
        (true, _) => Format::Json,
        (_, true) => Format::Yaml,
        _ => Format::Human,
    }
}

/// Parses `90s`, `20m`, `1h30m`, `500ms`.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?}: must be a duration such as 90s, 20m or 1h30m");
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let count: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        let unit_end = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |at| at + digits);
        let millis = match &rest[digits..unit_end] {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(wrong()),
        };
        let part = count.checked_mul(millis).map(Duration::from_millis).ok_or_else(wrong)?;
        total = total.checked_add(part).ok_or_else(wrong)?;
        rest = &rest[unit_end..];
    }
    match total.is_zero() {
        true => Err(wrong()),
        false => Ok(total),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_tree_is_consistent() {
        Line::command().debug_assert();
    }

    #[test]
    fn durations_are_parsed_like_gos() {
        let cases = [
            ("90s", Some(90_000)),
            ("20m", Some(1_200_000)),
            ("1h30m", Some(5_400_000)),
            ("500ms", Some(500)),
            ("0s", None),
            ("", None),
            ("5", None),
            ("m", None),
            ("-1s", None),
            ("99999999999999999999s", None),
            ("18446744073709551615h", None),
        ];
        for (text, want) in cases {
            assert_eq!(duration(text).ok(), want.map(Duration::from_millis), "{text}");
        }
    }

    #[test]
    fn the_format_of_a_wrong_line_is_still_found() {
        let cases: [(&[&str], Format); 5] = [
            (&["edgelet", "-o", "json", "nope"], Format::Json),
            (&["edgelet", "--output=yaml", "nope"], Format::Yaml),
            (&["edgelet", "-ojson", "nope"], Format::Json),
            (&["edgelet", "nope"], Format::Human),
            (&["edgelet", "-o", "xml"], Format::Human),
        ];
        for (words, want) in cases {
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            assert!(matches!(parse(&words), Parsed::Wrong(_, look) if look.format == want), "{words:?}");
        }
    }
}
