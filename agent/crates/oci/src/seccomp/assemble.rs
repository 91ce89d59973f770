//! From rules to instructions. Numbers are found by bisection over runs of equal treatment, so that a
//! call costs about eight comparisons whatever the length of the profile.

use super::numbers::PRIVATE;
use edgelet_sys::seccomp::Instruction;
use oci_spec::runtime::LinuxSeccompOperator;
use std::collections::BTreeMap;

/// What the kernel is told to do, in the words of `SECCOMP_RET_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Action(pub(super) u32);

/// One way to treat a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    /// All of them must hold.
    pub(super) conditions: Vec<Condition>,
    pub(super) action: Action,
}

/// A comparison of an argument, as a number of 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Condition {
    /// 0 to 5.
    pub(super) argument: u8,
    pub(super) operator: LinuxSeccompOperator,
    /// What it is compared with; the mask for a masked comparison.
    pub(super) value: u64,
    /// What the masked argument must be.
    pub(super) second: u64,
}

/// The rules of one architecture.
#[derive(Debug)]
pub(super) struct Convention {
    pub(super) audit: u32,
    pub(super) has_x32: bool,
    /// By number of the call.
    pub(super) rules: BTreeMap<u32, Vec<Rule>>,
}

const ALLOW: Action = Action(0x7fff_0000);
const KILL_PROCESS: Action = Action(0x8000_0000);
const ERRNO: u32 = 0x0005_0000;
const ENOSYS: Action = Action(ERRNO | libc::ENOSYS as u32);

/// The whole program.
pub(super) fn assemble(conventions: &[Convention], default: Action) -> Vec<Instruction> {
    let mut program = vec![load(ARCHITECTURE)];
    let unknown = vec![ret(KILL_PROCESS)];
    program.extend(conventions.iter().rev().fold(unknown, |others, convention| {
        branch(JEQ, convention.audit, body(convention, default), others)
    }));
    program
}

/// The part for one architecture; every way through it ends in a return.
fn body(convention: &Convention, default: Action) -> Vec<Instruction> {
    const X32_BIT: u32 = 0x4000_0000;
    let tree = tree(&runs(&convention.rules, default), default);
    let mut body = vec![load(NUMBER)];
    match convention.has_x32 {
        true => body.extend(branch(JGE, X32_BIT, vec![ret(ENOSYS)], tree)),
        false => body.extend(tree),
    }
    body
}

/// Numbers from `first` up to the next run, treated alike.
#[derive(Debug, PartialEq)]
struct Run {
    first: u32,
    rules: Vec<Rule>,
}

fn runs(rules: &BTreeMap<u32, Vec<Rule>>, default: Action) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut add = |first: u32, rules: Vec<Rule>| {
        if runs.last().is_none_or(|last| last.rules != rules) {
            runs.push(Run { first, rules });
        }
    };
    let refuses = default != ALLOW && default.0 & 0xffff_0000 == ERRNO;
    let newest = rules.keys().rev().find(|number| **number < PRIVATE);
    let unlisted = |first: u32| {
        let newer = newest.is_some_and(|newest| first > *newest);
        vec![Rule { conditions: Vec::new(), action: if refuses && newer { ENOSYS } else { default } }]
    };
    let mut next = 0;
    for (number, rules) in rules {
        if *number > next {
            add(next, unlisted(next));
        }
        // What follows a rule without conditions is never reached.
        let reached =
            rules.iter().position(|rule| rule.conditions.is_empty()).map_or(rules.len(), |at| at + 1);
        add(*number, rules[..reached].to_vec());
        next = number + 1;
    }
    add(next, unlisted(next));
    runs
}

fn tree(runs: &[Run], default: Action) -> Vec<Instruction> {
    match runs {
        [] => vec![ret(default)],
        [run] => leaf(&run.rules, default),
        _ => {
            let (low, high) = runs.split_at(runs.len() / 2);
            branch(JGE, high[0].first, tree(high, default), tree(low, default))
        }
    }
}

fn leaf(rules: &[Rule], default: Action) -> Vec<Instruction> {
    let mut code: Vec<Instruction> = rules.iter().flat_map(rule).collect();
    if rules.last().is_none_or(|last| !last.conditions.is_empty()) {
        code.push(ret(default));
    }
    code
}

/// A comparison of the accumulator, then the code for no and the code for yes.
fn branch(comparison: u16, operand: u32, yes: Vec<Instruction>, no: Vec<Instruction>) -> Vec<Instruction> {
    let mut code = Vec::with_capacity(yes.len() + no.len() + 2);
    match u8::try_from(no.len()) {
        Ok(distance) => code.push(jump(comparison, operand, distance, 0)),
        // Conditional jumps reach 255 instructions, unconditional ones everywhere.
        Err(_) => {
            code.push(jump(comparison, operand, 0, 1));
            code.push(Instruction { code: JA, jump_true: 0, jump_false: 0, operand: length(&no) });
        }
    }
    code.extend(no);
    code.extend(yes);
    code
}

/// Programs are limited to 4096 instructions, which is checked at the end.
fn length(code: &[Instruction]) -> u32 {
    u32::try_from(code.len()).unwrap_or(u32::MAX)
}

/// Where a step of a condition goes on.
#[derive(Clone, Copy)]
enum To {
    /// Past this many instructions of the condition.
    Skip(u8),
    /// To the next rule.
    Fail,
}

struct Step {
    code: u16,
    operand: u32,
    yes: To,
    no: To,
}

/// The conditions, one after the other, then the action.
fn rule(rule: &Rule) -> Vec<Instruction> {
    let steps: Vec<Step> = rule.conditions.iter().flat_map(condition).collect();
    let count = steps.len();
    let mut code: Vec<Instruction> = steps
        .into_iter()
        .enumerate()
        .map(|(at, step)| {
            // At most six conditions of six steps: always within the reach of a jump.
            let resolve = |to| match to {
                To::Skip(distance) => distance,
                To::Fail => u8::try_from(count - at).unwrap_or(u8::MAX),
            };
            Instruction {
                code: step.code,
                jump_true: resolve(step.yes),
                jump_false: resolve(step.no),
                operand: step.operand,
            }
        })
        .collect();
    code.push(ret(rule.action));
    code
}

/// The processor of BPF has 32 bits: the high half decides first, the low half where that is equal.
fn condition(condition: &Condition) -> Vec<Step> {
    use LinuxSeccompOperator::*;
    use To::{Fail, Skip};
    let step = |code, operand, yes, no| Step { code, operand, yes, no };
    let load_low = || step(LOAD, argument(condition.argument), Skip(0), Skip(0));
    let load_high = || step(LOAD, argument(condition.argument) + 4, Skip(0), Skip(0));
    let (high, low) = halves(condition.value);
    match condition.operator {
        ScmpCmpEq => {
            vec![load_high(), step(JEQ, high, Skip(0), Fail), load_low(), step(JEQ, low, Skip(0), Fail)]
        }
        ScmpCmpNe => {
            vec![load_high(), step(JEQ, high, Skip(0), Skip(2)), load_low(), step(JEQ, low, Fail, Skip(0))]
        }
        ScmpCmpGt | ScmpCmpGe => {
            let last = if condition.operator == ScmpCmpGt { JGT } else { JGE };
            vec![
                load_high(),
                step(JGT, high, Skip(3), Skip(0)),
                step(JEQ, high, Skip(0), Fail),
                load_low(),
                step(last, low, Skip(0), Fail),
            ]
        }
        ScmpCmpLt | ScmpCmpLe => {
            let last = if condition.operator == ScmpCmpLt { JGE } else { JGT };
            vec![
                load_high(),
                step(JGT, high, Fail, Skip(0)),
                step(JEQ, high, Skip(0), Skip(2)),
                load_low(),
                step(last, low, Fail, Skip(0)),
            ]
        }
        ScmpCmpMaskedEq => {
            let (wanted_high, wanted_low) = halves(condition.second);
            vec![
                load_high(),
                step(AND, high, Skip(0), Skip(0)),
                step(JEQ, wanted_high, Skip(0), Fail),
                load_low(),
                step(AND, low, Skip(0), Skip(0)),
                step(JEQ, wanted_low, Skip(0), Fail),
            ]
        }
    }
}

fn halves(value: u64) -> (u32, u32) {
    // Both parts fit by construction.
    ((value >> 32) as u32, (value & 0xffff_ffff) as u32)
}

/// Offsets in `struct seccomp_data`: number, architecture, instruction pointer, six arguments. All our
/// processors are little-endian, so the low half of an argument comes first.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;

fn argument(index: u8) -> u32 {
    16 + 8 * u32::from(index)
}

/// Operations of classic BPF (linux/bpf_common.h), as combined here.
pub(super) const LOAD: u16 = 0x20;
pub(super) const AND: u16 = 0x54;
pub(super) const JA: u16 = 0x05;
pub(super) const JEQ: u16 = 0x15;
pub(super) const JGT: u16 = 0x25;
pub(super) const JGE: u16 = 0x35;
pub(super) const RET: u16 = 0x06;

fn load(offset: u32) -> Instruction {
    Instruction { code: LOAD, jump_true: 0, jump_false: 0, operand: offset }
}

fn jump(code: u16, operand: u32, jump_true: u8, jump_false: u8) -> Instruction {
    Instruction { code, jump_true, jump_false, operand }
}

fn ret(action: Action) -> Instruction {
    Instruction { code: RET, jump_true: 0, jump_false: 0, operand: action.0 }
}
