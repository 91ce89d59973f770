//! The engine's thread: the one place where events meet the engine, in the order in which they came.
//!
//! Every step runs on a thread of its own, which ends with it; the engine bounds how many there are. An
//! idle node therefore has none.

use edgelet_engine::{Actual, Answer, Engine, Now, Step, StepId};
use edgelet_types::instance::Instance;
use edgelet_types::{Fault, Reason, UnixMillis};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How many events may wait. They come from API calls (which wait for their answer), steps (which the
/// engine bounds) and the watcher (one per container): this is never reached by honest work, and a
/// sender that meets it waits.
const WAITING_EVENTS: usize = 256;

/// What the engine's steps are carried out by.
pub trait Machine: Send + Sync + 'static {
    /// Looks at everything. `as_of` goes into the answer.
    fn observe(&self, as_of: edgelet_engine::AsOf) -> Result<Actual, Fault>;

    /// Carries a step out; may take long, and ends in bounded time.
    fn perform(&self, step: &Step) -> Answer;

    /// Asks a pull to give up, soon.
    fn cancel(&self, step: StepId);
}

/// The way to the engine for everybody else. Cheap to clone.
#[derive(Clone)]
pub struct EngineHandle {
    events: SyncSender<Event>,
}

type Call = Box<dyn FnOnce(&mut Engine, Now) + Send>;

enum Event {
    Call(Call),
    Completed(StepId, Answer),
    Instance(Instance),
    Stop,
}

impl EngineHandle {
    /// Runs `call` on the engine's thread and gives what it returns. Fails with `SHUTTING_DOWN` when the
    /// engine is gone.
    pub fn call<R: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Engine, Now) -> R + Send + 'static,
    ) -> Result<R, Fault> {
        let gone = || Fault::new(Reason::ShuttingDown, "the daemon is stopping");
        let (answer, answered) = sync_channel(1);
        let event = Event::Call(Box::new(move |engine, now| {
            // Who asked may have gone away; then nobody needs the answer.
            let _ = answer.send(call(engine, now));
        }));
        self.events.send(event).map_err(|_| gone())?;
        answered.recv().map_err(|_| gone())
    }

    /// Has `call` run on the engine's thread, some time. `false` when there is no room for it now.
    pub fn post(&self, call: impl FnOnce() + Send + 'static) -> bool {
        self.events.try_send(Event::Call(Box::new(move |_, _| call()))).is_ok()
    }

    /// Tells what became of an instance.
    pub fn instance(&self, instance: Instance) {
        self.tell(Event::Instance(instance));
    }

    /// Ends the engine's thread after the event at hand. Steps in flight are left to end with the process:
    /// each is safe to cut.
    pub fn stop(&self) {
        self.tell(Event::Stop);
    }

    fn tell(&self, event: Event) {
        // Only a stopped engine hears nothing, and then nothing has to be told.
        let _ = self.events.send(event);
    }
}

/// Starts the engine's thread and gives the handle to it. `machine` is made with the handle, because what
/// it notices goes back to the engine.
pub fn start(
    engine: Engine,
    machine: impl FnOnce(EngineHandle) -> std::io::Result<Arc<dyn Machine>>,
) -> std::io::Result<(EngineHandle, JoinHandle<()>)> {
    let (events, inbox) = sync_channel(WAITING_EVENTS);
    let handle = EngineHandle { events };
    let driver =
        Driver { machine: machine(handle.clone())?, handle: handle.clone(), started: Instant::now() };
    let thread = thread::Builder::new().name("engine".into()).spawn(move || driver.run(engine, &inbox))?;
    Ok((handle, thread))
}

/// The time as everybody here tells it to the engine.
pub fn wall_clock() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

struct Driver {
    machine: Arc<dyn Machine>,
    handle: EngineHandle,
    started: Instant,
}

impl Driver {
    fn run(&self, mut engine: Engine, inbox: &Receiver<Event>) {
        self.observe(&mut engine);
        loop {
            let wake_in = self.advance(&mut engine);
            let event = match wake_in {
                Some(wait) => inbox.recv_timeout(wait),
                None => inbox.recv().map_err(RecvTimeoutError::from),
            };
            match event {
                Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {}
                Ok(event) => self.apply(&mut engine, event),
            }
        }
        if let Err(fault) = engine.shut_down(self.now()) {
            log::warn!("shutdown not recorded reason={} error={fault}", fault.reason.code());
        }
    }

    /// Lets the engine decide until it has nothing more to ask for now.
    fn advance(&self, engine: &mut Engine) -> Option<Duration> {
        loop {
            let tick = engine.next(self.now());
            for step in tick.cancel {
                self.machine.cancel(step);
            }
            for step in tick.steps {
                self.dispatch(engine, step);
            }
            if !tick.observe {
                return tick.wake_in;
            }
            if !self.observe(engine) {
                // The machine cannot be looked at; trying again at once would only burn power.
                return Some(Duration::from_secs(5));
            }
        }
    }

    fn apply(&self, engine: &mut Engine, event: Event) {
        let now = self.now();
        match event {
            Event::Call(call) => call(engine, now),
            Event::Completed(step, answer) => engine.completed(step, answer, now),
            Event::Instance(instance) => engine.instance(instance, now),
            Event::Stop => {}
        }
    }

    fn observe(&self, engine: &mut Engine) -> bool {
        match self.machine.observe(engine.begin_observation()) {
            Ok(actual) => {
                engine.observe(actual, self.now());
                true
            }
            Err(fault) => {
                log::error!("machine cannot be observed reason={} error={fault}", fault.reason.code());
                false
            }
        }
    }

    fn dispatch(&self, engine: &mut Engine, step: Step) {
        // At debug level: the engine tells the story, and why.
        log::debug!("step={} {} because=\"{}\"", step.id, step.action, step.because);
        let id = step.id;
        let (machine, handle) = (self.machine.clone(), self.handle.clone());
        let work = move || {
            let answer = machine.perform(&step);
            if let Err(fault) = &answer {
                log::warn!("step={id} failed reason={} error={fault}", fault.reason.code());
            }
            handle.tell(Event::Completed(id, answer));
        };
        if let Err(error) = thread::Builder::new().name(format!("step-{id}")).spawn(work) {
            let fault = Fault::new(Reason::Storage, format!("start a worker: {error}"));
            engine.completed(id, Err(fault), self.now());
        }
    }

    fn now(&self) -> Now {
        Now { monotonic: self.started.elapsed(), wall: wall_clock() }
    }
}
