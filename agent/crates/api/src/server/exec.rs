//! `/v1/ms/{id}/exec/sessions`: programs beside a workload's own, and the terminal between.

use super::Context;
use super::connection::Place;
use super::microservices;
use super::operations::now;
use super::reply::{self, Response};
use super::sessions::{Program, UNATTACHED};
use crate::error::{Code, Refusal};
use crate::node::{Exec, ExecControl, ExecIo, ExecRequest, TerminalSize};
use crate::wire::{ExecControlFrame, ExecFrame, ExecSession, ExecSessionRequest};
use edgelet_types::{Fault, Reason, UnixMillis, WorkloadId};
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use pipe::Pipe;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;
use warp::Reply;
use warp::hyper::body::Bytes;
use warp::ws::{Message, WebSocket, Ws};

mod pipe;

/// How long a program may take to start.
const START: Duration = Duration::from_secs(15);
/// The most input that one frame carries.
const INBOUND_BYTES: usize = 64 << 10;
/// The most bytes of a command line; Linux takes 128 KiB for one word.
const COMMAND_BYTES: usize = 128 << 10;
/// How much of an output is still sent once the program has ended: more than a pipe holds. Somebody left in
/// the background may write for ever.
const LAST_WORDS_BYTES: usize = 1 << 20;
/// How long a client may take to hear that it is over.
const FAREWELL: Duration = Duration::from_secs(5);
/// WebSocket close code for "done" (RFC 6455 7.4.1).
const NORMAL: u16 = 1000;

pub(super) async fn create(selector: String, body: Bytes, context: Arc<Context>) -> Response {
    let created = async {
        let request: ExecSessionRequest = reply::json(&body)?;
        let wanted = (request.stdout, request.stderr);
        let request = exec_request(request)?;
        context.sessions.check_room()?;
        let (workload, exec) = start(&context, selector, request).await?;
        let program = Program { exec, stdout: wanted.0, stderr: wanted.1 };
        let (id, expires_at) = context.sessions.open(workload.clone(), program);
        tokio::spawn(expire(id.clone(), context.clone()));
        Ok(session(&workload, id, expires_at))
    };
    reply::answer(created.await)
}

fn exec_request(request: ExecSessionRequest) -> Result<ExecRequest, Refusal> {
    let invalid = |message: &str| Refusal::new(Code::InvalidArgument, message);
    if request.command.first().is_none_or(String::is_empty) {
        return Err(invalid("command: must name a program"));
    }
    if request.command.iter().any(|word| word.contains('\0')) {
        return Err(invalid("command: must not contain NUL"));
    }
    if request.command.iter().map(String::len).sum::<usize>() > COMMAND_BYTES {
        return Err(invalid("command: is too long"));
    }
    let default = TerminalSize::default();
    let columns = request.cols.unwrap_or(default.columns);
    let rows = request.rows.unwrap_or(default.rows);
    if columns == 0 || rows == 0 {
        return Err(invalid("cols and rows: must be above 0"));
    }
    let terminal = request.tty.then_some(TerminalSize { columns, rows });
    Ok(ExecRequest { command: request.command, terminal, stdin: request.stdin })
}

/// Starts the program. One that starts after the caller gave up is killed at once.
async fn start(
    context: &Context,
    selector: String,
    request: ExecRequest,
) -> Result<(WorkloadId, Exec), Refusal> {
    let (sender, started) = oneshot::channel();
    let backend = context.backend.clone();
    let call = async move {
        let outcome = backend.call(move |node| {
            let workload = microservices::find(node, &selector)?.workload.id;
            let exec = node.exec(&workload, &request)?;
            Ok((workload, exec))
        });
        if let Err(Ok((_, mut late))) = sender.send(outcome.await) {
            late.control.kill();
        }
    };
    tokio::spawn(call);
    match tokio::time::timeout(START, started).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Err(Refusal::new(Code::Internal, "the task that starts programs died")),
        Err(_) => Err(Refusal::new(
            Code::ExecStartTimeout,
            format!("the interactive shell did not start within {} seconds", START.as_secs()),
        )),
    }
}

fn session(workload: &WorkloadId, id: String, expires_at: UnixMillis) -> ExecSession {
    ExecSession {
        ws_url: format!("/v1/ms/{workload}/exec/sessions/{id}:attach"),
        session_id: id,
        expires_at: Some(expires_at.to_string()),
    }
}

async fn expire(id: String, context: Arc<Context>) {
    tokio::select! {
        () = tokio::time::sleep(UNATTACHED) => context.sessions.expire(&id),
        // Closing ends all sessions, but this one may have been opened just after.
        () = context.closed() => context.sessions.expire(&id),
    }
}

pub(super) async fn status(selector: String, session: String, context: Arc<Context>) -> Response {
    let workload = workload(&context, selector).await;
    reply::answer(workload.and_then(|workload| context.sessions.status(&workload, &session)))
}

pub(super) async fn delete(selector: String, session: String, context: Arc<Context>) -> Response {
    let workload = workload(&context, selector).await;
    reply::answer(workload.and_then(|workload| {
        let mut last = context.sessions.status(&workload, &session)?;
        context.sessions.remove(&workload, &session)?;
        "ended".clone_into(&mut last.status);
        Ok(last)
    }))
}

async fn workload(context: &Context, selector: String) -> Result<WorkloadId, Refusal> {
    // A session outlives its workload's row by a moment, so a UUID is taken as it is.
    if let Ok(id) = WorkloadId::parse(&selector) {
        return Ok(id);
    }
    context.backend.call(move |node| Ok(microservices::find(node, &selector)?.workload.id)).await
}

pub(super) async fn attach(
    selector: String,
    session: String,
    ws: Ws,
    place: Place,
    context: Arc<Context>,
) -> Response {
    let attached = async {
        let workload = workload(&context, selector).await?;
        context.sessions.attach(&workload, &session)
    };
    match attached.await {
        Ok((program, bell)) => ws
            .max_message_size(INBOUND_BYTES)
            .max_frame_size(INBOUND_BYTES)
            .on_upgrade(move |socket| async move {
                let since = now();
                let exit_code = converse(socket, program, bell).await;
                context.sessions.ended(&session, exit_code);
                let ms = now().0.saturating_sub(since.0);
                log::debug!("exec session ended id={session} exit_code={exit_code:?} ms={ms}");
                drop(place);
            })
            .into_response(),
        Err(refusal) => reply::refuse(&refusal),
    }
}

/// Carries bytes both ways until the program ends (its exit code is the answer), the client goes, or the
/// bell rings; in the last two cases the program is killed.
async fn converse(socket: WebSocket, program: Program, bell: oneshot::Receiver<()>) -> Option<i32> {
    let Program { exec, stdout, stderr } = program;
    let control = Mutex::new(exec.control);
    let kill = || lock(&control).kill();
    let (ended, stdin, outputs) = match open(exec.ended, exec.io, stdout, stderr) {
        Ok(opened) => opened,
        Err(error) => {
            log::error!("exec session cannot be served error={error}");
            kill();
            return None;
        }
    };
    let (mut out, inbound) = socket.split();
    let listen = listen(inbound, stdin, &control);
    let speak = speak(&mut out, outputs, &ended);
    let finished = tokio::select! {
        finished = speak => finished,
        () = listen => false,
        // Either somebody ended the session, or all sessions are gone.
        _ = bell => false,
    };
    if !finished {
        kill();
        say_farewell(&mut out, None).await;
        return None;
    }
    let exit_code = lock(&control).exit_code();
    let exit_code =
        exit_code.inspect_err(|fault| log::warn!("exec session: exit code unknown error={fault}")).ok();
    let last = ExecFrame::Control { exit_code: exit_code.unwrap_or(UNKNOWN_EXIT) };
    say_farewell(&mut out, Some(last)).await;
    exit_code
}

/// Sends the last frame, if any, and closes. The client may have gone, or may have stopped reading.
async fn say_farewell(out: &mut (impl Sink<Message> + Unpin), last: Option<ExecFrame>) {
    let farewell = async {
        if let Some(frame) = last {
            send(out, &frame).await?;
        }
        out.send(Message::close_with(NORMAL, "")).await.map_err(|_| ClientGone)?;
        out.close().await.map_err(|_| ClientGone)
    };
    // Whether it was heard changes nothing here.
    let _ = tokio::time::timeout(FAREWELL, farewell).await;
}

/// What shells use when they cannot say how a program ended.
const UNKNOWN_EXIT: i32 = 255;

/// An output of the program and what its frames are called.
struct Output {
    pipe: Pipe,
    frame: fn(String) -> ExecFrame,
    wanted: bool,
}

type Opened = (AsyncFd<File>, Option<Pipe>, Vec<Output>);

fn open(ended: OwnedFd, io: ExecIo, stdout: bool, stderr: bool) -> std::io::Result<Opened> {
    let out = |line| ExecFrame::Stdout { line };
    let err = |line| ExecFrame::Stderr { line };
    let (stdin, outputs) = match io {
        ExecIo::Terminal(master) => {
            let input = Pipe::open(master.try_clone()?)?;
            (Some(input), vec![Output { pipe: Pipe::open(master)?, frame: out, wanted: stdout }])
        }
        ExecIo::Pipes { stdin, stdout: first, stderr: second } => {
            let first = Output { pipe: Pipe::open(first)?, frame: out, wanted: stdout };
            let second = Output { pipe: Pipe::open(second)?, frame: err, wanted: stderr };
            (stdin.map(Pipe::open).transpose()?, vec![first, second])
        }
    };
    Ok((pipe::watch(ended)?, stdin, outputs))
}

/// Client to program. Returns when the client is gone; after the end of standard input it goes on
/// listening, for the close.
async fn listen(
    mut inbound: impl Stream<Item = Result<Message, warp::Error>> + Unpin,
    mut stdin: Option<Pipe>,
    control: &Mutex<Box<dyn ExecControl>>,
) {
    while let Some(Ok(message)) = inbound.next().await {
        if message.is_binary() {
            if let Some(pipe) = &mut stdin
                && pipe.write_all(message.as_bytes()).await.is_err()
            {
                // The program does not read any more; what it says still counts.
                stdin = None;
            }
        } else if let Ok(text) = message.to_str() {
            match control_frame(text) {
                Ok(ExecControlFrame::Eof) => stdin = None,
                Ok(ExecControlFrame::Resize { cols, rows }) => {
                    let size = TerminalSize { columns: cols, rows };
                    if let Err(fault) = lock(control).resize(size) {
                        log::debug!("exec session: resize failed error={fault}");
                    }
                }
                Err(fault) => {
                    log::debug!("exec session: client broke the protocol error={fault}");
                    return;
                }
            }
        } else if message.is_close() {
            return;
        }
    }
}

fn control_frame(text: &str) -> Result<ExecControlFrame, Fault> {
    let invalid = |error: &dyn std::fmt::Display| Fault::new(Reason::InvalidInput, format!("frame: {error}"));
    match serde_json::from_str(text).map_err(|error| invalid(&error))? {
        ExecControlFrame::Resize { cols: 0, .. } | ExecControlFrame::Resize { rows: 0, .. } => {
            Err(invalid(&"a size must be above 0"))
        }
        frame => Ok(frame),
    }
}

/// Program to client, until the program has ended and what it said is sent: true. False when the client
/// is gone. What is not sent yet waits in the pipe, so a slow client slows the program.
async fn speak(
    out: &mut (impl Sink<Message> + Unpin),
    mut outputs: Vec<Output>,
    ended: &AsyncFd<File>,
) -> bool {
    while !outputs.is_empty() {
        let next = tokio::select! {
            next = read_any(&mut outputs) => next,
            // A program in the background may hold the pipes open for ever: what is there now is all.
            _ = ended.readable() => break,
        };
        if forward(out, &mut outputs, next).await.is_err() {
            return false;
        }
    }
    // Readable stays readable. An error would be ours, and is no reason to wait for ever.
    let _ = ended.readable().await;
    for output in &mut outputs {
        let mut left = LAST_WORDS_BYTES;
        while left > 0
            && let Some(text) = output.pipe.read_now()
        {
            left = left.saturating_sub(text.len());
            if output.wanted && send(out, &(output.frame)(text)).await.is_err() {
                return false;
            }
        }
    }
    true
}

/// The next text of any output, and which it was; no text at its end.
async fn read_any(outputs: &mut [Output]) -> (usize, Option<String>) {
    let reads = outputs
        .iter_mut()
        .enumerate()
        .map(|(index, output)| Box::pin(async move { (index, output.pipe.read().await) }));
    futures_util::future::select_all(reads).await.0
}

async fn forward(
    out: &mut (impl Sink<Message> + Unpin),
    outputs: &mut Vec<Output>,
    (index, text): (usize, Option<String>),
) -> Result<(), ClientGone> {
    match text {
        None => {
            outputs.remove(index);
            Ok(())
        }
        Some(_) if !outputs[index].wanted => Ok(()),
        Some(text) => send(out, &(outputs[index].frame)(text)).await,
    }
}

struct ClientGone;

async fn send(out: &mut (impl Sink<Message> + Unpin), frame: &ExecFrame) -> Result<(), ClientGone> {
    let text = serde_json::to_string(frame).expect("strings and a number");
    out.send(Message::text(text)).await.map_err(|_| ClientGone)
}

fn lock<'a>(control: &'a Mutex<Box<dyn ExecControl>>) -> std::sync::MutexGuard<'a, Box<dyn ExecControl>> {
    control.lock().unwrap_or_else(PoisonError::into_inner)
}
