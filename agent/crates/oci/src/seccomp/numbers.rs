//! The numbers of system calls by name, for each calling convention that this processor runs.

/// One convention.
#[derive(Debug)]
pub(super) struct Numbers {
    /// The kernel's `AUDIT_ARCH_*` number.
    pub(super) audit: u32,
    /// Whether it is the one of this program.
    pub(super) native: bool,
    /// Whether numbers with bit 30 set are those of x32.
    pub(super) has_x32: bool,
    /// The number of a call.
    pub(super) number: fn(&str) -> Option<u32>,
}

macro_rules! numbers {
    ($table:ident, $audit:literal, $native:literal, $x32:literal) => {
        Numbers {
            audit: $audit,
            native: $native,
            has_x32: $x32,
            number: |name| {
                let call: syscalls::$table::Sysno = name.parse().ok()?;
                u32::try_from(call.id()).ok()
            },
        }
    };
}

#[cfg(target_arch = "x86_64")]
pub(super) const CONVENTIONS: &[Numbers] =
    &[numbers!(x86_64, 0xc000_003e, true, true), numbers!(x86, 0x4000_0003, false, false)];

#[cfg(target_arch = "aarch64")]
pub(super) const CONVENTIONS: &[Numbers] =
    &[numbers!(aarch64, 0xc000_00b7, true, false), numbers!(arm, 0x4000_0028, false, false)];

#[cfg(target_arch = "arm")]
pub(super) const CONVENTIONS: &[Numbers] = &[numbers!(arm, 0x4000_0028, true, false)];

#[cfg(target_arch = "riscv64")]
pub(super) const CONVENTIONS: &[Numbers] = &[numbers!(riscv64, 0xc000_00f3, true, false)];
