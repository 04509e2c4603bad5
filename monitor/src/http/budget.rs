//! The bytes of all answers under way, which slow clients must not add up.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use axum::body::Body;
use hyper::StatusCode;
use hyper::body::{self, Bytes, Frame, SizeHint};

use super::problem::Problem;

/// The bytes of all answers together; an answer that many clients share counts once.
const BYTES: usize = 16 << 20;
/// The length of a part of an answer: a connection holds its answer until the last part is being written.
const PART: usize = 64 << 10;

/// Counts the bytes of answers from when they are made until the last client has them.
#[derive(Debug, Default)]
pub(super) struct Budget {
    used: AtomicUsize,
}

impl Budget {
    /// Counts an answer.
    ///
    /// # Errors
    /// When others have not been read yet.
    pub(super) fn hold(self: &Arc<Self>, text: impl Into<Vec<u8>>) -> Result<Bytes, Problem> {
        let text = text.into();
        let used = self.used.fetch_add(text.len(), Ordering::Relaxed);
        let held = Held { text, budget: Arc::clone(self) };
        // The report of a large fleet may be longer than all answers should be.
        if used + held.text.len() > BYTES.max(2 * held.text.len()) {
            let detail = "clients read the answers that are under way too slowly; try again later";
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail));
        }
        Ok(Bytes::from_owner(held))
    }
}

/// An answer that is counted.
struct Held {
    text: Vec<u8>,
    budget: Arc<Budget>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.text
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.text.len(), Ordering::Relaxed);
    }
}

/// A body of known length that is handed over in parts.
pub(super) fn in_parts(bytes: Bytes) -> Body {
    Body::new(Parts(bytes))
}

struct Parts(Bytes);

impl body::Body for Parts {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let length = self.0.len().min(PART);
        let part = self.0.split_to(length);
        Poll::Ready((length > 0).then_some(Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_until_its_last_reader_has_it() {
        let budget = Arc::new(Budget::default());
        let first = budget.hold(vec![0; BYTES / 2]).unwrap();
        let shared = first.slice(7..9);
        let second = budget.hold(vec![0; BYTES / 2]).unwrap();
        assert!(budget.hold(vec![0; 1]).is_err());
        drop(first);
        assert!(budget.hold(vec![0; 1]).is_err(), "another client reads it");
        drop(shared);
        assert!(budget.hold(vec![0; 1]).is_ok());
        drop(second);
        let huge = budget.hold(vec![0; 3 * BYTES]).unwrap();
        assert!(budget.hold(vec![0; 1]).is_err());
        drop(huge);
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_body_in_parts_has_its_length_and_all_its_bytes() {
        let text: Vec<u8> = (0..200_000u32).map(|number| number.to_le_bytes()[0]).collect();
        let body = in_parts(text.clone().into());
        assert_eq!(body::Body::size_hint(&body).exact(), Some(200_000));
        assert_eq!(axum::body::to_bytes(body, usize::MAX).await.unwrap(), text);
    }
}
