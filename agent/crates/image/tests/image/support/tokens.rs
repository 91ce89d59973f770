//! A token service that the real registry believes: RS256 tokens with the certificate in the header
//! (distribution, "Token Authentication Specification").

use super::run;
use super::scripted::{Reply, Request, Scripted};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A running token service.
pub(crate) struct TokenService {
    server: Scripted,
    directory: PathBuf,
}

impl TokenService {
    /// Leaves `token.pem` in `directory`, by which the registry believes the tokens. Whoever has the
    /// password gets whatever is asked for.
    pub(crate) fn start(directory: &Path, username: &str, password: &str) -> Self {
        let mut openssl = Command::new("openssl");
        openssl.current_dir(directory).args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30"]);
        run(openssl.args(["-keyout", "token.key", "-out", "token.pem", "-subj", "/CN=tokens"]));
        let basic = format!("Basic {}", STANDARD.encode(format!("{username}:{password}")));
        let (kept, directory) = (directory.to_owned(), directory.to_owned());
        let server = Scripted::listening(move |request| {
            Some(match request.headers.get("authorization") {
                Some(given) if *given == basic => {
                    Reply::ok(json!({"token": token(&directory, request)}).to_string())
                }
                _ => Reply::status(401, json!({"errors": [{"code": "DENIED"}]}).to_string()),
            })
        });
        Self { server, directory: kept }
    }

    /// The `auth:` part of a registry's configuration that makes it ask for these tokens.
    pub(crate) fn auth(&self) -> String {
        let (host, bundle) = (self.server.host(), self.directory.join("token.pem"));
        format!(
            "  token: {{realm: \"http://{host}/token\", service: the-registry, issuer: the-issuer, \
             rootcertbundle: {}}}",
            bundle.display()
        )
    }

    /// How many tokens were asked for.
    pub(crate) fn count(&self) -> usize {
        self.server.requests().len()
    }
}

fn token(directory: &Path, request: &Request) -> String {
    let query = request.path.split_once('?').map(|(_, query)| query).unwrap_or_default();
    let value = |name: &str| {
        let pair = query.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}=")));
        pair.unwrap_or_default().replace("%3A", ":").replace("%2F", "/").replace("%2C", ",")
    };
    let scope = value("scope");
    let parts: Vec<&str> = scope.split(':').collect();
    let access = match parts[..] {
        [kind, name, actions] => {
            let actions: Vec<&str> = actions.split(',').collect();
            json!([{"type": kind, "name": name, "actions": actions}])
        }
        _ => json!([]),
    };
    let pem = std::fs::read_to_string(directory.join("token.pem")).expect("certificate");
    let certificate: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let header = json!({"typ": "JWT", "alg": "RS256", "x5c": [certificate]});
    let now = std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_secs();
    let claims = json!({"iss": "the-issuer", "sub": "device", "aud": value("service"), "exp": now + 300,
        "nbf": now - 60, "iat": now, "jti": "1", "access": access});
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let text = format!("{}.{}", encode(header.to_string().as_bytes()), encode(claims.to_string().as_bytes()));
    format!("{text}.{}", encode(&signature(directory, &text)))
}

fn signature(directory: &Path, text: &str) -> Vec<u8> {
    let file: PathBuf =
        tempfile::NamedTempFile::new_in(directory).expect("file").into_temp_path().to_path_buf();
    super::write(&file, text);
    let mut openssl = Command::new("openssl");
    let signature =
        run(openssl.current_dir(directory).args(["dgst", "-sha256", "-sign", "token.key"]).arg(&file));
    std::fs::remove_file(&file).expect("remove");
    signature.stdout
}
