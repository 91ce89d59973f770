//! The exec sessions: who waits to be attached, who is, and how the last ones ended.

use super::operations::now;
use super::request::random;
use crate::error::{Code, Refusal};
use crate::node::Exec;
use crate::wire::ExecSessionStatus;
use edgelet_types::id::hex;
use edgelet_types::{UnixMillis, WorkloadId};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// How long a session waits for somebody to attach.
pub(super) const UNATTACHED: Duration = Duration::from_secs(30);
/// How many sessions there are, those that ended a moment ago included.
const SESSIONS: usize = 32;

/// A program somebody wants to talk to, and what of its output they want.
pub(super) struct Program {
    pub(super) exec: Exec,
    pub(super) stdout: bool,
    pub(super) stderr: bool,
}

/// All sessions by id.
#[derive(Default)]
pub(super) struct Sessions(Mutex<BTreeMap<String, Session>>);

struct Session {
    workload: WorkloadId,
    state: State,
}

enum State {
    /// Its program runs, and its output waits in the pipes.
    Waiting { program: Program, expires_at: UnixMillis },
    /// Somebody talks to it, until they hang up or this is dropped.
    Attached { _hang_up: oneshot::Sender<()> },
    /// Its program has ended; absent when nobody waited for it.
    Ended { exit_code: Option<i32> },
}

impl Sessions {
    /// Refuses when there is no room for another session; cheaper than starting a program for nothing.
    pub(super) fn check_room(&self) -> Result<(), Refusal> {
        let mut sessions = self.lock();
        if sessions.len() >= SESSIONS {
            sessions.retain(|_, session| !matches!(session.state, State::Ended { .. }));
        }
        match sessions.len() < SESSIONS {
            true => Ok(()),
            false => {
                let message = format!("{SESSIONS} exec sessions are open already");
                Err(Refusal::new(Code::Unavailable, message))
            }
        }
    }

    /// Takes in a program that has been started; it waits to be attached.
    pub(super) fn open(&self, workload: WorkloadId, program: Program) -> (String, UnixMillis) {
        let id = hex(&random::<16>());
        let wait = i64::try_from(UNATTACHED.as_millis()).expect("a small constant");
        let expires_at = UnixMillis(now().0.saturating_add(wait));
        let state = State::Waiting { program, expires_at };
        self.lock().insert(id.clone(), Session { workload, state });
        (id, expires_at)
    }

    /// Gives the program to the first who attaches, with a bell that rings when they must hang up.
    pub(super) fn attach(
        &self,
        workload: &WorkloadId,
        id: &str,
    ) -> Result<(Program, oneshot::Receiver<()>), Refusal> {
        let mut sessions = self.lock();
        let session = found(&mut sessions, workload, id)?;
        if !matches!(session.state, State::Waiting { .. }) {
            let message = format!("exec session {id}: is or was attached already");
            return Err(Refusal::new(Code::Conflict, message));
        }
        let (hang_up, bell) = oneshot::channel();
        match std::mem::replace(&mut session.state, State::Attached { _hang_up: hang_up }) {
            State::Waiting { program, .. } => Ok((program, bell)),
            _ => unreachable!("looked at above, under the same lock"),
        }
    }

    /// Remembers how an attached session ended.
    pub(super) fn ended(&self, id: &str, exit_code: Option<i32>) {
        if let Some(session) = self.lock().get_mut(id) {
            session.state = State::Ended { exit_code };
        }
    }

    /// Ends and forgets a session, if nobody attached to it.
    pub(super) fn expire(&self, id: &str) {
        let mut sessions = self.lock();
        if sessions.get(id).is_some_and(|session| matches!(session.state, State::Waiting { .. })) {
            log::info!("exec session ended, nobody attached id={id}");
            end(sessions.remove(id));
        }
    }

    /// Ends and forgets a session.
    pub(super) fn remove(&self, workload: &WorkloadId, id: &str) -> Result<(), Refusal> {
        let mut sessions = self.lock();
        found(&mut sessions, workload, id)?;
        end(sessions.remove(id));
        Ok(())
    }

    /// Ends all sessions.
    pub(super) fn end_all(&self) {
        std::mem::take(&mut *self.lock()).into_values().for_each(|session| end(Some(session)));
    }

    /// How a session is.
    pub(super) fn status(&self, workload: &WorkloadId, id: &str) -> Result<ExecSessionStatus, Refusal> {
        let mut sessions = self.lock();
        let (status, expires_at, exit_code) = match &found(&mut sessions, workload, id)?.state {
            State::Waiting { expires_at, .. } => ("waiting", Some(expires_at.to_string()), None),
            State::Attached { .. } => ("attached", None, None),
            State::Ended { exit_code } => ("ended", None, *exit_code),
        };
        Ok(ExecSessionStatus { session_id: id.to_owned(), status: status.to_owned(), expires_at, exit_code })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Session>> {
        // Every change is one insertion, removal or replacement, so a panic leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn found<'a>(
    sessions: &'a mut BTreeMap<String, Session>,
    workload: &WorkloadId,
    id: &str,
) -> Result<&'a mut Session, Refusal> {
    sessions
        .get_mut(id)
        .filter(|session| session.workload == *workload)
        .ok_or_else(|| Refusal::new(Code::NotFound, format!("exec session {id}: no such")))
}

/// A waiting program is killed here; an attached one by whoever hears the bell.
fn end(session: Option<Session>) {
    if let Some(Session { state: State::Waiting { mut program, .. }, .. }) = session {
        program.exec.control.kill();
    }
}
