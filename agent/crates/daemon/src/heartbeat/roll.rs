//! Who owes an answer, and who is late with it.

/// The threads by number, and what is known of each.
#[derive(Debug)]
pub struct Roll(Vec<Entry>);

#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    /// It has answered since all had answered.
    alive: bool,
    debt: Debt,
    /// A round began while it owed an answer; this was said.
    late: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Debt {
    #[default]
    None,
    /// The question did not reach it: its queue is full.
    NotReached,
    /// It has the question.
    Answer,
}

/// What an answer changes.
#[derive(Debug, PartialEq, Eq)]
pub struct Change {
    /// It had been late.
    pub is_back: bool,
    /// Everybody has answered since this was last so.
    pub all_alive: bool,
}

impl Roll {
    /// A roll of so many threads, none of which was asked.
    pub fn new(count: usize) -> Self {
        Self(vec![Entry::default(); count])
    }

    /// Begins a round: everybody without the question gets it, by `ask`, which says whether it could be
    /// given. The answer names who is late from now on.
    pub fn begin(&mut self, mut ask: impl FnMut(usize) -> bool) -> Vec<usize> {
        let mut newly_late = Vec::new();
        for (who, entry) in self.0.iter_mut().enumerate() {
            if entry.debt != Debt::None && !entry.late {
                entry.late = true;
                newly_late.push(who);
            }
            if entry.debt != Debt::Answer {
                entry.debt = if ask(who) { Debt::Answer } else { Debt::NotReached };
            }
        }
        newly_late
    }

    /// Takes an answer.
    pub fn answered(&mut self, who: usize) -> Change {
        let entry = &mut self.0[who];
        let is_back = entry.late;
        *entry = Entry { alive: true, debt: Debt::None, late: false };
        let all_alive = self.0.iter().all(|entry| entry.alive);
        if all_alive {
            self.0.iter_mut().for_each(|entry| entry.alive = false);
        }
        Change { is_back, all_alive }
    }

    /// Everybody who is late.
    pub fn late(&self) -> impl Iterator<Item = usize> {
        self.0.iter().enumerate().filter(|(_, entry)| entry.late).map(|(who, _)| who)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Change = Change { is_back: false, all_alive: false };
    const BEAT: Change = Change { is_back: false, all_alive: true };

    /// Who was asked in a round, and who was late in it.
    fn round(roll: &mut Roll, reached: impl Fn(usize) -> bool) -> (Vec<usize>, Vec<usize>) {
        let mut asked = Vec::new();
        let late = roll.begin(|who| {
            asked.push(who);
            reached(who)
        });
        (asked, late)
    }

    #[test]
    fn a_beat_needs_an_answer_of_everybody_in_any_order() {
        let mut roll = Roll::new(3);
        for _ in 0..2 {
            assert_eq!(round(&mut roll, |_| true), (vec![0, 1, 2], vec![]));
            assert_eq!([2, 0, 1].map(|who| roll.answered(who)), [NOTHING, NOTHING, BEAT]);
        }
    }

    #[test]
    fn who_hangs_is_named_once_and_holds_the_beat_up_until_it_answers() {
        let mut roll = Roll::new(2);
        round(&mut roll, |_| true);
        assert_eq!(roll.answered(1), NOTHING);
        assert_eq!(round(&mut roll, |_| true), (vec![1], vec![0]));
        assert_eq!(roll.answered(1), NOTHING);
        assert_eq!(round(&mut roll, |_| true), (vec![1], vec![]));
        assert_eq!(roll.late().collect::<Vec<_>>(), [0]);
        assert_eq!(roll.answered(1), NOTHING);
        assert_eq!(roll.answered(0), Change { is_back: true, all_alive: true });
        assert_eq!(roll.late().count(), 0);
        // And when it hangs again it is named again.
        round(&mut roll, |_| true);
        assert_eq!(round(&mut roll, |_| true).1, [0, 1]);
    }

    #[test]
    fn who_cannot_be_reached_is_late_too_and_is_asked_again() {
        let mut roll = Roll::new(2);
        round(&mut roll, |who| who == 0);
        assert_eq!(roll.answered(0), NOTHING);
        assert_eq!(round(&mut roll, |_| true), (vec![0, 1], vec![1]));
        assert_eq!(roll.answered(1), Change { is_back: true, all_alive: true });
    }
}
