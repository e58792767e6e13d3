//! Every failure becomes one Python exception carrying a code of `amanat.errors`, here and only here.

use openmls::framing::errors::{MessageDecryptionError, SecretTreeError};
use openmls::prelude::*;
use pyo3::{PyErr, create_exception, exceptions::PyException};

create_exception!(
    _mls,
    MlsError,
    PyException,
    "A refusal: (code of amanat.errors, detail for the person at this machine)."
);

/// The codes of `amanat.errors` that this crate uses.
pub mod code {
    pub const BAD_ARGUMENT: &str = "bad-argument";
    pub const ENGINE_FAILED: &str = "engine-failed";
    pub const FUTURE_EPOCH: &str = "future-epoch";
    pub const INVALID_COMMIT: &str = "invalid-commit";
    pub const INVALID_CREDENTIAL: &str = "invalid-credential";
    pub const INVALID_KEY_PACKAGE: &str = "invalid-key-package";
    pub const INVALID_MESSAGE: &str = "invalid-message";
    pub const INVALID_WELCOME: &str = "invalid-welcome";
    pub const NOT_A_MEMBER: &str = "not-a-member";
    pub const OWN_MESSAGE: &str = "own-message";
    pub const PENDING_COMMIT: &str = "pending-commit";
    pub const REUSED_SECRET: &str = "reused-secret";
    pub const TOO_OLD: &str = "too-old";
    pub const VAULT_DAMAGED: &str = "vault-damaged";
    pub const WRONG_EPOCH: &str = "wrong-epoch";
}

/// Why a call was refused.
///
/// Details are fixed sentences: never bytes from the input, never a library's own text.
#[derive(Debug)]
pub struct Refusal {
    pub code: &'static str,
    pub detail: &'static str,
}

pub type Outcome<T> = Result<T, Refusal>;

pub const fn refuse(code: &'static str, detail: &'static str) -> Refusal {
    Refusal { code, detail }
}

impl From<Refusal> for PyErr {
    fn from(refusal: Refusal) -> Self {
        MlsError::new_err((refusal.code, refusal.detail))
    }
}

/// What a failed `process_message` means to the caller.
///
/// A `LibraryError` is an invalid message too: input can reach some of them, the call is rolled
/// back either way, and a stranger must not be able to make an engine declare itself failed.
pub fn of_processing<E>(error: ProcessMessageError<E>) -> Refusal {
    use MessageDecryptionError::SecretTreeError as Ratchet;
    match error {
        // Its signature has been verified by then: our own key made it.
        ProcessMessageError::InvalidCommit(StageCommitError::OwnCommitMismatch) => {
            refuse(code::OWN_MESSAGE, "")
        }
        ProcessMessageError::InvalidCommit(_) => {
            refuse(code::INVALID_COMMIT, "it does not fit this group")
        }
        ProcessMessageError::GroupStateError(_) => refuse(code::NOT_A_MEMBER, ""),
        ProcessMessageError::ValidationError(error) => match error {
            ValidationError::WrongEpoch => refuse(code::WRONG_EPOCH, ""),
            ValidationError::NoPastEpochData
            | ValidationError::UnableToDecrypt(Ratchet(SecretTreeError::TooDistantInThePast)) => {
                refuse(code::TOO_OLD, "")
            }
            ValidationError::UnableToDecrypt(Ratchet(SecretTreeError::SecretReuseError)) => {
                refuse(code::REUSED_SECRET, "")
            }
            _ => refuse(code::INVALID_MESSAGE, "it does not decrypt or verify"),
        },
        _ => refuse(code::INVALID_MESSAGE, "it cannot be processed"),
    }
}

/// What a failure of our own state means: nothing the other side sent can cause it.
pub fn engine_failed<E>(_: E) -> Refusal {
    refuse(code::ENGINE_FAILED, "the state of a group is inconsistent")
}
