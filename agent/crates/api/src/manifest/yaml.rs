//! YAML text to a tree of nodes, within a budget.
//!
//! Scalars keep the text that was written: whether `1.10` is a number or a version is for the field to
//! say that wants it. One document, no tags; anchors, aliases and merge keys work.

use super::ManifestError;
use granit_parser::{Event, Parser, ScalarStyle, Span, StrInput, options};
use std::collections::BTreeMap;

/// The most nodes, counting those that aliases repeat. A manifest has some hundred.
const NODES: usize = 20_000;
/// The most bytes of text in them, which only aliases can bring past the length of the manifest.
const TEXT_BYTES: usize = 2 << 20;
/// The deepest nesting of each of the two styles; a manifest needs six. Composing recurses this deep.
const DEPTH: usize = 32;

/// A value and where it starts.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// Counted from 1.
    pub(super) line: usize,
    pub(super) value: Value,
}

#[derive(Debug, Clone)]
pub(super) enum Value {
    /// Nothing, `~` or `null`, not in quotes.
    Null,
    /// The text, without quotes and escapes.
    Scalar(String),
    List(Vec<Node>),
    Map(BTreeMap<String, Node>),
}

/// Reads the one document of a text; an empty text is a null.
pub(super) fn parse(text: &str) -> Result<Node, ManifestError> {
    let options = options! { flow_nesting_limit: DEPTH, block_nesting_limit: DEPTH };
    let mut composer = Composer {
        parser: Parser::new_from_str_with_options(text, options),
        anchors: BTreeMap::new(),
        nodes: 0,
        text_bytes: 0,
    };
    let mut document = None;
    loop {
        match composer.next()? {
            (Event::StreamStart | Event::DocumentEnd, _) => {}
            (Event::DocumentStart(..), span) if document.is_some() => {
                return Err(wrong(&span, "must be one document"));
            }
            (Event::DocumentStart(..), _) => document = Some(composer.node()?),
            _ => return Ok(document.unwrap_or(Node { line: 1, value: Value::Null })),
        }
    }
}

fn wrong(span: &Span, what: impl std::fmt::Display) -> ManifestError {
    ManifestError::Syntax(format!("line {}: {what}", span.start.line()))
}

struct Composer<'a> {
    parser: Parser<'a, StrInput<'a>>,
    /// What aliases repeat.
    anchors: BTreeMap<usize, Node>,
    nodes: usize,
    text_bytes: usize,
}

impl<'a> Composer<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), ManifestError> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => {
                Err(ManifestError::Syntax(format!("line {}: {}", error.marker().line(), error.kind())))
            }
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    /// Composes the node that comes next.
    fn node(&mut self) -> Result<Node, ManifestError> {
        let (event, span) = self.next()?;
        self.node_of(event, &span)
    }

    fn node_of(&mut self, event: Event<'a>, span: &Span) -> Result<Node, ManifestError> {
        if let Some(tag) = event.tag() {
            return Err(wrong(span, format!("tag {}: not supported", tag.original())));
        }
        let anchor = event.anchor_id();
        let value = match event {
            Event::Alias(id) => return self.repeat(id, span),
            Event::Scalar(text, style, ..) => scalar(&text, style),
            Event::SequenceStart(..) => Value::List(self.list()?),
            Event::MappingStart(..) => Value::Map(self.map()?),
            _ => return Err(wrong(span, "ends where a value should be")),
        };
        let node = Node { line: span.start.line(), value };
        self.charge(1, node.own_text(), span)?;
        if let Some(id) = anchor {
            self.keep(id, &node, span)?;
        }
        Ok(node)
    }

    fn list(&mut self) -> Result<Vec<Node>, ManifestError> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(items),
                (event, span) => items.push(self.node_of(event, &span)?),
            }
        }
    }

    fn map(&mut self) -> Result<BTreeMap<String, Node>, ManifestError> {
        let mut map = BTreeMap::new();
        let mut merged = Vec::new();
        loop {
            let (key, span) = match self.next()? {
                (Event::MappingEnd, _) => break,
                (Event::Scalar(text, style, 0, None), span) => {
                    let is_merge = text == "<<" && style == ScalarStyle::Plain;
                    ((text.into_owned(), is_merge), span)
                }
                (_, span) => return Err(wrong(&span, "a key must be a plain word")),
            };
            let (key, is_merge) = key;
            self.charge(0, key.len(), &span)?;
            let value = self.node()?;
            if is_merge {
                merged.extend(sources(value, &span)?);
            } else if let Some(twice) = map.insert(key.clone(), value) {
                return Err(wrong(&span, format!("{key}: stands on line {} already", twice.line)));
            }
        }
        // What is written beats what is merged, and earlier sources beat later ones.
        for (key, value) in merged {
            map.entry(key).or_insert(value);
        }
        Ok(map)
    }

    /// Remembers a node for aliases. The copy is charged like any other.
    fn keep(&mut self, id: usize, node: &Node, span: &Span) -> Result<(), ManifestError> {
        self.charge_copy(node, span)?;
        self.anchors.insert(id, node.clone());
        Ok(())
    }

    fn repeat(&mut self, id: usize, span: &Span) -> Result<Node, ManifestError> {
        // An alias within its own anchor finds nothing: the anchor is kept when it is complete.
        let node = self.anchors.get(&id).ok_or_else(|| wrong(span, "an alias must not contain itself"))?;
        let node = node.clone();
        self.charge_copy(&node, span)?;
        Ok(node)
    }

    fn charge_copy(&mut self, node: &Node, span: &Span) -> Result<(), ManifestError> {
        let (nodes, text_bytes) = node.weight();
        self.charge(nodes, text_bytes, span)
    }

    fn charge(&mut self, nodes: usize, text_bytes: usize, span: &Span) -> Result<(), ManifestError> {
        self.nodes += nodes;
        self.text_bytes += text_bytes;
        match self.nodes > NODES || self.text_bytes > TEXT_BYTES {
            true => Err(wrong(span, format!("more than {NODES} values or {TEXT_BYTES} bytes"))),
            false => Ok(()),
        }
    }
}

impl Node {
    fn own_text(&self) -> usize {
        match &self.value {
            Value::Scalar(text) => text.len(),
            _ => 0,
        }
    }

    /// How many nodes, and how many bytes of text, a copy has.
    fn weight(&self) -> (usize, usize) {
        let add = |a: (usize, usize), b: (usize, usize)| (a.0 + b.0, a.1 + b.1);
        match &self.value {
            Value::Null | Value::Scalar(_) => (1, self.own_text()),
            Value::List(items) => items.iter().map(Node::weight).fold((1, 0), add),
            Value::Map(map) => {
                map.iter().map(|(key, node)| add((0, key.len()), node.weight())).fold((1, 0), add)
            }
        }
    }
}

/// YAML 1.2.2 10.3.2: what a plain scalar must look like to be a null.
fn scalar(text: &str, style: ScalarStyle) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" if style == ScalarStyle::Plain => Value::Null,
        _ => Value::Scalar(text.to_owned()),
    }
}

/// The fields that a merge key (`<<`) brings in: those of a mapping, or of several.
fn sources(node: Node, span: &Span) -> Result<Vec<(String, Node)>, ManifestError> {
    let nodes = match node.value {
        Value::List(nodes) => nodes,
        value => vec![Node { line: node.line, value }],
    };
    let mut fields = Vec::new();
    for node in nodes {
        match node.value {
            Value::Map(map) => fields.extend(map),
            _ => return Err(wrong(span, "<<: must be a mapping, or a list of them")),
        }
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tree in one line.
    fn shown(node: &Node) -> String {
        let list = |parts: Vec<String>| parts.join(",");
        match &node.value {
            Value::Null => "null".to_owned(),
            Value::Scalar(text) => format!("{text:?}"),
            Value::List(items) => format!("[{}]", list(items.iter().map(shown).collect())),
            Value::Map(map) => {
                format!(
                    "{{{}}}",
                    list(map.iter().map(|(key, node)| format!("{key}:{}", shown(node))).collect())
                )
            }
        }
    }

    #[test]
    fn scalars_keep_the_text_that_was_written() {
        let cases = [
            ("", "null"),
            ("# nothing", "null"),
            ("a: 1.10", r#"{a:"1.10"}"#),
            ("a: 010\nb: yes\nc: 0x1F", r#"{a:"010",b:"yes",c:"0x1F"}"#),
            ("a:\nb: ~\nc: null\nd: 'null'\ne: \"\"", r#"{a:null,b:null,c:null,d:"null",e:""}"#),
            ("a: |\n  x\n   y\nb: >-\n  x\n  y", r#"{a:"x\n y\n",b:"x y"}"#),
            ("- \"\\u00e9\\n\"\n- 'it''s'", r#"["é\n","it's"]"#),
            ("{a: [b, {c: d}]} # e", r#"{a:["b",{c:"d"}]}"#),
        ];
        for (text, want) in cases {
            assert_eq!(shown(&parse(text).expect(text)), want, "{text}");
        }
    }

    #[test]
    fn aliases_repeat_and_merge_keys_fill_in() {
        let cases = [
            ("a: &x [1]\nb: *x", r#"{a:["1"],b:["1"]}"#),
            ("a: &x {k: 1, l: 2}\nb: {<<: *x, l: 3}", r#"{a:{k:"1",l:"2"},b:{k:"1",l:"3"}}"#),
            ("- &x {k: 1}\n- &y {k: 2, l: 2}\n- {<<: [*x, *y]}", r#"[{k:"1"},{k:"2",l:"2"},{k:"1",l:"2"}]"#),
            ("'<<': 1", r#"{<<:"1"}"#),
        ];
        for (text, want) in cases {
            assert_eq!(shown(&parse(text).expect(text)), want, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let cases = [
            ("a: 1\na: 2", "line 2: a: stands on line 1 already"),
            ("a: &x\n  - *x", "line 2: an alias must not contain itself"),
            ("a: 1\n---\nb: 1", "line 2: must be one document"),
            ("a: !!str 1", "line 1: tag !!str: not supported"),
            ("[a]: 1", "line 1: a key must be a plain word"),
            ("<<: 1", "line 1: <<: must be a mapping, or a list of them"),
            ("a: *x", "line 1: "),
            ("a: [", "line "),
        ];
        for (text, want) in cases {
            match parse(text) {
                Err(ManifestError::Syntax(said)) => assert!(said.starts_with(want), "{text}: {said}"),
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn the_budget_counts_what_aliases_repeat() {
        let many = format!("[{}]", "x, ".repeat(NODES + 1));
        let long = format!("a: &a {}\nb: [{}]", "x".repeat(1 << 19), "*a, ".repeat(4));
        let nested = (0..DEPTH).map(|level| format!("&a{level} [")).collect::<String>();
        let deep = format!("{nested}{}{}", "x, ".repeat(NODES / DEPTH * 2), "]".repeat(DEPTH));
        for bomb in [many, long, deep] {
            match parse(&bomb) {
                Err(ManifestError::Syntax(said)) => assert!(said.contains("more than"), "{said}"),
                other => panic!("{other:?}"),
            }
        }
        for opened in ["[", "{a: ", "- "] {
            assert!(parse(&opened.repeat(DEPTH + 2)).is_err());
        }
    }
}
