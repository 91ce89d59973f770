//! `WWW-Authenticate` (RFC 9110 11.6.1): what a registry wants to see.

/// One way to authenticate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// User name and password with each request.
    Basic,
    /// A token from a service (distribution token authentication).
    Bearer {
        /// Address of the service.
        realm: String,
        /// Which registry the token is for.
        service: Option<String>,
        /// What the token allows.
        scope: Option<String>,
    },
}

/// The challenges in one header value, in order. Schemes that we do not speak are left out, and so is what
/// cannot be parsed: the registry then refuses us, and says so better than we could.
pub(crate) fn parse(value: &str) -> Vec<Challenge> {
    let mut challenges = Vec::new();
    let mut rest = value.trim();
    while !rest.is_empty() {
        let Some((scheme, after)) = token(rest) else { break };
        let (params, after) = parameters(after);
        let find = |name: &str| {
            params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone())
        };
        if scheme.eq_ignore_ascii_case("basic") {
            challenges.push(Challenge::Basic);
        } else if scheme.eq_ignore_ascii_case("bearer")
            && let Some(realm) = find("realm")
        {
            challenges.push(Challenge::Bearer { realm, service: find("service"), scope: find("scope") });
        }
        // Always forward, whatever stands there.
        rest = if after.len() < rest.len() { after } else { break };
    }
    challenges
}

/// Reads `key=value` pairs up to the next scheme.
fn parameters(mut rest: &str) -> (Vec<(String, String)>, &str) {
    let mut params = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let Some((key, after)) = token(rest) else { return (params, rest) };
        let Some(after) = after.trim_start().strip_prefix('=') else {
            // A word without `=` is the next scheme.
            return (params, rest);
        };
        let Some((value, after)) = value(after.trim_start()) else { return (params, "") };
        params.push((key.to_owned(), value));
        rest = after;
    }
}

fn token(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)));
    let end = end.unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        return token(text).map(|(value, rest)| (value.to_owned(), rest));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Challenge::Bearer { realm: realm.to_owned(), service: owned(service), scope: owned(scope) }
    }

    #[test]
    fn challenges_as_registries_send_them() {
        let cases = [
            ("Basic realm=\"x\"", vec![Challenge::Basic]),
            ("bearer Realm=\"https://a/t\"", vec![bearer("https://a/t", None, None)]),
            (
                "Bearer realm=\"https://a/t\",service=\"r\",scope=\"repository:a/b:pull,push\"",
                vec![bearer("https://a/t", Some("r"), Some("repository:a/b:pull,push"))],
            ),
            (
                "Bearer realm=\"a\\\"b\" , service=r, Basic realm=x",
                vec![bearer("a\"b", Some("r"), None), Challenge::Basic],
            ),
            ("Negotiate, Basic", vec![Challenge::Basic]),
            ("Digest nonce=\"1\", Basic realm=\"y\"", vec![Challenge::Basic]),
            ("Bearer service=\"r\"", vec![]),
            ("Bearer realm=\"open", vec![]),
            ("", vec![]),
            (",,,=", vec![]),
        ];
        for (header, want) in cases {
            assert_eq!(parse(header), want, "{header}");
        }
    }
}
