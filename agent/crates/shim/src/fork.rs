//! Work that needs memory, done in a fork that ends with it.

use crate::relay::Relay;
use edgelet_sys::process::spawn;
use edgelet_types::{Fault, Reason};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;

/// Runs `work` in a fork of this process and gives what it returned; meanwhile output goes on being
/// relayed, because the work may wait for somebody who waits for us to read.
pub fn in_a_fork<T: Serialize + DeserializeOwned>(
    relay: &mut Relay,
    work: impl FnOnce() -> Result<T, Fault>,
) -> Result<T, Fault> {
    let failed = |doing: &'static str| {
        move |error: io::Error| Fault::chain(Reason::CreateFailed, &error).context(doing)
    };
    let (answer, answer_end) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)
        .map_err(|error| failed("make a pipe")(error.into()))?;
    let shim = std::process::id();
    let child = spawn(0, move || {
        // When the shim is killed nothing may change any more. It may have been already.
        let bound = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
        if bound.is_err() || nix::unistd::getppid().as_raw().cast_unsigned() != shim {
            return 1;
        }
        // What is started from here must not inherit our deafness.
        let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
        let result = serde_json::to_vec(&work()).unwrap_or_default();
        i32::from(File::from(answer_end).write_all(&result).is_err())
    })
    .map_err(failed("fork"))?;
    relay.until_readable(answer.as_fd(), None);
    let mut text = Vec::new();
    File::from(answer).read_to_end(&mut text).map_err(failed("hear from the fork"))?;
    // Also because only then what it started is this process's child.
    let end = child.wait().map_err(failed("wait for the fork"))?;
    serde_json::from_slice(&text)
        .unwrap_or_else(|_| Err(Fault::new(Reason::Internal, format!("the fork died, code {}", end.code()))))
}
