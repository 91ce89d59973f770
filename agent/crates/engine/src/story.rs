//! The story of a workload: its latest events with their causes, for `edgelet why`.

use crate::fact::Cause;
use edgelet_types::{Name, UnixMillis};
use std::collections::VecDeque;

/// How many lines are remembered: some five restarts with everything that led to them.
const LINES: usize = 32;

/// The latest events, oldest first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Story {
    lines: VecDeque<Cause>,
}

impl Story {
    /// Remembers a line, and logs it: the log and `why` tell the same story.
    pub(crate) fn tell(&mut self, name: &Name, at: UnixMillis, text: String) {
        log::info!("workload {name}: {text}");
        self.remember(at, text);
    }

    /// Remembers a line that is no news.
    pub(crate) fn remember(&mut self, at: UnixMillis, text: String) {
        if self.lines.len() == LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(Cause { at, text });
    }

    /// The lines.
    pub(crate) fn lines(&self) -> Vec<Cause> {
        self.lines.iter().cloned().collect()
    }
}
