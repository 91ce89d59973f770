//! Writes the man pages and completions of the command line: `manual DIR`, for `cargo xtask man`.
//!
//! An example and not a word of the program, which carries no writer of manuals.

#![forbid(unsafe_code)]

use clap_complete::shells::{Bash, Zsh};
use clap_mangen::Man;
use edgelet_cli::exit;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

fn main() -> io::Result<()> {
    let dir = std::env::args_os().nth(1).map(PathBuf::from);
    let dir = dir.ok_or_else(|| io::Error::other("usage: manual DIR"))?;
    let (man, completions) = (dir.join("man"), dir.join("completions"));
    fs::create_dir_all(&man)?;
    fs::create_dir_all(&completions)?;
    let mut command = edgelet_cli::command();
    // The names under which the shells look for them.
    clap_complete::generate(
        Bash,
        &mut command,
        "edgelet",
        &mut File::create(completions.join("edgelet.bash"))?,
    );
    clap_complete::generate(Zsh, &mut command, "edgelet", &mut File::create(completions.join("_edgelet"))?);
    command.build();
    pages(&command, &man)
}

/// A page for each command that is shown, and for each below it.
fn pages(command: &clap::Command, dir: &Path) -> io::Result<()> {
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        pages(below, dir)?;
    }
    let is_top = command.get_display_name().is_none_or(|name| name == "edgelet");
    let page = Man::new(command.clone()).date(" ").source("edgelet").manual("Edgelet");
    let mut text = Vec::new();
    page.render(&mut text)?;
    match is_top {
        true => text.extend(more().into_bytes()),
        false => text.extend(b".SH \"SEE ALSO\"\n\\fBedgelet\\fR(1)\n"),
    }
    File::create(dir.join(page.get_filename()))?.write_all(&text)
}

/// What clap does not know of `edgelet`.
fn more() -> String {
    let codes = [
        (exit::SUCCESS, "Done."),
        (exit::INTERNAL, "What has no number of its own."),
        (exit::INVALID_ARGUMENT, "The command line, the manifest or another input is wrong."),
        (exit::FORBIDDEN, "Not allowed."),
        (exit::NOT_FOUND, "There is no such thing."),
        (exit::CONFLICT, "Conflicts with what is."),
        (exit::NOT_IMPLEMENTED, "This version does not do it."),
        (exit::DAEMON_UNAVAILABLE, "The daemon cannot be reached."),
    ];
    let files = [
        (
            "/etc/edgelet/config.toml",
            "Configuration; \\fBedgelet init\\-config\\fR writes one with every key and its default.",
        ),
        ("/run/edgelet/edgelet.sock", "The socket of the daemon. Only root may use it."),
        ("/var/lib/edgelet", "What the node is to run, and images."),
        ("/var/log/edgelet", "Output of workloads."),
    ];
    let variables = [
        ("EDGELET_PREFIX", "All files are below this directory, for the daemon and for the command line."),
        ("NO_COLOR", "No colour, no moving output."),
    ];
    let mut text = ".SH \"EXIT STATUS\"\n".to_owned();
    codes.iter().for_each(|(code, what)| text += &tagged(&code.to_string(), what));
    text += ".PP\n\\fBedgelet ms exec\\fR ends with the code of the program that it ran.\n.SH ENVIRONMENT\n";
    variables.iter().for_each(|(name, what)| text += &tagged(name, what));
    text += ".SH FILES\n";
    files.iter().for_each(|(path, what)| text += &tagged(path, what));
    text += ".SH \"SEE ALSO\"\n\\fBedgelet\\-oci\\fR(8)\n";
    text
}

fn tagged(tag: &str, what: &str) -> String {
    format!(".TP\n\\fB{}\\fR\n{what}\n", tag.replace('-', "\\-"))
}
