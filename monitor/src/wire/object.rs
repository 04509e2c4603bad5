//! JSON objects that are being written.

use serde::Serialize;

use super::error::EncodeError;
use super::number::Shape;
use crate::cause::Cause;

/// An object that is being written.
pub(super) struct Object<'a>(pub(super) &'a mut Vec<u8>);

impl<'a> Object<'a> {
    /// Begins an object.
    pub(super) fn begin(text: &'a mut Vec<u8>) -> Self {
        text.push(b'{');
        Self(text)
    }

    /// Ends the object.
    pub(super) fn end(self) {
        self.0.push(b'}');
    }

    /// Writes a comma, unless the object is empty.
    pub(super) fn comma(&mut self) -> &mut Vec<u8> {
        if !matches!(self.0.last(), None | Some(b'{')) {
            self.0.push(b',');
        }
        self.0
    }

    fn key(&mut self, key: &str) -> &mut Vec<u8> {
        let text = self.comma();
        text.push(b'"');
        text.extend_from_slice(key.as_bytes());
        text.extend_from_slice(b"\":");
        text
    }

    /// An object under a key.
    pub(super) fn object(&mut self, key: &str) -> Object<'_> {
        Object::begin(self.key(key))
    }

    /// A value of any kind.
    pub(super) fn put(&mut self, key: &str, value: &impl Serialize) -> Result<&mut Self, EncodeError> {
        serde_json::to_writer(self.key(key), value)?;
        Ok(self)
    }

    /// A text that needs no escapes.
    pub(super) fn plain(&mut self, key: &str, value: &str) -> &mut Self {
        quote(self.key(key), value);
        self
    }

    /// The texts of causes, as a list.
    pub(super) fn causes(&mut self, key: &str, causes: &[&Cause]) -> Result<(), EncodeError> {
        let text = self.key(key);
        text.push(b'[');
        for (at, cause) in causes.iter().enumerate() {
            if at > 0 {
                text.push(b',');
            }
            if cause.is_plain() {
                quote(text, cause.as_str());
            } else {
                serde_json::to_writer(&mut *text, cause.as_str())?;
            }
        }
        text.push(b']');
        Ok(())
    }

    /// A number, or `null`.
    pub(super) fn number(&mut self, key: &str, number: Option<Shape>) -> Result<(), EncodeError> {
        match number {
            None => self.key(key).extend_from_slice(b"null"),
            Some(Shape::Whole(value)) => _ = self.put(key, &value)?,
            Some(Shape::Real(value)) => _ = self.put(key, &value)?,
        }
        Ok(())
    }
}

/// Writes a text that needs no escapes.
fn quote(text: &mut Vec<u8>, value: &str) {
    text.push(b'"');
    text.extend_from_slice(value.as_bytes());
    text.push(b'"');
}
