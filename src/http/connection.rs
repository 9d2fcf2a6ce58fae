//! One connection: how long the other side may take with anything.
//!
//! hyper cuts heads that take too long, and [`Impatient`] what is not read: an answer or an event must have been taken as a whole within
//! [`TAKEN_WITHIN`], or the connection ends.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use crate::http::{HEAD_WITHIN, MAX_FIELDS, MAX_HEAD, Site, TAKEN_WITHIN, routes};

/// Answers requests until the other side has gone, is too slow, or writes what is no HTTP.
pub(super) async fn serve(stream: TcpStream, from: IpAddr, site: Arc<Site>) {
    // Only a delay would be the price.
    stream.set_nodelay(true).ok();
    let answer = |request| {
        let site = Arc::clone(&site);
        async move { Ok::<_, Infallible>(routes::answer(request, from, &site).await) }
    };
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN).max_buf_size(MAX_HEAD).max_headers(MAX_FIELDS);
    // An error is the other side's; whoever has gone needs no answer, and hyper has answered the rest.
    server.serve_connection(TokioIo::new(Impatient::new(stream)), service_fn(answer)).await.ok();
}

/// A stream whose reader must keep up.
struct Impatient {
    stream: TcpStream,
    /// From the first byte that waits until all have been taken.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Impatient {
    fn new(stream: TcpStream) -> Self {
        Self { stream, deadline: None }
    }

    /// What a write that has to wait comes to.
    fn waiting<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(TAKEN_WITHIN)));
        deadline.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Impatient {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Impatient {
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
