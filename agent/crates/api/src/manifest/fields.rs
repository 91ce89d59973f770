//! From nodes to typed fields: wrong types, missing fields and unknown ones, each told with its path.

use super::ManifestError;
use super::check::at;
use super::yaml::{Node, Value};
use std::collections::BTreeMap;

/// What can be read from a node.
pub(super) trait Read: Sized {
    /// Reads a value that is not null. The path is for the error.
    fn read(path: &str, node: Node) -> Result<Self, ManifestError>;

    /// What a field is that is absent or null; `None` where it must be present.
    fn absent() -> Option<Self> {
        None
    }
}

/// The fields of a mapping, which are taken out one by one. What is wrong is kept until the end: leaving
/// at each field would cost more code than reading them.
pub(super) struct Fields {
    path: String,
    left: BTreeMap<String, Node>,
    wrong: Option<ManifestError>,
    missing: Option<ManifestError>,
}

impl Fields {
    /// The fields at a path; the empty path is the manifest itself.
    pub(super) fn of(path: &str, node: Node) -> Result<Self, ManifestError> {
        match node.value {
            Value::Map(left) => Ok(Self { path: path.to_owned(), left, wrong: None, missing: None }),
            _ if path.is_empty() => Err(ManifestError::Syntax("must be a mapping of fields".to_owned())),
            _ => Err(wrong_type(path, &node, "a mapping")),
        }
    }

    /// Takes a field out. `None` when something is wrong with it, and then [`Fields::finish`] says what.
    pub(super) fn take<T: Read>(&mut self, name: &str) -> Option<T> {
        let read = match self.left.remove(name) {
            Some(Node { value: Value::Null, .. }) | None => {
                let absent = T::absent();
                if absent.is_none() && self.missing.is_none() {
                    self.missing = Some(self.missing(name));
                }
                return absent;
            }
            Some(node) => T::read(&self.path_of(name), node),
        };
        read.map_err(|error| _ = self.wrong.get_or_insert(error)).ok()
    }

    /// Takes a field out on which depends how the others are read.
    pub(super) fn take_first(&mut self, name: &str) -> Result<String, ManifestError> {
        match self.left.remove(name) {
            Some(node) => String::read(&self.path_of(name), node),
            None => Err(self.missing(name)),
        }
    }

    /// Refuses the first value that is wrong, else what nobody took, else what is missing: a misspelt name
    /// makes an unknown field and a missing one.
    pub(super) fn finish(self) -> Result<(), ManifestError> {
        let unknown = self
            .left
            .first_key_value()
            .map(|(name, node)| at(self.path_of(name), format!("no such field (line {})", node.line)));
        match self.wrong.or(unknown).or(self.missing) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn missing(&self, name: &str) -> ManifestError {
        match self.path.is_empty() {
            true => at(name, "is missing"),
            false => at(self.path.clone(), format!("field {name} is missing")),
        }
    }

    fn path_of(&self, name: &str) -> String {
        match self.path.is_empty() {
            true => name.to_owned(),
            false => format!("{}.{name}", self.path),
        }
    }
}

/// Declares structures of a manifest, each field with its name there, and how they are read.
macro_rules! manifest_fields {
    ($($(#[$meta:meta])* struct $name:ident { $($field:ident: $type:ty = $key:literal,)* })*) => {$(
        $(#[$meta])*
        pub(super) struct $name {
            $(pub(super) $field: $type,)*
        }

        impl Read for $name {
            fn read(path: &str, node: Node) -> Result<Self, ManifestError> {
                let mut fields = Fields::of(path, node)?;
                $(let $field = fields.take($key);)*
                fields.finish()?;
                Ok(Self { $($field: $field.expect(IS_THERE),)* })
            }
        }
    )*};
}
pub(super) use manifest_fields;

/// Why a field that was taken can be used once [`Fields::finish`] had nothing to say.
pub(super) const IS_THERE: &str = "finish refuses what is wrong or missing";

/// A value of which only the presence matters.
pub(super) struct Anything;

impl Read for Anything {
    fn read(_: &str, _: Node) -> Result<Self, ManifestError> {
        Ok(Anything)
    }
}

impl Read for String {
    fn read(path: &str, node: Node) -> Result<Self, ManifestError> {
        match node.value {
            Value::Scalar(text) => Ok(text),
            _ => Err(wrong_type(path, &node, "a text")),
        }
    }
}

impl Read for bool {
    /// The words of YAML 1.1, which authors still use.
    fn read(path: &str, node: Node) -> Result<Self, ManifestError> {
        parsed(path, &node, "true or false", |text| match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "y" | "on" => Some(true),
            "false" | "no" | "n" | "off" => Some(false),
            _ => None,
        })
    }

    fn absent() -> Option<Self> {
        Some(false)
    }
}

impl Read for i64 {
    /// YAML 1.2.2 10.3.2: decimal with a sign, `0o` octal, `0x` hexadecimal.
    fn read(path: &str, node: Node) -> Result<Self, ManifestError> {
        parsed(path, &node, "a whole number", |text| {
            match (text.strip_prefix("0o"), text.strip_prefix("0x")) {
                (Some(octal), _) => i64::from_str_radix(octal, 8).ok(),
                (_, Some(hexadecimal)) => i64::from_str_radix(hexadecimal, 16).ok(),
                _ => text.parse().ok(),
            }
        })
    }
}

impl Read for u16 {
    fn read(path: &str, node: Node) -> Result<Self, ManifestError> {
        parsed(path, &node, "a number from 0 to 65535", |text| text.parse().ok())
    }
}

impl Read for f64 {
    fn read(path: &str, node: Node) -> Result<Self, ManifestError> {
        parsed(path, &node, "a number", |text| text.parse().ok())
    }
}

impl<T: Read> Read for Option<T> {
    fn read(path: &str, node: Node) -> Result<Self, ManifestError> {
        T::read(path, node).map(Some)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl<T: Read> Read for Vec<T> {
    fn read(path: &str, node: Node) -> Result<Self, ManifestError> {
        match node.value {
            Value::List(items) => items
                .into_iter()
                .enumerate()
                .map(|(index, item)| present(&format!("{path}[{index}]"), item))
                .collect(),
            _ => Err(wrong_type(path, &node, "a list")),
        }
    }

    fn absent() -> Option<Self> {
        Some(Vec::new())
    }
}

impl<T: Read> Read for BTreeMap<String, T> {
    fn read(path: &str, node: Node) -> Result<Self, ManifestError> {
        Fields::of(path, node)?
            .left
            .into_iter()
            .map(|(key, item)| Ok((key.clone(), present(&format!("{path}.{key}"), item)?)))
            .collect()
    }

    fn absent() -> Option<Self> {
        Some(BTreeMap::new())
    }
}

/// Reads an element of a collection, which cannot be absent.
fn present<T: Read>(path: &str, node: Node) -> Result<T, ManifestError> {
    match node.value {
        Value::Null => Err(wrong_type(path, &node, "something")),
        _ => T::read(path, node),
    }
}

fn parsed<T>(
    path: &str,
    node: &Node,
    wanted: &str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T, ManifestError> {
    let value = match &node.value {
        Value::Scalar(text) => parse(text),
        _ => None,
    };
    value.ok_or_else(|| wrong_type(path, node, wanted))
}

fn wrong_type(path: &str, node: &Node, wanted: &str) -> ManifestError {
    let found = match &node.value {
        Value::Null => "nothing".to_owned(),
        Value::Scalar(text) => format!("{:?}", text.chars().take(40).collect::<String>()),
        Value::List(_) => "a list".to_owned(),
        Value::Map(_) => "a mapping".to_owned(),
    };
    at(path, format!("must be {wanted}, not {found} (line {})", node.line))
}
