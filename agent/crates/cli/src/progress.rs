//! How far something is, on standard error: a bar on a terminal, plain lines elsewhere, or nothing.

use crate::table::printable;
use edgelet_api::wire::human_bytes;
use std::io::{Write, stderr};

/// Tells how a piece of work goes.
pub(crate) struct Progress {
    style: Style,
    /// What was said last, so that nothing is said twice.
    last: String,
}

/// How it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// One line that moves.
    Bar,
    /// A line per change.
    Lines,
    /// Not at all.
    Silent,
}

/// How many cells a bar has.
const CELLS: usize = 30;
/// Plain lines come every so many percent.
const LINE_STEP: u8 = 10;

impl Progress {
    pub(crate) fn new(style: Style) -> Self {
        Self { style, last: String::new() }
    }

    /// Something new goes on, of unknown length.
    pub(crate) fn stage(&mut self, text: &str) {
        self.say(format!("{} …", printable(text)));
    }

    /// Bytes of a known (or, with 0, unknown) total.
    pub(crate) fn bytes(&mut self, doing: &str, percent: u8, done: u64, total: u64) {
        if total == 0 {
            return self.stage(doing);
        }
        let doing = printable(doing);
        self.say(match self.style {
            Style::Bar => {
                let filled = CELLS * usize::from(percent.min(100)) / 100;
                let bar = format!("{}{}", "█".repeat(filled), "░".repeat(CELLS - filled));
                format!("{doing} {bar} {percent:>3} % {} / {}", human_bytes(done), human_bytes(total))
            }
            _ => format!("{doing} {} %", percent / LINE_STEP * LINE_STEP),
        });
    }

    /// Something that is no failure and should be read; it stays on the screen.
    pub(crate) fn warn(&mut self, text: &str) {
        self.clear();
        if self.style != Style::Silent {
            write(&format!("warning: {}\n", printable(text)));
        }
    }

    /// The last word; it stays on the screen.
    pub(crate) fn done(mut self, text: &str) {
        self.clear();
        if self.style != Style::Silent {
            write(&format!("{}\n", printable(text)));
        }
    }

    fn say(&mut self, text: String) {
        if text == self.last {
            return;
        }
        match self.style {
            Style::Bar => write(&format!("\r{text}\x1b[K")),
            Style::Lines => write(&format!("{text}\n")),
            Style::Silent => {}
        }
        self.last = text;
    }

    fn clear(&mut self) {
        if self.style == Style::Bar && !self.last.is_empty() {
            write("\r\x1b[K");
            self.last.clear();
        }
    }
}

impl Drop for Progress {
    /// An error is about to be told: the half-finished bar makes room for it.
    fn drop(&mut self) {
        self.clear();
    }
}

fn write(text: &str) {
    let mut out = stderr().lock();
    // Progress that nobody sees is no reason to fail.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
