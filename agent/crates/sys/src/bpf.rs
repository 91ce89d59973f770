//! Device filters for cgroup version 2 (bpf(2), `BPF_PROG_TYPE_CGROUP_DEVICE`).

use nix::errno::Errno;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

/// One instruction; the layout of `struct bpf_insn`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    code: u8,
    /// Destination in the low half, source in the high half.
    registers: u8,
    offset: i16,
    immediate: u32,
}

impl Instruction {
    const fn new(code: u8, destination: u8, source: u8, offset: i16, immediate: u32) -> Self {
        Self { code, registers: destination | source << 4, offset, immediate }
    }

    /// `destination = *(u32 *)(source + offset)`.
    pub const fn load_word(destination: u8, source: u8, offset: i16) -> Self {
        Self::new(0x61, destination, source, offset, 0)
    }

    /// `register = value`, 32 bits.
    pub const fn set(register: u8, value: u32) -> Self {
        Self::new(0xb4, register, 0, 0, value)
    }

    /// `destination = source`, 32 bits.
    pub const fn copy(destination: u8, source: u8) -> Self {
        Self::new(0xbc, destination, source, 0, 0)
    }

    /// `register &= mask`, 32 bits.
    pub const fn and(register: u8, mask: u32) -> Self {
        Self::new(0x54, register, 0, 0, mask)
    }

    /// `register >>= bits`, 32 bits.
    pub const fn shift_right(register: u8, bits: u32) -> Self {
        Self::new(0x74, register, 0, 0, bits)
    }

    /// Skips instructions when the low 32 bits differ from a value.
    pub const fn jump_if_not_equal(register: u8, value: u32, skip: i16) -> Self {
        Self::new(0x56, register, 0, skip, value)
    }

    /// Skips instructions when the low 32 bits equal a value.
    pub const fn jump_if_equal(register: u8, value: u32, skip: i16) -> Self {
        Self::new(0x16, register, 0, skip, value)
    }

    /// Ends the program with the value of register 0.
    pub const fn exit() -> Self {
        Self::new(0x95, 0, 0, 0, 0)
    }
}

/// Makes a cgroup2 directory ask `program` at each access to a device node: it gets type and access,
/// major and minor number as three words, and allows with 1. The filter lives as long as the group, in
/// addition to those of the groups above.
pub fn attach_device_filter(group: &Path, program: &[Instruction]) -> io::Result<()> {
    let group = File::open(group)?;
    let program = load(program)?;
    let mut attributes = [0_u8; ATTRIBUTES];
    put(&mut attributes, 0, &group.as_raw_fd().to_ne_bytes());
    put(&mut attributes, 4, &program.as_raw_fd().to_ne_bytes());
    put(&mut attributes, 8, &BPF_CGROUP_DEVICE.to_ne_bytes());
    put(&mut attributes, 12, &BPF_F_ALLOW_MULTI.to_ne_bytes());
    bpf(BPF_PROG_ATTACH, &attributes).map(drop)
}

fn load(program: &[Instruction]) -> io::Result<OwnedFd> {
    let count = u32::try_from(program.len()).map_err(|_| Errno::E2BIG)?;
    let mut attributes = [0_u8; ATTRIBUTES];
    put(&mut attributes, 0, &BPF_PROG_TYPE_CGROUP_DEVICE.to_ne_bytes());
    put(&mut attributes, 4, &count.to_ne_bytes());
    put(&mut attributes, 8, &(program.as_ptr() as u64).to_ne_bytes());
    // The licence only decides which helper functions may be called; none is.
    put(&mut attributes, 16, &(c"Apache-2.0".as_ptr() as u64).to_ne_bytes());
    let fd = match bpf(BPF_PROG_LOAD, &attributes) {
        // Before Linux 5.11 a program counts as locked memory of its user, and of that there is little.
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
            without_memory_limit(|| bpf(BPF_PROG_LOAD, &attributes))?
        }
        loaded => loaded?,
    };
    // SAFETY: the kernel just returned this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn without_memory_limit<T>(load: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
    let (soft, hard) = getrlimit(Resource::RLIMIT_MEMLOCK)?;
    setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY)?;
    let loaded = load();
    // Programs that are started from here must not inherit it.
    setrlimit(Resource::RLIMIT_MEMLOCK, soft, hard)?;
    loaded
}

fn put(attributes: &mut [u8; ATTRIBUTES], offset: usize, value: &[u8]) {
    attributes[offset..offset + value.len()].copy_from_slice(value);
}

fn bpf(command: libc::c_int, attributes: &[u8; ATTRIBUTES]) -> io::Result<RawFd> {
    // SAFETY: pointer and size describe `attributes`, zero where unused; what it points to (program,
    // licence) outlives the call in every caller.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_ptr(), ATTRIBUTES) };
    Ok(RawFd::try_from(Errno::result(result)?).map_err(|_| Errno::EBADF)?)
}

/// As much of `union bpf_attr` as the two commands use, and some zeros.
const ATTRIBUTES: usize = 72;
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_ATTACH: libc::c_int = 8;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 2;
