//! How the kernel treats a process: its turn on the processors and at the disks, which processors and memory
//! nodes it uses, and which system it is told it runs on.

use nix::errno::Errno;
use std::io;

/// The parameters of a scheduling policy (`struct sched_attr`, sched_setattr(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scheduler {
    /// A `SCHED_*` number.
    pub policy: u32,
    /// `SCHED_FLAG_*` bits.
    pub flags: u64,
    /// For the time-sharing policies, -20 to 19.
    pub nice: i32,
    /// For the real-time policies, 1 to 99; 0 for all others.
    pub priority: u32,
    /// For the deadline policy, in nanoseconds.
    pub runtime: u64,
    /// For the deadline policy, in nanoseconds.
    pub deadline: u64,
    /// For the deadline policy, in nanoseconds.
    pub period: u64,
}

/// Sets the scheduling policy of a process.
pub fn set_scheduler(pid: i32, wanted: &Scheduler) -> io::Result<()> {
    let attributes = SchedulerAttributes {
        size: SCHEDULER_BYTES,
        policy: wanted.policy,
        flags: wanted.flags,
        nice: wanted.nice,
        priority: wanted.priority,
        runtime: wanted.runtime,
        deadline: wanted.deadline,
        period: wanted.period,
    };
    // SAFETY: the structure says its own size and outlives the call.
    let set = unsafe { libc::syscall(libc::SYS_sched_setattr, pid, &raw const attributes, 0) };
    Ok(Errno::result(set).map(drop)?)
}

/// `SCHED_ATTR_SIZE_VER0`.
const SCHEDULER_BYTES: u32 = 48;
const _: () = assert!(size_of::<SchedulerAttributes>() == SCHEDULER_BYTES as usize);

/// `struct sched_attr`, its first version.
#[repr(C)]
struct SchedulerAttributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// Sets the class and the level of a process at block devices (ioprio_set(2)); a level is 0 to 7, the lower
/// the more.
pub fn set_io_priority(pid: i32, class: u16, level: u8) -> io::Result<()> {
    const WHO_PROCESS: i32 = 1;
    const CLASS_SHIFT: u32 = 13;
    let priority = (u32::from(class) << CLASS_SHIFT) | u32::from(level);
    // SAFETY: no pointers are passed.
    let set = unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, pid, priority) };
    Ok(Errno::result(set).map(drop)?)
}

/// Binds a process to processors, by their numbers.
pub fn set_affinity(pid: i32, processors: &[usize]) -> io::Result<()> {
    let mask = bits(processors);
    // SAFETY: the mask is as long as said and outlives the call.
    let set = unsafe {
        libc::syscall(libc::SYS_sched_setaffinity, pid, size_of_val(mask.as_slice()), mask.as_ptr())
    };
    Ok(Errno::result(set).map(drop)?)
}

/// Sets where the calling process gets its memory from (set_mempolicy(2)): a mode with its flags, and nodes by
/// their numbers.
pub fn set_memory_policy(mode: u32, nodes: &[usize]) -> io::Result<()> {
    let mask = bits(nodes);
    // The kernel takes one bit less than it is told.
    let (start, bits) = match mask.is_empty() {
        true => (std::ptr::null(), 0),
        false => (mask.as_ptr(), mask.len() * WORD_BITS + 1),
    };
    // SAFETY: null with no bits, or a mask that is as long as said and outlives the call.
    let set = unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, start, bits) };
    Ok(Errno::result(set).map(drop)?)
}

/// Sets the execution domain of the calling process (personality(2)), a `PER_*` number.
pub fn set_personality(domain: u32) -> io::Result<()> {
    // SAFETY: no pointers are passed.
    let set = unsafe { libc::syscall(libc::SYS_personality, domain) };
    Ok(Errno::result(set).map(drop)?)
}

const WORD_BITS: usize = libc::c_ulong::BITS as usize;

/// Numbers as a mask of the kernel's words, no longer than it has to be.
fn bits(numbers: &[usize]) -> Vec<libc::c_ulong> {
    let words = numbers.iter().max().map_or(0, |last| last / WORD_BITS + 1);
    let mut mask = vec![0; words];
    for number in numbers {
        mask[number / WORD_BITS] |= 1 << (number % WORD_BITS);
    }
    mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_has_a_bit_for_each_number() {
        assert_eq!(bits(&[]), []);
        assert_eq!(bits(&[0, 2]), [5]);
        let far = bits(&[WORD_BITS + 1]);
        assert_eq!(far, [0, 2]);
    }
}
