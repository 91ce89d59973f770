//! Device rules. Version 1 has a list of its own; version 2 asks a program at each access to a device node
//! (`BPF_PROG_TYPE_CGROUP_DEVICE`).

use edgelet_sys::bpf::{self, Instruction};
use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};
use std::io;
use std::path::Path;

/// Makes a group obey the rules, in order, a later one winning; first of all everything is refused
/// except what every container has.
pub(super) fn install(group: &Path, rules: &[LinuxDeviceCgroup]) -> io::Result<()> {
    let rules = rules.iter().map(Rule::parse).collect::<io::Result<Vec<_>>>()?;
    bpf::attach_device_filter(group, &compile(&rules))
}

/// The rules as lines for the files of version 1, in order. A new group has what the one above has, so the first
/// line refuses everything.
pub(super) fn lines(rules: &[LinuxDeviceCgroup]) -> io::Result<Vec<(&'static str, String)>> {
    let rules = rules.iter().map(Rule::parse).collect::<io::Result<Vec<_>>>()?;
    Ok([NOTHING].iter().chain(&rules).chain(ALWAYS).flat_map(Rule::lines).collect())
}

/// What an access must look like for a rule to decide it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rule {
    allow: bool,
    /// Block, character, or both.
    kind: Option<u32>,
    /// Of read, write and mknod.
    access: u32,
    major: Option<u32>,
    minor: Option<u32>,
}

/// `BPF_DEVCG_*`.
const BLOCK: u32 = 1;
const CHARACTER: u32 = 2;
const MKNOD: u32 = 1;
const READ: u32 = 2;
const WRITE: u32 = 4;
const ALL: u32 = MKNOD | READ | WRITE;

/// What every container may use whatever its rules say: making nodes (which opens nothing), and the
/// default devices of the specification with terminals.
const ALWAYS: &[Rule] = &[
    allow(Some(CHARACTER), MKNOD, None, None),
    allow(Some(BLOCK), MKNOD, None, None),
    allow(Some(CHARACTER), ALL, Some(1), Some(3)),
    allow(Some(CHARACTER), ALL, Some(1), Some(5)),
    allow(Some(CHARACTER), ALL, Some(1), Some(7)),
    allow(Some(CHARACTER), ALL, Some(1), Some(8)),
    allow(Some(CHARACTER), ALL, Some(1), Some(9)),
    allow(Some(CHARACTER), ALL, Some(5), Some(0)),
    allow(Some(CHARACTER), ALL, Some(5), Some(1)),
    allow(Some(CHARACTER), ALL, Some(5), Some(2)),
    allow(Some(CHARACTER), ALL, Some(136), None),
];

const NOTHING: Rule = Rule { allow: false, kind: None, access: ALL, major: None, minor: None };

const fn allow(kind: Option<u32>, access: u32, major: Option<u32>, minor: Option<u32>) -> Rule {
    Rule { allow: true, kind, access, major, minor }
}

impl Rule {
    fn parse(rule: &LinuxDeviceCgroup) -> io::Result<Self> {
        let bad = |what: String| io::Error::new(io::ErrorKind::InvalidInput, what);
        let kind = match rule.typ() {
            Some(LinuxDeviceType::B) => Some(BLOCK),
            Some(LinuxDeviceType::C | LinuxDeviceType::U) => Some(CHARACTER),
            Some(LinuxDeviceType::A) | None => None,
            Some(LinuxDeviceType::P) => return Err(bad("a pipe is not a device".to_owned())),
        };
        // -1 means any, as absence does.
        let number = |value: Option<i64>| match value {
            None | Some(-1) => Ok(None),
            Some(value) => {
                u32::try_from(value).map(Some).map_err(|_| bad(format!("no device number {value}")))
            }
        };
        let mut access = 0;
        for letter in rule.access().as_deref().unwrap_or("rwm").chars() {
            access |= match letter {
                'r' => READ,
                'w' => WRITE,
                'm' => MKNOD,
                other => return Err(bad(format!("no access {other:?}"))),
            };
        }
        Ok(Self {
            allow: rule.allow(),
            kind,
            access,
            major: number(rule.major())?,
            minor: number(rule.minor())?,
        })
    }

    /// As the files of version 1 want it: `c 1:3 rwm`, with `*` for any number. After `a`, for both kinds, they
    /// read nothing more.
    fn lines(&self) -> Vec<(&'static str, String)> {
        let file = if self.allow { "devices.allow" } else { "devices.deny" };
        if self.is_unconditional() {
            return vec![(file, "a".to_owned())];
        }
        let kinds = [(BLOCK, 'b'), (CHARACTER, 'c')];
        let kinds = kinds.into_iter().filter(|(kind, _)| self.kind.is_none_or(|wanted| wanted == *kind));
        kinds.map(|(_, letter)| (file, self.line(letter))).collect()
    }

    fn line(&self, kind: char) -> String {
        let number = |number: Option<u32>| number.map_or("*".to_owned(), |number| number.to_string());
        let letters = [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')];
        let access: String =
            letters.iter().filter(|(bit, _)| self.access & bit != 0).map(|(_, letter)| *letter).collect();
        format!("{kind} {}:{} {access}", number(self.major), number(self.minor))
    }

    fn is_unconditional(&self) -> bool {
        self.kind.is_none() && self.access == ALL && self.major.is_none() && self.minor.is_none()
    }
}

/// The rule that decides is the last that matches, so they are asked in reverse.
fn compile(rules: &[Rule]) -> Vec<Instruction> {
    let mut program = vec![
        // r2 = type, r3 = access, r4 = major, r5 = minor; the context is in r1.
        Instruction::load_word(2, 1, 0),
        Instruction::and(2, 0xffff),
        Instruction::load_word(3, 1, 0),
        Instruction::shift_right(3, 16),
        Instruction::load_word(4, 1, 4),
        Instruction::load_word(5, 1, 8),
    ];
    for rule in ALWAYS.iter().chain(rules.iter().rev()) {
        program.extend(decide(rule));
        if rule.is_unconditional() {
            // The kernel's checker refuses instructions that are never reached.
            return program;
        }
    }
    program.extend(verdict(false));
    program
}

fn decide(rule: &Rule) -> Vec<Instruction> {
    // Each test is followed by what is left of the rule, which it jumps over when it does not hold.
    let mut code = verdict(rule.allow);
    let skip = |code: &[Instruction]| i16::try_from(code.len()).unwrap_or(i16::MAX);
    let mut prepend = |tests: &dyn Fn(i16) -> Vec<Instruction>| {
        let mut longer = tests(skip(&code));
        longer.append(&mut code);
        code = longer;
    };
    if let Some(minor) = rule.minor {
        prepend(&|skip| vec![Instruction::jump_if_not_equal(5, minor, skip)]);
    }
    if let Some(major) = rule.major {
        prepend(&|skip| vec![Instruction::jump_if_not_equal(4, major, skip)]);
    }
    if rule.access != ALL {
        // An access may ask for several things at once. A rule that allows must cover all of them; one
        // that refuses, any.
        match rule.allow {
            true => prepend(&|skip| {
                vec![
                    Instruction::copy(0, 3),
                    Instruction::and(0, !rule.access & ALL),
                    Instruction::jump_if_not_equal(0, 0, skip),
                ]
            }),
            false => prepend(&|skip| {
                vec![
                    Instruction::copy(0, 3),
                    Instruction::and(0, rule.access),
                    Instruction::jump_if_equal(0, 0, skip),
                ]
            }),
        }
    }
    if let Some(kind) = rule.kind {
        prepend(&|skip| vec![Instruction::jump_if_not_equal(2, kind, skip)]);
    }
    code
}

fn verdict(allow: bool) -> Vec<Instruction> {
    vec![Instruction::set(0, u32::from(allow)), Instruction::exit()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_1_gets_lines_and_what_every_container_has_comes_last() {
        use serde_json::json;
        let rules: Vec<LinuxDeviceCgroup> = serde_json::from_value(json!([
            {"allow": true, "type": "b", "major": 8, "access": "r"}, {"allow": false, "major": 7, "access": "w"},
        ]))
        .expect("rules");
        let lines = lines(&rules).expect("lines");
        let first = [
            ("devices.deny", "a"),
            ("devices.allow", "b 8:* r"),
            // The kernel reads nothing after an `a`.
            ("devices.deny", "b 7:* w"),
            ("devices.deny", "c 7:* w"),
        ];
        assert_eq!(lines[..4], first.map(|(file, line)| (file, line.to_owned())));
        assert_eq!(lines.last(), Some(&("devices.allow", "c 136:* rwm".to_owned())));
    }

    #[test]
    fn rules_are_parsed_strictly() {
        let parse = |json| {
            let rule: LinuxDeviceCgroup = serde_json::from_value(json).expect("a rule");
            Rule::parse(&rule).ok()
        };
        use serde_json::json;
        assert_eq!(
            parse(json!({"allow": false, "access": "rwm"})),
            Some(Rule { allow: false, kind: None, access: ALL, major: None, minor: None })
        );
        assert_eq!(
            parse(json!({"allow": true, "type": "c", "major": 10, "minor": -1, "access": "rw"})),
            Some(Rule {
                allow: true,
                kind: Some(CHARACTER),
                access: READ | WRITE,
                major: Some(10),
                minor: None
            })
        );
        assert_eq!(parse(json!({"allow": true, "access": "x"})), None);
        assert_eq!(parse(json!({"allow": true, "major": -2})), None);
    }
}
