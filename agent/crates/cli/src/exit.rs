//! How a command ends when it does not end well.

use edgelet_api::client::ClientError;
use edgelet_api::error::Code;
use edgelet_api::wire::ErrorBody;
use edgelet_types::{Reason, Remedy};

/// Success.
pub const SUCCESS: u8 = 0;
/// Internal, and everything that has no number of its own.
pub const INTERNAL: u8 = 1;
/// The request is wrong.
pub const INVALID_ARGUMENT: u8 = 2;
/// Not allowed.
pub const FORBIDDEN: u8 = 3;
/// No such thing.
pub const NOT_FOUND: u8 = 4;
/// Conflicts with what is.
pub const CONFLICT: u8 = 5;
/// This version does not do it.
pub const NOT_IMPLEMENTED: u8 = 6;
/// The daemon cannot be reached.
pub const DAEMON_UNAVAILABLE: u8 = 10;

/// Why a command failed: for people, for scripts, and for the shell.
#[derive(Debug)]
pub(crate) struct Failure {
    /// A code of the API; the reason, where the API has no word for it; or `DAEMON_UNAVAILABLE`.
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) remedy: Remedy,
    /// What to do, when it is more than the remedy says.
    pub(crate) hint: Option<String>,
}

impl Failure {
    /// A failure on this side of the socket.
    pub(crate) fn local(code: Code, message: impl Into<String>) -> Self {
        Self {
            code: code.as_str().to_owned(),
            message: message.into(),
            remedy: usual_remedy(Some(code)),
            hint: None,
        }
    }

    /// What the daemon said.
    pub(crate) fn api(body: ErrorBody) -> Self {
        let code = Code::parse(&body.code);
        let reason = body.details.as_ref().and_then(|details| word::<Reason>(&details.reason));
        let said = body.details.and_then(|details| word::<Remedy>(&details.remedy));
        let remedy = said.unwrap_or_else(|| usual_remedy(code));
        let hint = match (code, reason, remedy) {
            (Some(Code::ExecStartTimeout), ..) => {
                Some("try again, then look at the logs of the microservice and of the daemon")
            }
            (_, Some(Reason::NoSpace), _) => {
                Some("make room where a disk is full; `edgelet image prune` removes images that nothing uses")
            }
            // Nobody repeats a request but who made it.
            (.., Remedy::RetryLater) => Some("try again later"),
            _ => None,
        };
        let code = match (code, reason) {
            (Some(Code::Internal), Some(reason)) => reason.code().to_owned(),
            _ => body.code,
        };
        Self { code, message: body.message, remedy, hint: hint.map(str::to_owned) }
    }

    /// Unlike a request, what is wanted stays wanted: nobody has to repeat it.
    pub(crate) fn goes_on(mut self) -> Self {
        self.hint = match self.remedy {
            Remedy::RetryLater => Some("the node goes on trying; see `edgelet ms inspect`".to_owned()),
            remedy => Some(format!("{}; the node goes on trying", remedy.advice())),
        };
        self
    }

    /// With who must act by the daemon's word for the reason.
    pub(crate) fn because_of(mut self, reason: &str) -> Self {
        if let Some(reason) = word::<Reason>(reason) {
            self.remedy = reason.remedy();
        }
        self
    }

    /// Puts what was being done in front.
    pub(crate) fn context(mut self, doing: &str) -> Self {
        self.message = format!("{doing}: {}", self.message);
        self
    }

    /// The number for the shell.
    pub(crate) fn exit(&self) -> u8 {
        match Code::parse(&self.code) {
            Some(Code::InvalidArgument) => INVALID_ARGUMENT,
            Some(Code::Unauthorized | Code::Forbidden) => FORBIDDEN,
            Some(Code::NotFound) => NOT_FOUND,
            Some(Code::Conflict) => CONFLICT,
            Some(Code::NotImplemented) => NOT_IMPLEMENTED,
            None if self.code == UNAVAILABLE => DAEMON_UNAVAILABLE,
            _ => INTERNAL,
        }
    }
}

/// A word of ours on the wire; a newer daemon may have others.
fn word<T: serde::de::DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_value(serde_json::Value::String(text.to_owned())).ok()
}

/// The one code that no daemon sends.
const UNAVAILABLE: &str = "DAEMON_UNAVAILABLE";

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let message = error.to_string();
        match error {
            ClientError::Api(body) => Failure::api(body),
            ClientError::Unreachable { source, .. } => Self {
                code: UNAVAILABLE.to_owned(),
                message,
                remedy: Remedy::NeedsPerson,
                hint: Some(unreachable_hint(&source).to_owned()),
            },
            ClientError::Timeout => Failure::local(Code::TimedOut, message),
            ClientError::Broken(_) => Failure::local(Code::Unavailable, message),
            _ => Failure::local(Code::Internal, message),
        }
    }
}

fn unreachable_hint(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => "only root may use the socket; try with sudo",
        std::io::ErrorKind::WouldBlock => "the daemon does not accept connections; look at its log",
        _ => "start it with `systemctl start edgelet`, or `edgelet daemon` in the foreground",
    }
}

/// Who must act when the daemon does not say.
fn usual_remedy(code: Option<Code>) -> Remedy {
    match code {
        Some(
            Code::InvalidArgument
            | Code::NotFound
            | Code::MethodNotAllowed
            | Code::Conflict
            | Code::PayloadTooLarge
            | Code::NotImplemented,
        ) => Remedy::NeedsInput,
        Some(Code::Unauthorized | Code::Forbidden | Code::ExecStartTimeout) => Remedy::NeedsPerson,
        Some(Code::RequestTimeout | Code::Unavailable | Code::TimedOut) => Remedy::RetryLater,
        _ => Remedy::Bug,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_stands_for_the_code_that_says_nothing() {
        let told =
            |body: serde_json::Value| Failure::api(serde_json::from_value(body).expect("an error body"));
        let full = told(serde_json::json!({"code": "INTERNAL", "message": "no room",
            "details": {"reason": "NO_SPACE", "remedy": "needs-person"}}));
        assert_eq!(
            (full.code.as_str(), full.exit(), full.remedy),
            ("NO_SPACE", INTERNAL, Remedy::NeedsPerson)
        );
        let missing = told(serde_json::json!({"code": "NOT_FOUND", "message": "no such image",
            "details": {"reason": "IMAGE_NOT_FOUND", "remedy": "needs-input"}}));
        assert_eq!((missing.code.as_str(), missing.exit()), ("NOT_FOUND", NOT_FOUND));
        let newer = told(serde_json::json!({"code": "INTERNAL", "message": "?",
            "details": {"reason": "FROM_THE_FUTURE", "remedy": "retry-later"}}));
        assert_eq!((newer.code.as_str(), newer.remedy), ("INTERNAL", Remedy::RetryLater));
    }
}
