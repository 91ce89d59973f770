#![no_main]
//! System call profiles: what is compiled, the kernel takes (Documentation/networking/filter.rst and
//! `bpf_check_classic`): not too long, every jump forward and inside, a return on every way out.

use edgelet_oci::fuzzing;
use edgelet_sys::seccomp::Instruction;
use libfuzzer_sys::fuzz_target;

const LENGTH_LIMIT: usize = 4096;
/// Size of `struct seccomp_data`.
const DATA_BYTES: u32 = 64;

fuzz_target!(|profile: &[u8]| {
    let Some(program) = fuzzing::seccomp(profile) else { return };
    assert!((1..=LENGTH_LIMIT).contains(&program.len()), "{} instructions", program.len());
    assert!(program.last().is_some_and(|last| last.code == RET), "no return at the end");
    for (at, instruction) in program.iter().enumerate() {
        check(at, instruction, program.len());
    }
});

const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const RET: u16 = 0x06;
const JA: u16 = 0x05;
const JEQ: u16 = 0x15;
const JGT: u16 = 0x25;
const JGE: u16 = 0x35;

fn check(at: usize, instruction: &Instruction, length: usize) {
    let reaches = |distance: u32| at as u64 + 1 + u64::from(distance) < length as u64;
    let Instruction { code, jump_true, jump_false, operand } = *instruction;
    let good = match code {
        LOAD => operand % 4 == 0 && operand < DATA_BYTES && reaches(0),
        AND => reaches(0),
        JA => reaches(operand),
        JEQ | JGT | JGE => reaches(jump_true.into()) && reaches(jump_false.into()),
        RET => true,
        _ => false,
    };
    assert!(good, "instruction {at} of {length}: {instruction:?}");
}
