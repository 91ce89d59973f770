//! Running the real program against a real server.

#![allow(dead_code, reason = "each test program uses its part")]

#[path = "../../../api/tests/common/mod.rs"]
pub mod common;

use serde_json::Value;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_edgelet-cli-under-test");

/// What a command said and how it ended.
#[derive(Debug)]
pub struct Said {
    pub out: String,
    pub err: String,
    pub code: i32,
}

impl Said {
    /// Standard output as JSON; the command must have succeeded.
    pub fn json(&self) -> Value {
        assert_eq!((self.code, self.err.as_str()), (0, ""), "{self:?}");
        serde_json::from_str(&self.out).expect("standard output is JSON and nothing else")
    }

    /// The code in the structured error on standard error.
    pub fn error(&self) -> Value {
        assert_eq!(self.out, "", "a failed command has no result: {self:?}");
        serde_json::from_str::<Value>(&self.err).expect("standard error is JSON")["error"].clone()
    }
}

/// Runs a command on the node with this prefix.
pub fn run(prefix: &Path, args: &[&str]) -> Said {
    run_with_input(prefix, args, b"")
}

/// Runs a command and gives it standard input.
pub fn run_with_input(prefix: &Path, args: &[&str], input: &[u8]) -> Said {
    let mut child = command(prefix, args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    // Small enough for the pipe; a command that reads nothing may be gone already.
    let _ = child.stdin.take().expect("piped").write_all(input);
    let output = child.wait_with_output().expect("the program ends");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    let code = output.status.code().expect("it ended by itself");
    Said { out: text(output.stdout), err: text(output.stderr), code }
}

/// The program with a clean environment.
pub fn command(prefix: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(args).env("EDGELET_PREFIX", prefix).env_remove("CI").env_remove("NO_COLOR");
    command
}
