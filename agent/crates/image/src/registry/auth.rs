//! Getting permission: basic authentication, and tokens from a token service (distribution,
//! "Token Authentication Specification").

use super::challenge::{self, Challenge};
use super::error::{self, RegistryError, cause_of};
use super::{Client, read_limited};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use edgelet_types::config::{Registry, Secret};
use edgelet_types::limits;
use serde::Deserialize;
use ureq::http::{Uri, header};

/// A user name and password from the configuration.
pub(super) struct Credentials {
    username: String,
    password: Secret,
}

impl Credentials {
    /// `None` without a user name.
    pub(super) fn of(config: &Registry) -> Option<Self> {
        let username = config.username.clone()?;
        Some(Self { username, password: config.password.clone().unwrap_or_default() })
    }

    /// RFC 7617.
    fn basic(&self) -> Authorization {
        let pair = format!("{}:{}", self.username, self.password.expose());
        Authorization(Secret::new(format!("Basic {}", BASE64.encode(pair))))
    }
}

/// The value of an `Authorization` header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Authorization(Secret);

impl Authorization {
    pub(super) fn header(&self) -> &str {
        self.0.expose()
    }
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<Secret>,
    /// The same, by its OAuth 2 name.
    access_token: Option<Secret>,
}

impl Client {
    /// Finds an answer to what the registry wants. `refused` is what it has just not accepted: a token
    /// that may have run out is renewed, a password that was refused is not sent again.
    pub(super) fn authorize(
        &self,
        headers: &[String],
        refused: Option<&Authorization>,
    ) -> Result<Authorization, RegistryError> {
        let challenges: Vec<Challenge> = headers.iter().flat_map(|value| challenge::parse(value)).collect();
        let bearer = challenges.iter().find_map(|challenge| match challenge {
            Challenge::Bearer { realm, service, scope } => Some((realm, service, scope)),
            Challenge::Basic => None,
        });
        if let Some((realm, service, scope)) = bearer {
            return self.token(realm, service.as_deref(), scope.as_deref());
        }
        let denied = |text: &str| RegistryError::Denied(text.to_owned());
        if !challenges.contains(&Challenge::Basic) {
            return Err(denied("the registry does not say how to authenticate"));
        }
        let credentials = self.credentials.as_ref().ok_or_else(|| denied("no credentials are configured"))?;
        match credentials.basic() {
            basic if Some(&basic) == refused => Err(denied("user name or password are wrong")),
            basic => Ok(basic),
        }
    }

    /// Asks the token service that the registry names. It is not followed anywhere else.
    fn token(
        &self,
        realm: &str,
        service: Option<&str>,
        scope: Option<&str>,
    ) -> Result<Authorization, RegistryError> {
        let default_scope = format!("repository:{}:pull", self.repository);
        let mut parameters = vec![("scope", scope.unwrap_or(&default_scope))];
        parameters.extend(service.map(|service| ("service", service)));
        let uri = token_uri(realm, &parameters, self.insecure)?;
        let mut request = self.agent.get(uri.clone());
        if let Some(credentials) = &self.credentials {
            request = request.header(header::AUTHORIZATION, credentials.basic().header());
        }
        let response = error::expect_ok(request.call().map_err(|error| cause_of(error, &uri))?)?;
        let bytes = read_limited(response.into_body(), limits::TOKEN_BYTES, "a token")?;
        let answer: TokenAnswer = serde_json::from_slice(&bytes)
            .map_err(|error| RegistryError::Protocol(format!("token service: {error}")))?;
        match answer.token.or(answer.access_token).filter(|token| is_token(token.expose())) {
            Some(token) => Ok(Authorization(Secret::new(format!("Bearer {}", token.expose())))),
            None => Err(RegistryError::Protocol("token service: no token".to_owned())),
        }
    }
}

/// The address of a token request. Credentials travel in it, so it must be encrypted unless a person said
/// that this registry is not.
fn token_uri(realm: &str, parameters: &[(&str, &str)], insecure: bool) -> Result<Uri, RegistryError> {
    let refused = || RegistryError::TokenService(realm.chars().take(200).collect());
    let query: Vec<String> =
        parameters.iter().map(|(key, value)| format!("{key}={}", percent_encoded(value))).collect();
    let separator = if realm.contains('?') { '&' } else { '?' };
    let uri: Uri = format!("{realm}{separator}{}", query.join("&")).parse().map_err(|_| refused())?;
    match (uri.scheme_str(), insecure) {
        (Some("https"), _) | (Some("http"), true) if uri.authority().is_some() => Ok(uri),
        _ => Err(refused()),
    }
}

/// RFC 3986 2.1, with everything but unreserved characters encoded.
fn percent_encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

/// What can stand in a header (RFC 6750 2.1, more widely: tokens of real services have other characters).
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_services_are_asked_by_https_unless_told_otherwise() {
        let parameters = [("scope", "repository:a/b:pull"), ("service", "r x")];
        let ask = |realm: &str, insecure| token_uri(realm, &parameters, insecure).map(|uri| uri.to_string());
        let query = "scope=repository%3Aa%2Fb%3Apull&service=r%20x";
        assert_eq!(
            ask("https://t.example/token", false).ok(),
            Some(format!("https://t.example/token?{query}"))
        );
        assert_eq!(
            ask("https://t.example/?a=b", false).ok(),
            Some(format!("https://t.example/?a=b&{query}"))
        );
        assert!(matches!(ask("http://t.example/", false), Err(RegistryError::TokenService(_))));
        assert!(ask("http://t.example/", true).is_ok());
        for bad in ["", "/token", "ftp://t.example/", "https://"] {
            assert!(ask(bad, true).is_err(), "{bad}");
        }
    }
}
