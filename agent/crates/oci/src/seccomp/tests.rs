//! Filters are run in a small interpreter of classic BPF, written from the kernel's description.

use super::*;
use serde_json::{Value, json};

/// What a call looks like to a filter.
struct Call {
    number: u32,
    architecture: u32,
    arguments: [u64; 6],
}

const NATIVE: u32 = numbers::CONVENTIONS[0].audit;

fn call(name: &str, arguments: &[u64]) -> Call {
    let number = numbers::CONVENTIONS[0].of(name).expect(name);
    let mut all = [0; 6];
    all[..arguments.len()].copy_from_slice(arguments);
    Call { number, architecture: NATIVE, arguments: all }
}

fn run(filter: &Filter, call: &Call) -> u32 {
    let mut data = Vec::new();
    data.extend(call.number.to_le_bytes());
    data.extend(call.architecture.to_le_bytes());
    data.extend(0_u64.to_le_bytes());
    call.arguments.iter().for_each(|argument| data.extend(argument.to_le_bytes()));
    let (mut at, mut accumulator) = (0, 0_u32);
    for _ in 0..filter.program.len() {
        let instruction = filter.program[at];
        let operand = instruction.operand;
        let mut skip = |holds: bool| {
            at += 1 + usize::from(if holds { instruction.jump_true } else { instruction.jump_false });
        };
        match instruction.code {
            assemble::LOAD => {
                let offset = operand as usize;
                let word = data[offset..offset + 4].try_into().expect("four bytes");
                accumulator = u32::from_le_bytes(word);
                at += 1;
            }
            assemble::AND => {
                accumulator &= operand;
                at += 1;
            }
            assemble::JA => at += 1 + operand as usize,
            assemble::JEQ => skip(accumulator == operand),
            assemble::JGT => skip(accumulator > operand),
            assemble::JGE => skip(accumulator >= operand),
            assemble::RET => return operand,
            other => panic!("unknown operation {other:#x}"),
        }
    }
    panic!("the program does not end");
}

fn compile(profile: Value) -> Filter {
    let profile: LinuxSeccomp = serde_json::from_value(profile).expect("a profile");
    Filter::compile(&profile).expect("compiles")
}

const ALLOW: u32 = 0x7fff_0000;
const KILL_PROCESS: u32 = 0x8000_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0000 | libc::ENOSYS as u32;

#[test]
fn listed_calls_are_allowed_and_others_refused() {
    let filter = compile(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [
            {"names": ["read", "write", "no_such_call", "statx"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["mount"], "action": "SCMP_ACT_ERRNO", "errnoRet": 22},
            {"names": ["reboot"], "action": "SCMP_ACT_KILL_PROCESS"},
        ],
    }));
    let cases = [
        ("read", ALLOW),
        ("write", ALLOW),
        ("statx", ALLOW),
        ("close", EPERM),
        ("getpid", EPERM),
        ("mount", 0x0005_0000 | 22),
        ("reboot", KILL_PROCESS),
        // Newer than everything in the profile.
        ("openat2", ENOSYS),
    ];
    for (name, want) in cases {
        assert_eq!(run(&filter, &call(name, &[])), want, "{name}");
    }
}

#[test]
fn a_call_of_the_processor_in_a_profile_makes_no_call_of_linux_old() {
    let allowed = || vec![Rule { conditions: vec![], action: Action(ALLOW) }];
    let rules = BTreeMap::from([(3, allowed()), (numbers::PRIVATE + 5, allowed())]);
    let convention = Convention { audit: NATIVE, has_x32: false, rules };
    let filter =
        Filter { program: assemble::assemble(&[convention], Action(EPERM)), flags: 0, decider: None };
    for (number, want) in [
        (2, EPERM),
        (3, ALLOW),
        (4, ENOSYS),
        (numbers::PRIVATE + 4, ENOSYS),
        (numbers::PRIVATE + 5, ALLOW),
        (numbers::PRIVATE + 6, ENOSYS),
    ] {
        assert_eq!(
            run(&filter, &Call { number, architecture: NATIVE, arguments: [0; 6] }),
            want,
            "{number:#x}"
        );
    }
}

#[test]
#[cfg(any(target_arch = "arm", target_arch = "aarch64"))]
fn a_program_for_32_bit_arm_may_say_where_its_threads_keep_their_data() {
    let filter =
        Filter::compile(&default_profile(&oci_spec::runtime::Capabilities::new())).expect("compiles");
    let set_tls = Call { number: 0x000f_0005, architecture: 0x4000_0028, arguments: [0; 6] };
    assert_eq!(run(&filter, &set_tls), ALLOW);
}

#[test]
fn a_profile_that_allows_by_default_allows_new_calls() {
    let filter = compile(json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ERRNO"}],
    }));
    assert_eq!(run(&filter, &call("read", &[])), EPERM);
    assert_eq!(run(&filter, &call("write", &[])), ALLOW);
    assert_eq!(run(&filter, &call("openat2", &[])), ALLOW);
}

#[test]
fn other_architectures_end_the_process() {
    let filter = compile(json!({"defaultAction": "SCMP_ACT_ALLOW"}));
    let foreign = Call { number: 0, architecture: 0x8000_0016, arguments: [0; 6] };
    assert_eq!(run(&filter, &foreign), KILL_PROCESS);
    assert_eq!(run(&filter, &call("read", &[])), ALLOW);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn the_32_bit_convention_has_its_own_numbers_and_x32_does_not_exist() {
    let filter = compile(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": [{"names": ["write"], "action": "SCMP_ACT_ALLOW"}],
    }));
    let with = |number, architecture| run(&filter, &Call { number, architecture, arguments: [0; 6] });
    assert_eq!(with(1, NATIVE), ALLOW);
    assert_eq!(with(4, 0x4000_0003), ALLOW);
    assert_eq!(with(1, 0x4000_0003), EPERM);
    assert_eq!(with(1 | 0x4000_0000, NATIVE), ENOSYS);
}

#[test]
fn every_comparison_is_of_64_bits() {
    const BIG: u64 = 0x0000_0002_0000_0003;
    let around = [
        0,
        2,
        3,
        4,
        0x1_ffff_ffff,
        0x2_0000_0000,
        BIG - 1,
        BIG,
        BIG + 1,
        0x2_ffff_ffff,
        0x3_0000_0000,
        u64::MAX,
    ];
    type Holds = fn(u64) -> bool;
    let operators: [(&str, Holds); 6] = [
        ("SCMP_CMP_NE", |value| value != BIG),
        ("SCMP_CMP_LT", |value| value < BIG),
        ("SCMP_CMP_LE", |value| value <= BIG),
        ("SCMP_CMP_EQ", |value| value == BIG),
        ("SCMP_CMP_GE", |value| value >= BIG),
        ("SCMP_CMP_GT", |value| value > BIG),
    ];
    for (operator, holds) in operators {
        let filter = compile(json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [{"names": ["openat2", "read"], "action": "SCMP_ACT_ALLOW",
                          "args": [{"index": 5, "value": BIG, "op": operator}]}],
        }));
        for value in around {
            let want = if holds(value) { ALLOW } else { EPERM };
            assert_eq!(run(&filter, &call("read", &[9, 9, 9, 9, 9, value])), want, "{value:#x} {operator}");
        }
    }
}

#[test]
fn a_mask_chooses_the_bits_that_count() {
    let filter = compile(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{"names": ["clone"], "action": "SCMP_ACT_ALLOW",
                      "args": [{"index": 0, "value": 0x7e02_0000, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]}],
    }));
    assert_eq!(run(&filter, &call("clone", &[17])), ALLOW);
    assert_eq!(run(&filter, &call("clone", &[0x1_0000_0011])), ALLOW);
    assert_eq!(run(&filter, &call("clone", &[0x0002_0000])), EPERM);
}

#[test]
fn conditions_on_one_argument_are_alternatives_and_on_several_all_must_hold() {
    let filter = compile(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [
            {"names": ["personality"], "action": "SCMP_ACT_ALLOW",
             "args": [{"index": 0, "value": 0, "op": "SCMP_CMP_EQ"}, {"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]},
            {"names": ["socket"], "action": "SCMP_ACT_ALLOW",
             "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}, {"index": 1, "value": 2, "op": "SCMP_CMP_EQ"}]},
        ],
    }));
    for (name, arguments, want) in [
        ("personality", [0, 0], ALLOW),
        ("personality", [8, 0], ALLOW),
        ("personality", [4, 0], EPERM),
        ("socket", [1, 2], ALLOW),
        ("socket", [1, 3], EPERM),
        ("socket", [2, 2], EPERM),
    ] {
        assert_eq!(run(&filter, &call(name, &arguments)), want, "{name} {arguments:?}");
    }
}

#[test]
fn what_contradicts_itself_is_refused() {
    let refused = |profile: Value| {
        let profile: LinuxSeccomp = serde_json::from_value(profile).expect("a profile");
        Filter::compile(&profile).expect_err("refused").to_string()
    };
    assert!(refused(json!({"defaultAction": "SCMP_ACT_NOTIFY"})).contains("needs listenerPath"));
    let number = json!({"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1});
    assert!(refused(number).contains("errnoRet means nothing with SCMP_ACT_ALLOW"));
}

#[test]
fn there_is_a_decider_exactly_when_calls_are_left_to_one() {
    let decider = |action: &str| {
        let rule = json!({"names": ["mkdir"], "action": action});
        let profile = json!({
            "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/s", "listenerMetadata": "m", "syscalls": [rule],
            "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
        });
        let profile: LinuxSeccomp = serde_json::from_value(profile).expect("a profile");
        Filter::compile(&profile).expect("compiles").decider
    };
    let named = Decider { path: PathBuf::from("/s"), metadata: Some("m".to_owned()) };
    assert_eq!(decider("SCMP_ACT_NOTIFY"), Some(named));
    assert_eq!(decider("SCMP_ACT_ERRNO"), None);
}

#[test]
fn the_default_profile_refuses_what_needs_a_capability_until_it_is_granted() {
    use oci_spec::runtime::{Capabilities, Capability};
    let plain = Filter::compile(&default_profile(&Capabilities::new())).expect("compiles");
    for name in ["read", "openat", "execve", "futex", "epoll_pwait", "clone3"] {
        let want = if name == "clone3" { ENOSYS } else { ALLOW };
        assert_eq!(run(&plain, &call(name, &[])), want, "{name}");
    }
    for name in
        ["mount", "bpf", "reboot", "init_module", "keyctl", "setns", "unshare", "ptrace", "kexec_load"]
    {
        assert_ne!(run(&plain, &call(name, &[])), ALLOW, "{name}");
    }
    let admin = Capabilities::from([Capability::SysAdmin]);
    let admin = Filter::compile(&default_profile(&admin)).expect("compiles");
    for name in ["mount", "setns", "unshare", "clone3"] {
        assert_eq!(run(&admin, &call(name, &[])), ALLOW, "{name}");
    }
    assert_ne!(run(&admin, &call("reboot", &[])), ALLOW);
    assert_eq!(run(&plain, &call("lsm_list_modules", &[])), ENOSYS);
    assert_eq!(run(&admin, &call("lsm_list_modules", &[])), ALLOW);
    // Newer than all that are listed.
    for number in [467, 468, 469, 470, 471, 999] {
        let newer = Call { number, architecture: NATIVE, arguments: [0; 6] };
        assert_eq!(run(&plain, &newer), ENOSYS, "{number}");
    }
}

#[test]
fn the_default_profile_lets_programs_open_sockets_of_the_families_that_it_lists() {
    let filter =
        Filter::compile(&default_profile(&oci_spec::runtime::Capabilities::new())).expect("compiles");
    let listed = [0..=11, 13..=18, 21..=22, 24..=24, 26..=33, 35..=36, 39..=39, 41..=45];
    for family in 0..200_u64 {
        let want = if listed.iter().any(|families| families.contains(&family)) { ALLOW } else { EPERM };
        // The kernel takes the lower half.
        for argument in [family, family | 1 << 32, family | 0xffff_ffff << 32] {
            assert_eq!(run(&filter, &call("socket", &[argument])), want, "{argument:#x}");
        }
    }
}
