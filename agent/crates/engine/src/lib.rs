//! The heart: it decides what is to be done so that what runs becomes what is wanted.
//!
//! Intent comes in, observations come in, time comes in; steps and facts go out. The daemon's one engine
//! thread drives it, and the simulator in `tests/` drives it identically.
//!
//! What it is not: it makes no system call, opens no socket, starts no thread, reads no clock and makes no
//! random number. Everything of that kind is a port ([`ports`]) or an argument.
//!
//! Invariants:
//! - An intent is acknowledged only after it is durable.
//! - Before anything of a run is made, the journal names the run; the entry goes only when nothing is left.
//! - A workload has at most one step in flight, and a run is started only when no other run of it lives.

#![forbid(unsafe_code)]

pub mod fact;
pub mod ports;
pub mod step;

mod engine;

mod admit;
mod answer;
mod describe;
mod execute;
mod observe;
mod plan;
mod recover;
mod supervise;

mod images;
mod journal;
mod run;
mod story;
mod unit;

pub use engine::{Applied, Apply, Engine};
pub use fact::{Cause, Fact, State};
pub use ports::{Actual, AsOf, Entropy, HeldImage, Ledger, Now, Settings};
pub use step::{Action, Answer, Outcome, Step, StepId, Tick};
