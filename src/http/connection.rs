//! One connection: how long the other side may take with anything.
//!
//! hyper ends connections whose request heads take too long, and [`Impatient`] those that do not read: an answer or an event must have been
//! taken as a whole within [`TAKEN_WITHIN`], however slowly or quickly its parts are.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use crate::http::{HEAD_WITHIN, MAX_FIELDS, MAX_HEAD, Site, TAKEN_WITHIN, routes};

/// Answers requests until the other side has gone, is too slow, or writes what is no HTTP.
pub(super) async fn serve(stream: TcpStream, from: IpAddr, site: Arc<Site>) {
    // Where it cannot be set, events come a little later.
    stream.set_nodelay(true).ok();
    let answer = |request| {
        let site = Arc::clone(&site);
        async move { Ok::<_, Infallible>(routes::answer(request, from, &site).await) }
    };
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN).max_buf_size(MAX_HEAD).max_headers(MAX_FIELDS);
    // An error is the other side's; a client that has gone needs no answer, and hyper has answered the rest.
    server.serve_connection(TokioIo::new(Impatient::new(stream, TAKEN_WITHIN)), service_fn(answer)).await.ok();
}

/// A stream whose reader must keep up.
struct Impatient<S> {
    stream: S,
    /// How long what was written may wait for its reader.
    within: Duration,
    /// From the first byte that waits until all have been taken.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<S> Impatient<S> {
    fn new(stream: S, within: Duration) -> Self {
        Self { stream, within, deadline: None }
    }

    /// What a write that has to wait comes to.
    fn waiting<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        let within = self.within;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(within)));
        deadline.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(cx, bytes) {
            Poll::Pending => self.waiting(cx),
            ready => ready,
        }
    }

    /// Called when nothing waits any more.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.deadline = None;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::Full;
    use hyper::Response;
    use hyper::body::Bytes;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    /// What fits between the two sides while nobody reads.
    const BETWEEN: usize = 64;
    const SHORT: Duration = Duration::from_millis(100);
    const LONG: Duration = Duration::from_secs(3600);

    /// A connection that is asked once, answers with much, and has so much time for it: its other side, and how it ends.
    fn asked(within: Duration) -> (DuplexStream, impl Future<Output = hyper::Result<()>>) {
        let (ours, theirs) = duplex(BETWEEN);
        let answer = |_| async { Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(vec![b'x'; 100_000])))) };
        let io = TokioIo::new(Impatient::new(ours, within));
        (theirs, http1::Builder::new().serve_connection(io, service_fn(answer)))
    }

    const ASK: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

    fn is_late(ended: hyper::Result<()>) -> bool {
        let error = ended.unwrap_err();
        let cause = std::error::Error::source(&error).and_then(|cause| cause.downcast_ref::<io::Error>());
        cause.is_some_and(|cause| cause.kind() == io::ErrorKind::TimedOut)
    }

    #[tokio::test]
    async fn who_does_not_read_an_answer_is_cut_when_the_time_for_it_is_over() {
        let (mut theirs, ended) = asked(SHORT);
        theirs.write_all(ASK).await.unwrap();
        let began = std::time::Instant::now();
        assert!(is_late(ended.await));
        assert!(began.elapsed() >= SHORT);
    }

    /// The time is for the whole of it: one who takes a byte now and then would keep a place for ever.
    #[tokio::test]
    async fn who_reads_an_answer_byte_by_byte_is_cut_as_well() {
        let (mut theirs, ended) = asked(SHORT);
        theirs.write_all(ASK).await.unwrap();
        let reading = async move {
            let mut taken = 0;
            while theirs.read_u8().await.is_ok() {
                taken += 1;
                sleep(SHORT / 20).await;
            }
            taken
        };
        let (ended, taken) = tokio::join!(ended, reading);
        assert!(is_late(ended));
        // All that was between, and what was taken meanwhile.
        assert!((1..100_000).contains(&taken), "{taken}");
    }

    #[tokio::test]
    async fn who_reads_all_of_it_has_the_whole_time_again_for_the_next() {
        let (mut theirs, ended) = asked(LONG);
        theirs.write_all(ASK).await.unwrap();
        let mut all = Vec::new();
        let (ended, _) = tokio::join!(ended, theirs.read_to_end(&mut all));
        ended.unwrap();
        assert!(all.ends_with(b"xxxx") && all.len() > 100_000, "{}", all.len());
        let (ours, mut theirs) = duplex(BETWEEN);
        let mut ours = Impatient::new(ours, LONG);
        let write = async {
            ours.write_all(&[1; 3 * BETWEEN]).await.unwrap();
            assert!(ours.deadline.is_some(), "it had to wait");
            ours.flush().await.unwrap();
            ours.deadline.is_none()
        };
        let mut read = [0; 3 * BETWEEN];
        let (is_over, _) = tokio::join!(write, theirs.read_exact(&mut read));
        assert!(is_over);
    }
}
