//! The numbers of system calls by name, for each calling convention that this processor runs.
//!
//! The crate that knows them compares a name with one after the other, in 40 KB of code. Here it is asked
//! while this program is compiled, and what remains is its words, those of one length side by side.

/// One convention.
#[derive(Debug)]
pub(super) struct Numbers {
    /// The kernel's `AUDIT_ARCH_*` number.
    pub(super) audit: u32,
    /// Whether it is the one of this program.
    pub(super) native: bool,
    /// Whether numbers with bit 30 set are those of x32.
    pub(super) has_x32: bool,
    entries: &'static [u8],
    starts: &'static [usize],
    /// Calls that the crate does not have: they belong to the processor and not to Linux, or have another name there.
    private: &'static [(&'static str, u32)],
}

impl Numbers {
    /// The number of a call.
    pub(super) fn of(&self, name: &str) -> Option<u32> {
        let private = self.private.iter().find(|(call, _)| *call == name);
        private.map(|(_, number)| *number).or_else(|| self.of_linux(name))
    }

    fn of_linux(&self, name: &str) -> Option<u32> {
        let (start, end) = (*self.starts.get(name.len())?, *self.starts.get(name.len() + 1)?);
        self.entries[start..end].chunks_exact(name.len() + NUMBER).find_map(|entry| {
            let number = [entry[name.len()], entry[name.len() + 1]];
            entry.starts_with(name.as_bytes()).then_some(u16::from_le_bytes(number).into())
        })
    }
}

/// The calls of a convention.
struct Table<const BYTES: usize> {
    /// Names in the order of their lengths, each followed by its number.
    entries: [u8; BYTES],
    /// Where in them the names of each length begin, up to the end of the longest.
    starts: [usize; LONGEST + 2],
}

/// Where calls begin that a processor's port of Linux keeps for itself. Only 32-bit ARM has such: `__ARM_NR_BASE`
/// of arch/arm/include/uapi/asm/unistd.h.
pub(super) const PRIVATE: u32 = 0x000f_0000;

/// A program of glibc ends at once when it may not make the fifth.
#[cfg(any(target_arch = "aarch64", target_arch = "arm"))]
const OF_ARM: &[(&str, u32)] = &[
    ("breakpoint", PRIVATE + 1),
    ("cacheflush", PRIVATE + 2),
    ("usr26", PRIVATE + 3),
    ("usr32", PRIVATE + 4),
    ("set_tls", PRIVATE + 5),
    ("get_tls", PRIVATE + 6),
];

/// The crate has the name that asm-generic/unistd.h builds from, and not the one by which everybody calls it.
#[cfg(target_arch = "aarch64")]
const OF_AARCH64: &[(&str, u32)] = &[("newfstatat", 79)];

/// The length of the longest name, and some more.
const LONGEST: usize = 31;
/// A number takes two bytes, the low one first.
const NUMBER: usize = 2;

/// How large the table for these names is; they stand at their numbers, and a number without a call has
/// an empty one.
const fn bytes(names: &[&str]) -> usize {
    let (mut bytes, mut number) = (0, 0);
    while number < names.len() {
        if !names[number].is_empty() {
            bytes += names[number].len() + NUMBER;
        }
        number += 1;
    }
    bytes
}

const fn table<const BYTES: usize>(names: &[&str]) -> Table<BYTES> {
    assert!(names.len() <= u16::MAX as usize);
    let mut table = Table { entries: [0; BYTES], starts: [0; LONGEST + 2] };
    let (mut at, mut length) = (0, 1);
    while length <= LONGEST {
        let mut number = 0;
        while number < names.len() {
            let name = names[number].as_bytes();
            if name.len() == length {
                let mut letter = 0;
                while letter < length {
                    table.entries[at + letter] = name[letter];
                    letter += 1;
                }
                table.entries[at + length] = number.to_le_bytes()[0];
                table.entries[at + length + 1] = number.to_le_bytes()[1];
                at += length + NUMBER;
            }
            number += 1;
        }
        length += 1;
        table.starts[length] = at;
    }
    assert!(at == BYTES, "a name is longer than LONGEST");
    table
}

macro_rules! numbers {
    ($convention:ident, $audit:literal, $native:literal, $x32:literal, $private:expr) => {{
        use syscalls::$convention::Sysno;
        const NAMES: [&str; Sysno::table_size()] = {
            let mut names = [""; Sysno::table_size()];
            let mut number = 0;
            while number < names.len() {
                if let Some(call) = Sysno::new(number) {
                    names[number] = call.name();
                }
                number += 1;
            }
            names
        };
        static TABLE: Table<{ bytes(&NAMES) }> = table(&NAMES);
        Numbers {
            audit: $audit,
            native: $native,
            has_x32: $x32,
            entries: &TABLE.entries,
            starts: &TABLE.starts,
            private: $private,
        }
    }};
}

#[cfg(target_arch = "x86_64")]
pub(super) const CONVENTIONS: &[Numbers] =
    &[numbers!(x86_64, 0xc000_003e, true, true, &[]), numbers!(x86, 0x4000_0003, false, false, &[])];

#[cfg(target_arch = "aarch64")]
pub(super) const CONVENTIONS: &[Numbers] = &[
    numbers!(aarch64, 0xc000_00b7, true, false, OF_AARCH64),
    numbers!(arm, 0x4000_0028, false, false, OF_ARM),
];

#[cfg(target_arch = "arm")]
pub(super) const CONVENTIONS: &[Numbers] = &[numbers!(arm, 0x4000_0028, true, false, OF_ARM)];

#[cfg(target_arch = "riscv64")]
pub(super) const CONVENTIONS: &[Numbers] = &[numbers!(riscv64, 0xc000_00f3, true, false, &[])];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_is_found_and_nothing_else() {
        let native = CONVENTIONS.iter().find(|convention| convention.native).expect("a native convention");
        let last = syscalls::Sysno::last().id();
        let known = (0..=last).filter_map(|number| syscalls::Sysno::new(usize::try_from(number).ok()?));
        let mut count = 0;
        for call in known {
            assert_eq!(native.of(call.name()), u32::try_from(call.id()).ok(), "{call}");
            count += 1;
        }
        assert_eq!(count, syscalls::Sysno::count());
        for unknown in ["", "x", "rea", "read\0", "readwrite", "a_name_that_is_longer_than_every_other_one"] {
            assert_eq!(native.of(unknown), None, "{unknown}");
        }
        let set_tls = CONVENTIONS.iter().find_map(|convention| convention.of("set_tls"));
        let arm = cfg!(any(target_arch = "aarch64", target_arch = "arm"));
        assert_eq!(set_tls, arm.then_some(0x000f_0005));
        let other = CONVENTIONS.iter().find(|convention| !convention.native);
        let waitpid = cfg!(target_arch = "x86_64").then_some(7);
        assert_eq!(other.and_then(|convention| convention.of("waitpid")), waitpid);
    }
    /// The crate must not be compared with itself alone.
    #[test]
    fn what_every_program_needs_has_the_number_that_the_kernel_gave_it() {
        let native = CONVENTIONS.iter().find(|convention| convention.native).expect("a native convention");
        let names = match cfg!(target_arch = "arm") {
            true => [
                "read",
                "openat",
                "fstatat64",
                "fstat64",
                "statx",
                "execve",
                "clone",
                "mmap2",
                "futex",
                "exit_group",
            ],
            false => [
                "read",
                "openat",
                "newfstatat",
                "fstat",
                "statx",
                "execve",
                "clone",
                "mmap",
                "futex",
                "exit_group",
            ],
        };
        let numbers = if cfg!(target_arch = "arm") {
            [3, 322, 327, 197, 397, 11, 120, 192, 240, 248]
        } else if cfg!(target_arch = "x86_64") {
            [0, 257, 262, 5, 332, 59, 56, 9, 202, 231]
        } else {
            // asm-generic/unistd.h: aarch64 and riscv64.
            [63, 56, 79, 80, 291, 221, 220, 222, 98, 94]
        };
        assert_eq!(names.map(|name| native.of(name)), numbers.map(Some));
    }
}
