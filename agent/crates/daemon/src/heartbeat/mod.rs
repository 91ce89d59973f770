//! What a service manager hears of us, when one listens: that the node is ready, that it gets on, that it
//! stops.
//!
//! A heartbeat stands for the progress of every vital thread. Each is asked through the queue from which it
//! takes its work, and only when all have answered a beat is sent. Without a manager there is no such
//! thread, and without a watchdog it ends when the node is ready.

mod roll;

use edgelet_sys::notify::Manager;
use roll::Roll;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How many times threads are asked before a watchdog's time is over: one beat may be missed.
const ROUNDS: u32 = 3;

/// A thread without which the node does not work.
pub struct Vital {
    name: &'static str,
    ask: Box<dyn Fn(Alive) -> bool + Send>,
}

impl Vital {
    /// `ask` hands the question to the thread without waiting, and tells whether it could.
    pub fn new(name: &'static str, ask: impl Fn(Alive) -> bool + Send + 'static) -> Self {
        Self { name, ask: Box::new(ask) }
    }
}

/// The question whether a thread gets on. It answers when it comes to it.
pub struct Alive {
    who: usize,
    notes: SyncSender<Note>,
}

impl Alive {
    /// Answers.
    pub fn say(self) {
        // Nobody listens when the node stops.
        let _ = self.notes.send(Note::Alive(self.who));
    }
}

enum Note {
    Alive(usize),
    Stop,
}

/// The thread that asks, and the way to the manager.
pub struct Heartbeat {
    manager: Arc<Manager>,
    notes: SyncSender<Note>,
    thread: JoinHandle<()>,
}

impl Heartbeat {
    /// Tells the manager that we are ready as soon as every thread has answered, and goes on if it watches.
    pub fn start(manager: Manager, vitals: Vec<Vital>) -> io::Result<Self> {
        let manager = Arc::new(manager);
        // One answer of each and the stop: nobody ever waits.
        let (notes, inbox) = sync_channel(vitals.len() + 1);
        let asker = Asker {
            period: manager.watchdog.map(|limit| limit / ROUNDS),
            manager: manager.clone(),
            roll: Roll::new(vitals.len()),
            vitals,
            notes: notes.clone(),
            is_ready: false,
            unheard: false,
        };
        let thread = thread::Builder::new().name("heartbeat".into()).spawn(move || asker.run(&inbox))?;
        Ok(Self { manager, notes, thread })
    }

    /// Tells the manager that we stop. No beat comes after that.
    pub fn stop(self) {
        // It is gone already when there is no watchdog. Should it panic, the process ends.
        let _ = self.notes.send(Note::Stop);
        let _ = self.thread.join();
        if let Err(error) = self.manager.tell("STOPPING=1\nSTATUS=stopping, containers go on") {
            log::warn!("service manager does not hear of the stop error={error}");
        }
    }
}

struct Asker {
    manager: Arc<Manager>,
    period: Option<Duration>,
    roll: Roll,
    vitals: Vec<Vital>,
    notes: SyncSender<Note>,
    is_ready: bool,
    /// The last message did not get through.
    unheard: bool,
}

impl Asker {
    fn run(mut self, inbox: &Receiver<Note>) {
        loop {
            self.ask();
            let next_round = self.period.map(|period| Instant::now() + period);
            if self.answers_until(next_round, inbox).is_break() {
                return;
            }
        }
    }

    fn ask(&mut self) {
        let (vitals, notes) = (&self.vitals, &self.notes);
        let newly_late = self.roll.begin(|who| (vitals[who].ask)(Alive { who, notes: notes.clone() }));
        if newly_late.is_empty() {
            return;
        }
        for who in newly_late {
            log::warn!("thread hangs, no heartbeat until it answers name={}", self.vitals[who].name);
        }
        self.tell(&self.status());
    }

    fn answers_until(&mut self, end: Option<Instant>, inbox: &Receiver<Note>) -> std::ops::ControlFlow<()> {
        use std::ops::ControlFlow::{Break, Continue};
        loop {
            let note = match end {
                Some(end) => inbox.recv_timeout(end.saturating_duration_since(Instant::now())),
                None => inbox.recv().map_err(RecvTimeoutError::from),
            };
            match note {
                Ok(Note::Alive(who)) => self.answered(who),
                Ok(Note::Stop) | Err(RecvTimeoutError::Disconnected) => return Break(()),
                Err(RecvTimeoutError::Timeout) => return Continue(()),
            }
            if self.is_ready && self.period.is_none() {
                return Break(());
            }
        }
    }

    fn answered(&mut self, who: usize) {
        let change = self.roll.answered(who);
        if change.is_back {
            log::info!("thread answers again name={}", self.vitals[who].name);
        }
        let becomes_ready = change.all_alive && !self.is_ready;
        self.is_ready |= becomes_ready;
        let news = [
            becomes_ready.then(|| "READY=1".to_owned()),
            (change.all_alive && self.period.is_some()).then(|| "WATCHDOG=1".to_owned()),
            (becomes_ready || change.is_back).then(|| self.status()),
        ];
        let news: Vec<String> = news.into_iter().flatten().collect();
        if !news.is_empty() {
            self.tell(&news.join("\n"));
        }
    }

    /// One line for people.
    fn status(&self) -> String {
        let late: Vec<&str> = self.roll.late().map(|who| self.vitals[who].name).collect();
        match (late.is_empty(), self.is_ready) {
            (false, _) => format!("STATUS=hangs: {}", late.join(", ")),
            (true, true) => "STATUS=running".to_owned(),
            (true, false) => "STATUS=starting".to_owned(),
        }
    }

    fn tell(&mut self, news: &str) {
        match self.manager.tell(news) {
            Ok(()) => self.unheard = false,
            Err(error) if !self.unheard => {
                self.unheard = true;
                log::warn!("service manager does not hear us error={error}");
            }
            // Said when it began.
            Err(_) => {}
        }
    }
}
