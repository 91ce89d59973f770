//! Error codes: which there are, and which reason becomes which.

use crate::wire::{Details, ErrorBody};
use edgelet_types::{Fault, Reason, Remedy};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $status:literal;)*) => {
        /// A stable error code of the API.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Code {
            $($(#[$doc])* $name,)*
        }

        impl Code {
            /// Reads a code; `None` for one of a newer daemon.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Code::$name),)* _ => None }
            }

            /// The code as it is sent.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$name => $text,)* }
            }

            /// The HTTP status that goes with it.
            pub fn http_status(self) -> u16 {
                match self { $(Code::$name => $status,)* }
            }
        }
    };
}

codes! {
    /// The request is wrong.
    InvalidArgument = "INVALID_ARGUMENT", 400;
    /// The caller did not say who it is.
    Unauthorized = "UNAUTHORIZED", 401;
    /// The caller may not do this.
    Forbidden = "FORBIDDEN", 403;
    /// No such thing, or no such route.
    NotFound = "NOT_FOUND", 404;
    /// The route has other methods.
    MethodNotAllowed = "METHOD_NOT_ALLOWED", 405;
    /// The caller took too long to send its request.
    RequestTimeout = "REQUEST_TIMEOUT", 408;
    /// What is asked conflicts with what is.
    Conflict = "CONFLICT", 409;
    /// The body is larger than any honest one.
    PayloadTooLarge = "PAYLOAD_TOO_LARGE", 413;
    /// An invariant is broken, or the world did not cooperate; the details say which.
    Internal = "INTERNAL", 500;
    /// This version does not do it.
    NotImplemented = "NOT_IMPLEMENTED", 501;
    /// Too many are asking, or the daemon is stopping.
    Unavailable = "UNAVAILABLE", 503;
    /// The work took longer than its limit.
    TimedOut = "TIMED_OUT", 504;
    /// The program of an exec session did not start in time.
    ExecStartTimeout = "EXEC_START_TIMEOUT", 504;
}

/// An error on its way to the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: Code,
    pub(crate) message: String,
    pub(crate) reason: Option<Reason>,
}

impl Refusal {
    /// An error of the API itself.
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), reason: None }
    }

    /// What is sent, without the request's id.
    pub(crate) fn body(&self) -> ErrorBody {
        ErrorBody {
            code: self.code.as_str().to_owned(),
            message: self.message.clone(),
            details: self.reason.map(|reason| Details {
                reason: reason.code().to_owned(),
                remedy: remedy_word(reason.remedy()).to_owned(),
            }),
            request_id: None,
        }
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self { code: code_of(fault.reason), message: fault.message, reason: Some(fault.reason) }
    }
}

/// Which code tells of a reason. What the API has no word for is `INTERNAL`, and the details name it.
fn code_of(reason: Reason) -> Code {
    match reason {
        Reason::InvalidInput | Reason::ImagePlatform | Reason::ImageInvalid => Code::InvalidArgument,
        Reason::NotSupported => Code::NotImplemented,
        Reason::NotFound | Reason::ImageNotFound => Code::NotFound,
        Reason::Conflict | Reason::Cancelled => Code::Conflict,
        Reason::Forbidden => Code::Forbidden,
        Reason::TimedOut => Code::TimedOut,
        Reason::ShuttingDown => Code::Unavailable,
        _ => Code::Internal,
    }
}

fn remedy_word(remedy: Remedy) -> &'static str {
    match remedy {
        Remedy::RetryLater => "retry-later",
        Remedy::NeedsInput => "needs-input",
        Remedy::NeedsPerson => "needs-person",
        Remedy::Bug => "bug",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_back() {
        for code in [Code::InvalidArgument, Code::ExecStartTimeout, Code::Internal] {
            assert_eq!(Code::parse(code.as_str()), Some(code));
        }
        assert_eq!(Code::parse("FROM_THE_FUTURE"), None);
    }

    #[test]
    fn remedies_are_the_words_of_the_type() {
        for remedy in [Remedy::RetryLater, Remedy::NeedsInput, Remedy::NeedsPerson, Remedy::Bug] {
            let word = serde_json::to_value(remedy).expect("a unit variant");
            assert_eq!(word, remedy_word(remedy));
        }
    }
}
