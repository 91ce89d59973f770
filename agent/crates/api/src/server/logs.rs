//! `/v1/ms/{id}/logs` and `logs:stream`.

use super::Context;
use super::connection::Place;
use super::microservices::{self, boolean};
use super::operations::now;
use super::reply::{self, Query, Response};
use crate::error::Refusal;
use crate::node::{LogBatch, LogCursor, LogEnd, LogFrom, LogLine};
use crate::wire::{LogEntry, Logs};
use edgelet_types::{UnixMillis, WorkloadId};
use futures_util::{SinkExt, StreamExt};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use warp::Reply;
use warp::ws::{Message, WebSocket, Ws};

/// How often new lines are looked for.
const POLL: Duration = Duration::from_millis(200);
/// The most bytes of lines that one answer carries; the newest win. A follower gets all of them.
const ANSWER_BYTES: usize = 4 << 20;
/// How long a client may take to hear that it is over.
const FAREWELL: Duration = Duration::from_secs(5);
/// What a client may send on a stream that it only reads.
const INBOUND_BYTES: usize = 4 << 10;
/// WebSocket close code for "done" (RFC 6455 7.4.1).
const NORMAL: u16 = 1000;
/// WebSocket close code for "the server failed" (RFC 6455 7.4.1).
const FAILED: u16 = 1011;

/// Which lines are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Window {
    tail: Option<usize>,
    since: Option<UnixMillis>,
    until: Option<UnixMillis>,
}

impl Window {
    /// The stream calls it `tail`, the answer `tailLines`; both take both.
    fn read(mut query: Query) -> Result<Self, Refusal> {
        const TIME: &str = "a time such as 2026-11-20T10:00:00Z";
        let count = |text: &str| text.parse::<usize>().ok().filter(|count| *count > 0);
        let tail_lines = query.take("tailLines", "a number above 0", count)?;
        let tail = query.take("tail", "a number above 0", count)?;
        let since = query.take("since", TIME, UnixMillis::parse)?;
        let until = query.take("until", TIME, UnixMillis::parse)?;
        // Entries always carry their time.
        query.take("timestamps", "true or false", boolean)?;
        query.finish()?;
        Ok(Self { tail: tail_lines.or(tail), since, until })
    }

    fn has(&self, line: &LogLine) -> bool {
        self.since.is_none_or(|since| line.at >= since) && self.until.is_none_or(|until| line.at <= until)
    }

    /// Where to start reading. The node counts a tail from the very end, so one that ends or begins
    /// elsewhere is counted here.
    fn start(&self) -> LogFrom {
        match (self.tail, self.since, self.until) {
            (Some(tail), None, None) => LogFrom::Tail(tail as u64),
            _ => LogFrom::Start,
        }
    }
}

/// The last lines of a window, bounded in number and bytes.
struct Tail {
    lines: VecDeque<LogLine>,
    bytes: usize,
    most: usize,
}

impl Tail {
    fn new(window: &Window) -> Self {
        Self { lines: VecDeque::new(), bytes: 0, most: window.tail.unwrap_or(usize::MAX) }
    }

    fn push(&mut self, line: LogLine) {
        self.bytes += line.text.len();
        self.lines.push_back(line);
        while self.lines.len() > self.most || (self.bytes > ANSWER_BYTES && self.lines.len() > 1) {
            self.bytes -= self.lines.pop_front().map_or(0, |line| line.text.len());
        }
    }
}

pub(super) async fn bounded(selector: String, query: Query, context: Arc<Context>) -> Response {
    let lines = async {
        let window = Window::read(query)?;
        let id = find(&context, selector).await?;
        let (tail, _, _) = collect(&context, &id, &window).await?;
        Ok(Logs { entries: tail.lines.into_iter().map(LogEntry::from).collect() })
    };
    reply::answer(lines.await)
}

async fn find(context: &Context, selector: String) -> Result<WorkloadId, Refusal> {
    context.backend.call(move |node| Ok(microservices::find(node, &selector)?.workload.id)).await
}

/// Reads everything that is there now, and keeps the last of it.
async fn collect(
    context: &Context,
    id: &WorkloadId,
    window: &Window,
) -> Result<(Tail, LogCursor, LogEnd), Refusal> {
    let mut tail = Tail::new(window);
    let mut from = window.start();
    loop {
        let LogBatch { lines, next, end } = batch(context, id, from).await?;
        lines.into_iter().filter(|line| window.has(line)).for_each(|line| tail.push(line));
        if end != LogEnd::More {
            return Ok((tail, next, end));
        }
        from = LogFrom::After(next);
    }
}

async fn batch(context: &Context, id: &WorkloadId, from: LogFrom) -> Result<LogBatch, Refusal> {
    let id = id.clone();
    context.backend.call(move |node| node.logs(&id, &from)).await
}

/// Checks everything that can be refused with an HTTP status, then upgrades.
pub(super) async fn stream(
    selector: String,
    query: Query,
    ws: Ws,
    place: Place,
    context: Arc<Context>,
) -> Response {
    let checked = async { Ok((Window::read(query)?, find(&context, selector).await?)) };
    match checked.await {
        Ok((window, id)) => ws
            .max_message_size(INBOUND_BYTES)
            .max_frame_size(INBOUND_BYTES)
            .on_upgrade(move |socket| follow(socket, id, window, place, context))
            .into_response(),
        Err(refusal) => reply::refuse(&refusal),
    }
}

/// Sends lines until the workload's output ends, the client goes, or the server stops.
async fn follow(socket: WebSocket, id: WorkloadId, window: Window, _place: Place, context: Arc<Context>) {
    let (mut out, mut inbound) = socket.split();
    let gone = async { while let Some(Ok(_)) = inbound.next().await {} };
    let farewell = tokio::select! {
        sent = send_all(&mut out, &id, &window, &context) => match sent {
            Ok(()) => (NORMAL, String::new()),
            Err(Stop::ClientGone) => return,
            Err(Stop::Refused(refusal)) => (FAILED, refusal.message),
        },
        () = gone => return,
        () = context.closed() => (NORMAL, "the daemon is stopping".to_owned()),
    };
    let close = async {
        out.send(Message::close_with(farewell.0, close_reason(farewell.1))).await?;
        out.close().await
    };
    // The client may have gone meanwhile, or may have stopped reading.
    let _ = tokio::time::timeout(FAREWELL, close).await;
}

/// A close frame's reason has at most 123 bytes (RFC 6455 5.5).
fn close_reason(mut text: String) -> String {
    while text.len() > 123 {
        text.pop();
    }
    text
}

enum Stop {
    ClientGone,
    Refused(Refusal),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Stop::Refused(refusal)
    }
}

async fn send_all(
    out: &mut (impl SinkExt<Message> + Unpin),
    id: &WorkloadId,
    window: &Window,
    context: &Context,
) -> Result<(), Stop> {
    let (mut from, mut end) = (LogFrom::Start, LogEnd::More);
    if window.tail.is_some() {
        let (tail, next, reached) = collect(context, id, window).await?;
        send(out, window, tail.lines).await?;
        (from, end) = (LogFrom::After(next), reached);
    }
    loop {
        match end {
            LogEnd::More => {}
            LogEnd::Ended => return Ok(()),
            LogEnd::Quiet if window.until.is_some_and(|until| now() > until) => return Ok(()),
            LogEnd::Quiet => tokio::time::sleep(POLL).await,
        }
        let read = batch(context, id, from).await?;
        send(out, window, read.lines).await?;
        (from, end) = (LogFrom::After(read.next), read.end);
    }
}

/// Sends lines one by one; each waits until the socket takes it, so a slow reader holds one batch only.
async fn send(
    out: &mut (impl SinkExt<Message> + Unpin),
    window: &Window,
    lines: impl IntoIterator<Item = LogLine>,
) -> Result<(), Stop> {
    for line in lines.into_iter().filter(|line| window.has(line)) {
        let text = serde_json::to_string(&LogEntry::from(line)).expect("three strings");
        out.send(Message::text(text)).await.map_err(|_| Stop::ClientGone)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::LogStream;

    fn line(at: i64, text: &str) -> LogLine {
        LogLine { at: UnixMillis(at), stream: LogStream::Stdout, text: text.to_owned() }
    }

    #[test]
    fn the_tail_keeps_the_newest_lines_within_its_bounds() {
        let mut tail = Tail::new(&Window { tail: Some(2), since: None, until: None });
        ["a", "b", "c"].iter().for_each(|text| tail.push(line(0, text)));
        assert_eq!(tail.lines.iter().map(|line| line.text.as_str()).collect::<Vec<_>>(), ["b", "c"]);

        let mut tail = Tail::new(&Window { tail: None, since: None, until: None });
        let long = "x".repeat(ANSWER_BYTES / 2);
        (0..3).for_each(|at| tail.push(line(at, &long)));
        assert_eq!(tail.lines.iter().map(|line| line.at.0).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn a_window_includes_both_of_its_ends() {
        let window = Window { tail: None, since: Some(UnixMillis(2)), until: Some(UnixMillis(3)) };
        let inside: Vec<bool> = (1..=4).map(|at| window.has(&line(at, ""))).collect();
        assert_eq!(inside, [false, true, true, false]);
    }
}
