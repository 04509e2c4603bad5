//! Errors of encoding. They are bugs of this program: a document is put together from texts and numbers.

/// A document could not be encoded.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// A value has no form in JSON.
    #[error("a value has no form in JSON; please report this bug: {0}")]
    Value(#[from] serde_json::Error),
    /// The document is not UTF-8.
    #[error("a document is not UTF-8; please report this bug: {0}")]
    Text(#[from] std::string::FromUtf8Error),
    /// A document does not end between two characters.
    #[error("a document ends within a character; please report this bug")]
    Boundary,
}
