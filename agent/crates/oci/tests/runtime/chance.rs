//! Choices that look like chance and come back with the same number.

/// A sequence of choices (splitmix64).
pub(crate) struct Chance(u64);

impl Chance {
    /// The sequence of this number.
    pub(crate) fn of(number: u64) -> Self {
        Self(number.wrapping_mul(0x2545_f491_4f6c_dd1d))
    }

    /// Less than `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((value ^ (value >> 31)) % u64::try_from(bound).expect("bound")).expect("below bound")
    }

    /// True once in so many.
    pub(crate) fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    /// One of these.
    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// Some of these, each with the same chance of one in `count`.
    pub(crate) fn some<T: Clone>(&mut self, from: &[T], count: usize) -> Vec<T> {
        from.iter().filter(|_| self.one_in(count)).cloned().collect()
    }
}
