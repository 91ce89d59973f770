//! Splitting words into options and operands.

use std::collections::BTreeMap;

/// The options that a command knows, without dashes; single letters are given with one dash.
#[derive(Debug)]
pub(super) struct Known {
    /// Those that stand alone.
    pub(super) flags: &'static [&'static str],
    /// Those that take a value, as `--name value` or `--name=value`.
    pub(super) values: &'static [&'static str],
}

/// The words of a command, sorted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Arguments {
    options: BTreeMap<String, Vec<String>>,
    /// What is not an option, in order.
    pub(super) operands: Vec<String>,
}

/// Why the words make no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum UsageError {
    #[error("unknown option {0}")]
    Unknown(String),
    #[error("option {0} needs a value")]
    NoValue(String),
    #[error("{option} {value:?} is not valid")]
    Bad { option: String, value: String },
    #[error("{0} is not supported")]
    NotSupported(String),
    #[error("missing {0}")]
    Missing(&'static str),
    #[error("unexpected {0:?}")]
    Unexpected(String),
}

impl UsageError {
    pub(super) fn bad(option: &str, value: &str) -> Self {
        Self::Bad { option: option.to_owned(), value: value.to_owned() }
    }

    pub(super) fn not_supported(what: &str) -> Self {
        Self::NotSupported(what.to_owned())
    }
}

impl Arguments {
    /// Takes options and operands in any order; after `--` everything is an operand.
    pub(super) fn parse(words: &[String], known: &Known) -> Result<Self, UsageError> {
        let mut arguments = Self::default();
        let mut rest = words;
        while !rest.is_empty() {
            let (options, operands) = Self::leading(rest, known)?;
            for (name, values) in options.options {
                arguments.options.entry(name).or_default().extend(values);
            }
            if operands.len() < rest.len() && rest[rest.len() - operands.len() - 1] == "--" {
                arguments.operands.extend_from_slice(operands);
                break;
            }
            let Some((operand, after)) = operands.split_first() else { break };
            arguments.operands.push(operand.clone());
            rest = after;
        }
        Ok(arguments)
    }

    /// Takes options up to the first operand or past `--`; the rest is left to the caller.
    pub(super) fn leading<'a>(
        words: &'a [String],
        known: &Known,
    ) -> Result<(Self, &'a [String]), UsageError> {
        let mut arguments = Self::default();
        let mut at = 0;
        while let Some(word) = words.get(at) {
            let Some(name) = option_name(word) else { break };
            at += 1;
            if name.is_empty() {
                break;
            }
            let (name, attached) = match name.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (name, None),
            };
            let value = if known.values.contains(&name) {
                let value = attached.or_else(|| words.get(at).cloned().inspect(|_| at += 1));
                value.ok_or_else(|| UsageError::NoValue(word.clone()))?
            } else if known.flags.contains(&name) {
                attached.unwrap_or_else(|| "true".to_owned())
            } else {
                return Err(UsageError::Unknown(word.clone()));
            };
            arguments.options.entry(name.to_owned()).or_default().push(value);
        }
        Ok((arguments, &words[at..]))
    }

    /// Whether a flag was given, and not as `=false`.
    pub(super) fn has(&self, name: &str) -> bool {
        self.value(name).is_some_and(|value| value != "false")
    }

    /// The last value of an option.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.values(name).last().map(String::as_str)
    }

    /// The value of an option that has a long and a short name.
    pub(super) fn either(&self, long: &str, short: &str) -> Option<&str> {
        self.value(long).or_else(|| self.value(short))
    }

    /// Every value of an option, in order.
    pub(super) fn values(&self, name: &str) -> &[String] {
        self.options.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    /// A number, or what it is without the option.
    pub(super) fn number<T: std::str::FromStr>(&self, name: &str, otherwise: T) -> Result<T, UsageError> {
        let parse = |value: &str| value.parse().map_err(|_| UsageError::bad(&format!("--{name}"), value));
        self.value(name).map_or(Ok(otherwise), parse)
    }
}

/// `--` and a lone `-`: the former ends the options, the latter is an operand.
fn option_name(word: &str) -> Option<&str> {
    match word.strip_prefix("--") {
        Some(name) => Some(name),
        None => word.strip_prefix('-').filter(|name| !name.is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: Known = Known { flags: &["force", "f"], values: &["bundle", "b"] };

    fn parse(text: &str) -> Result<(Vec<String>, bool, Option<String>), UsageError> {
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        let arguments = Arguments::parse(&words, &KNOWN)?;
        let bundle = arguments.either("bundle", "b").map(str::to_owned);
        Ok((arguments.operands.clone(), arguments.has("force") || arguments.has("f"), bundle))
    }

    #[test]
    fn options_stand_before_or_after_operands() {
        let want = Ok((vec!["id".to_owned()], true, Some("x".to_owned())));
        for text in ["--force --bundle x id", "id -f -b x", "-b x id --force", "id --bundle=x --force=true"] {
            assert_eq!(parse(text), want, "{text}");
        }
        let after = Ok((vec!["id".to_owned(), "--force".to_owned(), "-".to_owned()], false, None));
        assert_eq!(parse("id -- --force -"), after);
        assert_eq!(parse("-- id --force -"), after);
    }

    #[test]
    fn what_is_not_known_is_an_error() {
        assert_eq!(parse("id --magic"), Err(UsageError::Unknown("--magic".to_owned())));
        assert_eq!(parse("id --bundle"), Err(UsageError::NoValue("--bundle".to_owned())));
        assert!(parse("id --force=false").is_ok_and(|(_, force, _)| !force));
    }
}
