//! JSON values as YAML: block style, and in quotes whatever could be read as something else.

use serde_json::Value;

/// Writes a document.
pub(crate) fn document(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => fields(&mut out, map, 0),
        Value::Array(items) if !items.is_empty() => list(&mut out, items, 0),
        scalar => out.push_str(&format!("{}\n", flow(scalar))),
    }
    out
}

fn fields(out: &mut String, map: &serde_json::Map<String, Value>, depth: usize) {
    for (index, (key, value)) in map.iter().enumerate() {
        // The first field of an element stands behind its dash.
        let is_behind_dash = index == 0 && out.ends_with("- ");
        if !is_behind_dash {
            out.push_str(&INDENT.repeat(depth));
        }
        out.push_str(&text(key));
        out.push(':');
        match value {
            Value::Object(map) if !map.is_empty() => {
                out.push('\n');
                fields(out, map, depth + 1);
            }
            Value::Array(items) if !items.is_empty() => {
                out.push('\n');
                list(out, items, depth);
            }
            scalar => out.push_str(&format!(" {}\n", flow(scalar))),
        }
    }
}

fn list(out: &mut String, items: &[Value], depth: usize) {
    for item in items {
        out.push_str(&INDENT.repeat(depth));
        out.push_str("- ");
        match item {
            Value::Object(map) if !map.is_empty() => fields(out, map, depth + 1),
            // JSON is YAML too, and a list of lists is too rare to be pretty.
            other => out.push_str(&format!("{}\n", flow(other))),
        }
    }
}

const INDENT: &str = "  ";

/// A value on one line.
fn flow(value: &Value) -> String {
    match value {
        Value::String(string) => text(string),
        Value::Array(items) => format!("[{}]", items.iter().map(quoted_flow).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

/// The same where a comma or a bracket would end it.
fn quoted_flow(value: &Value) -> String {
    match value {
        Value::String(string) => quoted(string),
        Value::Object(map) => {
            let field = |(key, value): (&String, &Value)| format!("{}: {}", quoted(key), quoted_flow(value));
            format!("{{{}}}", map.iter().map(field).collect::<Vec<_>>().join(", "))
        }
        other => flow(other),
    }
}

fn text(text: &str) -> String {
    match is_plain(text) {
        true => text.to_owned(),
        false => quoted(text),
    }
}

/// Whether a text is read back as itself without quotes. Stricter than YAML 1.2.2 7.3.3, so that older
/// readers agree.
fn is_plain(text: &str) -> bool {
    const WORDS: [&str; 9] = ["null", "true", "false", "yes", "no", "on", "off", "y", "n"];
    text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '/')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || " -_./:@+=,()%".contains(c))
        && !text.contains(": ")
        && !text.ends_with([':', ' '])
        && !WORDS.contains(&text.to_ascii_lowercase().as_str())
}

/// YAML 1.2.2 7.3.1, double-quoted style, all but printable characters escaped.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                out.push_str(&format!("\\u{:04X}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out + "\""
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_document_reads_well() {
        let value = json!({"items": [{"name": "web", "ports": []}, {"name": "db", "env": {"A": "1"}}],
            "count": 2, "message": "pull: no route", "at": null, "ok": true, "words": ["a", ["b", "c"]]});
        let want = "at: null\ncount: 2\nitems:\n- name: web\n  ports: []\n- env:\n    A: \"1\"\n  name: db\n\
                    message: \"pull: no route\"\nok: true\nwords:\n- a\n- [\"b\", \"c\"]\n";
        assert_eq!(document(&value), want);
    }

    #[test]
    fn what_is_written_is_read_back_the_same() {
        let texts = [
            "",
            " ",
            "~",
            "null",
            "Yes",
            "n",
            "1",
            "1.5",
            "0x1f",
            "1e3",
            ".inf",
            "-",
            "- a",
            "-1",
            "a: b",
            "a:",
            "a #b",
            "#",
            "a ",
            " a",
            "*a",
            "&a",
            "!a",
            "|",
            ">",
            "%a",
            "@a",
            "`a",
            "'",
            "\"",
            "\\",
            "[a]",
            "{a}",
            "a, b",
            "a\nb",
            "\n",
            "\t",
            "\r\n",
            "\u{0}",
            "\u{7f}",
            "\u{85}",
            "\u{2028}",
            "\u{feff}",
            "é",
            "🦀",
            "2026-11-20",
            "12:30:45",
            "---",
            "...",
            "---\na",
            "/a/b",
            "sha256:12ab",
            "a=b",
            "?",
            "? a",
            "<<",
            "=",
            "x".repeat(200).as_str(),
            "docker.io/library/busybox:1.36",
            "true",
            "False",
            "a:b",
            "a: ",
        ]
        .map(str::to_owned);
        for text in &texts {
            let values = [
                json!(text),
                json!({text.as_str(): text}),
                json!([text, [text, {text.as_str(): [text]}]]),
                json!({"a": {"b": [{"c": text, "d": [{}, []]}], "e": {}}}),
            ];
            for value in values {
                let written = document(&value);
                let read: Value =
                    serde_saphyr::from_str(&written).unwrap_or_else(|error| panic!("{written:?}: {error}"));
                assert_eq!(read, value, "{written:?}");
            }
        }
        for number in [json!(0), json!(-5), json!(u64::MAX), json!(1.25), json!(1e300)] {
            let read: Value = serde_saphyr::from_str(&document(&number)).expect("a number");
            assert_eq!(read, number);
        }
    }
}
