//! A connection whose answers are bounded, for the client library to read from.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::answers::{Filter, Limits, ReplyError};
use crate::mutex::lock;

/// The bytes that are read at once.
const PIECE: usize = 16 << 10;

/// State that the two halves of a connection share: the pipelines that were begun, and the last error of the server.
#[derive(Debug, Default)]
pub(super) struct Meter {
    pipelines: AtomicU64,
    last_error: Mutex<Option<String>>,
    reply_error: Mutex<Option<ReplyError>>,
}

impl Meter {
    /// A pipeline begins.
    pub(super) fn begin(&self) {
        self.pipelines.fetch_add(1, Ordering::Relaxed);
    }

    /// The latest error that the server has sent, asked or not.
    pub(super) fn last_error(&self) -> Option<String> {
        lock(&self.last_error).take()
    }

    /// Returns the limit that the answers exceeded, if the connection was ended for that.
    pub(super) fn reply_error(&self) -> Option<ReplyError> {
        *lock(&self.reply_error)
    }
}

/// A connection whose answers are bounded.
pub(super) struct Bounded<T> {
    stream: T,
    filter: Filter,
    meter: Arc<Meter>,
    /// The number of pipelines when the last bytes were read.
    pipelines: u64,
    piece: Box<[u8]>,
    /// Bytes that were judged, and the number of those that were handed on.
    kept: Vec<u8>,
    handed: usize,
}

impl<T> Bounded<T> {
    /// Bounds the answers to each pipeline.
    pub(super) fn new(stream: T, limits: Limits, meter: Arc<Meter>) -> Self {
        let piece = vec![0; PIECE].into_boxed_slice();
        Self { stream, filter: Filter::new(limits), meter, pipelines: 0, piece, kept: Vec::new(), handed: 0 }
    }

    /// Hands on what was kept, if there is anything.
    fn hand_on(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let kept = &self.kept[self.handed..];
        let length = kept.len().min(buf.remaining());
        buf.put_slice(&kept[..length]);
        self.handed += length;
        length > 0
    }
}

impl<T: AsyncRead + Unpin> Bounded<T> {
    /// Reads and judges the next bytes. Returns whether there are more.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut piece = ReadBuf::new(&mut self.piece);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut piece))?;
        let pipelines = self.meter.pipelines.load(Ordering::Relaxed);
        if pipelines != self.pipelines {
            self.pipelines = pipelines;
            self.filter.renew();
        }
        self.kept.clear();
        self.handed = 0;
        let judged = self.filter.push(piece.filled(), &mut self.kept);
        if let Some(words) = self.filter.last_error() {
            *lock(&self.meter.last_error) = Some(words);
        }
        if let Err(reply_error) = judged {
            *lock(&self.meter.reply_error) = Some(reply_error);
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, reply_error)));
        }
        Poll::Ready(Ok(!piece.filled().is_empty()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Bounded<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while !self.hand_on(buf) && buf.remaining() > 0 {
            if !ready!(self.poll_piece(cx))? {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Bounded<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_stream_hands_on_what_is_kept_and_ends_at_an_excess() {
        let (mut server, client) = tokio::io::duplex(1 << 20);
        let meter = Arc::new(Meter::default());
        let limits = Limits { bytes: 64, elements: 4 };
        let mut bounded = Bounded::new(client, limits, Arc::clone(&meter));
        for _ in 0..3 {
            meter.begin();
            server.write_all(b"+OK\r\n>1\r\n+news\r\n:7\r\n").await.unwrap();
            let mut answer = [0; 9];
            bounded.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"+OK\r\n:7\r\n");
        }
        server.write_all(b"-ERR a\r\n-ERR b\r\n-ERR c\r\n-ERR d\r\n").await.unwrap();
        let error = bounded.read_to_end(&mut Vec::new()).await.unwrap_err();
        assert!(error.to_string().contains("too large"), "{error}");
        assert_eq!(meter.reply_error(), Some(ReplyError::Size));
        assert_eq!(meter.last_error().as_deref(), Some("ERR a"));
    }
}
