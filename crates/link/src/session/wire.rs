//! The bytes of one connection, as the client library reads and writes them, with our own pings between its packets.
//!
//! The library pings only after it has sent nothing for a whole keep-alive, so a sensor at QoS 0 would keep it from ever
//! asking. PINGREQ is the one packet that every broker must answer and that changes nothing (section 3.12 in both
//! versions), so this wire sends one when it is asked to, but never inside a packet of the library. The library takes a
//! PINGRESP that it did not ask for. Nothing here knows how the bytes travel.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, ready};

use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::Protocol;
use fieldgate_clock::broker_heartbeat::BrokerHeartbeat;

/// MQTT 3.12 in both versions.
const PINGREQ: [u8; 2] = [0xC0, 0];

/// What a connection's wire shares with its owner, who cannot reach it below the library.
#[derive(Debug)]
pub(super) struct Line {
    heartbeat: Arc<BrokerHeartbeat>,
    /// The way to the broker stands, and MQTT begins.
    open: AtomicBool,
    /// The broker has accepted us.
    accepted: AtomicBool,
    /// What we speak.
    protocol: Protocol,
    /// The code of an answer to MQTT 5 that has the form of 3.1.1, and one; 0 while there is none.
    old_answer: AtomicU32,
    /// A ping is wanted.
    wanted: AtomicBool,
    reader: AtomicWaker,
}

impl Line {
    pub(super) fn new(heartbeat: Arc<BrokerHeartbeat>, protocol: Protocol) -> Self {
        let (open, accepted, wanted) = (AtomicBool::new(false), AtomicBool::new(false), AtomicBool::new(false));
        Self { heartbeat, open, accepted, protocol, old_answer: AtomicU32::new(0), wanted, reader: AtomicWaker::new() }
    }

    /// The way to the broker stands.
    pub(super) fn open(&self) {
        self.open.store(true, Ordering::Release);
    }

    /// Whether MQTT has begun, so that what ended the connection is the broker and not the way to it.
    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// The broker has accepted us. Before that nothing that it says counts: one that refuses us must not keep an output
    /// from its safe state.
    pub(super) fn accept(&self) {
        self.accepted.store(true, Ordering::Release);
        self.heartbeat.beat();
    }

    /// Whether the broker has accepted us.
    pub(super) fn is_accepted(&self) -> bool {
        self.accepted.load(Ordering::Acquire)
    }

    /// The return code of a CONNACK in the form of 3.1.1, by which brokers answer that do not know MQTT 5.
    pub(super) fn old_answer(&self) -> Option<u8> {
        self.old_answer.load(Ordering::Acquire).checked_sub(1).and_then(|code| u8::try_from(code).ok())
    }

    /// Looks at the first bytes of the broker; the library would wait for the rest of a CONNACK that is whole.
    fn look(&self, first: &[u8]) -> io::Result<()> {
        match first {
            // Some put a code of 3.1.1 into the form of MQTT 5, which has no such codes.
            [0x20, length, _, code] if self.protocol == Protocol::V5 && (*length == 2 || matches!(code, 1..=5)) => {
                self.old_answer.store(u32::from(*code) + 1, Ordering::Release);
                Err(io::Error::new(io::ErrorKind::InvalidData, "a CONNACK in the form of MQTT 3.1.1"))
            }
            _ => Ok(()),
        }
    }

    /// Sends a ping as soon as no packet is under way; nothing before the broker has accepted us.
    pub(super) fn ping(&self) {
        if self.is_accepted() {
            self.wanted.store(true, Ordering::Release);
            self.reader.wake();
        }
    }
}

/// The bytes to and from one broker.
pub(super) struct Wire<S> {
    inner: S,
    line: Arc<Line>,
    /// The first bytes of the broker, as far as they have come, and how many.
    first: ([u8; 4], usize),
    /// Of what the library writes.
    frames: Frames,
    /// Bytes of a ping that are still to be written.
    unsent: usize,
    /// A ping is written and may wait in a buffer.
    unflushed: bool,
}

impl<S: AsyncWrite + Unpin> Wire<S> {
    pub(super) fn new(inner: S, line: Arc<Line>) -> Self {
        Self { inner, line, first: ([0; 4], 0), frames: Frames::default(), unsent: 0, unflushed: false }
    }

    /// Takes in what has come; an error when it ends the connection.
    fn heard(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.line.is_accepted() {
            self.line.heartbeat.beat();
            return Ok(());
        }
        let (first, known) = &mut self.first;
        if *known == first.len() {
            return Ok(());
        }
        for (slot, byte) in first.iter_mut().skip(*known).zip(bytes) {
            *slot = *byte;
            *known += 1;
        }
        self.line.look(first.get(..*known).unwrap_or_default())
    }

    /// Sends the ping that is due, unless a packet of the library is under way. Once begun it must end first.
    fn poll_ping(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.unsent > 0 && self.frames.is_between() {
            let rest = &PINGREQ[PINGREQ.len() - self.unsent..];
            match ready!(Pin::new(&mut self.inner).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.unsent = self.unsent.saturating_sub(written),
            }
            self.unflushed = true;
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Wire<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.line.reader.register(cx.waker());
        if this.line.wanted.swap(false, Ordering::AcqRel) && this.unsent == 0 {
            this.unsent = PINGREQ.len();
        }
        // A broker that takes no bytes may still send some.
        if let Poll::Ready(Err(error)) = this.poll_ping(cx) {
            return Poll::Ready(Err(error));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
        let came = buf.filled().get(before..).unwrap_or_default();
        Poll::Ready(if came.is_empty() { Ok(()) } else { this.heard(came) })
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.unsent > 0 {
            ready!(this.poll_ping(cx))?;
        }
        let written = ready!(Pin::new(&mut this.inner).poll_write(cx, buf))?;
        this.frames.advance(buf.get(..written).unwrap_or(buf));
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

/// Where in a packet a stream of MQTT is: a byte for its kind, its length in up to four bytes of seven bits, the rest
/// (section 2.1 of MQTT 5, 2.2 of 3.1.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Frames {
    #[default]
    Between,
    Length {
        value: usize,
        shift: u32,
    },
    Rest(usize),
}

impl Frames {
    fn is_between(self) -> bool {
        self == Self::Between
    }

    fn advance(&mut self, mut bytes: &[u8]) {
        while let Some((&first, after)) = bytes.split_first() {
            (*self, bytes) = match *self {
                Self::Between => (Self::Length { value: 0, shift: 0 }, after),
                Self::Length { value, shift } => {
                    let value = value | usize::from(first & 0x7F) << shift;
                    let more = first & 0x80 != 0 && shift < 21;
                    (if more { Self::Length { value, shift: shift + 7 } } else { Self::rest(value) }, after)
                }
                Self::Rest(left) => {
                    let taken = left.min(bytes.len());
                    (Self::rest(left - taken), bytes.get(taken..).unwrap_or_default())
                }
            };
        }
    }

    fn rest(left: usize) -> Self {
        if left == 0 { Self::Between } else { Self::Rest(left) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn packet(kind: u8, body: usize) -> Vec<u8> {
        let (mut bytes, mut length) = (vec![kind], body);
        loop {
            let more = length > 0x7F;
            bytes.push((length & 0x7F) as u8 | if more { 0x80 } else { 0 });
            length >>= 7;
            if !more {
                break;
            }
        }
        // A body that looks like pings, so that a packet cut at the wrong place is noticed.
        bytes.extend(PINGREQ.iter().cycle().take(body));
        bytes
    }

    /// Cuts a stream into its packets, by the plain rule and without `Frames`.
    fn packets(mut bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        while !bytes.is_empty() {
            let digits = bytes[1..].iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
            let length = bytes[1..=digits].iter().rev().fold(0, |value, byte| value << 7 | usize::from(byte & 0x7F));
            let (one, rest) = bytes.split_at(1 + digits + length);
            all.push(one.to_vec());
            bytes = rest;
        }
        all
    }

    proptest! {
        /// The library writes `bodies` in pieces of `cut` bytes to a line that takes `room` at once; a ping is asked for
        /// before each piece that `asks` names.
        #[test]
        fn a_ping_stands_between_packets_and_changes_none(
            bodies in prop::collection::vec(prop_oneof![0usize..5, 120usize..140, 16_380usize..16_390], 1..6),
            cut in prop_oneof![1usize..9, 1000usize..20_000],
            room in prop_oneof![1usize..5, 100usize..10_000],
            asks in prop::collection::vec(any::<bool>(), 1..20),
        ) {
            let wanted: Vec<Vec<u8>> = bodies.iter().map(|body| packet(0x30, *body)).collect();
            let written = wanted.concat();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (seen, asked) = runtime.block_on(async {
                let (near, mut far) = tokio::io::duplex(room);
                let line = Arc::new(Line::new(Arc::new(BrokerHeartbeat::new()), Protocol::V5));
                line.accept();
                let mut wire = Wire::new(near, Arc::clone(&line));
                let reading = async { let mut all = Vec::new(); far.read_to_end(&mut all).await.unwrap(); all };
                let writing = async {
                    let mut asked = 0;
                    for (piece, ask) in written.chunks(cut).zip(asks.iter().cycle()) {
                        if *ask {
                            line.ping();
                            asked += 1;
                            // The library reads whenever it does not write.
                            let look = wire.read_u8();
                            prop_assert!(futures_util::FutureExt::now_or_never(look).is_none());
                        }
                        wire.write_all(piece).await.unwrap();
                    }
                    line.ping();
                    let mut rest = [0];
                    while wire.line.wanted.load(Ordering::Acquire) || wire.unsent > 0 {
                        drop(futures_util::FutureExt::now_or_never(wire.read(&mut rest)));
                        tokio::task::yield_now().await;
                    }
                    wire.shutdown().await.unwrap();
                    drop(wire);
                    Ok(asked + 1)
                };
                let (seen, asked) = tokio::join!(reading, writing);
                asked.map(|asked| (seen, asked))
            })?;
            let (pings, rest): (Vec<_>, Vec<_>) = packets(&seen).into_iter().partition(|packet| packet[0] == 0xC0);
            prop_assert_eq!(rest, wanted);
            prop_assert!(!pings.is_empty() && pings.len() <= asked && pings.iter().all(|ping| ping == &PINGREQ));
        }
    }

    #[tokio::test]
    async fn nothing_counts_and_nothing_is_asked_before_the_broker_accepts() {
        let (near, mut far) = tokio::io::duplex(64);
        let heartbeat = Arc::new(BrokerHeartbeat::new());
        let line = Arc::new(Line::new(Arc::clone(&heartbeat), Protocol::V5));
        let mut wire = Wire::new(near, Arc::clone(&line));
        line.ping();
        far.write_all(b"ab").await.unwrap();
        assert_eq!(wire.read_u8().await.unwrap(), b'a');
        assert_eq!((heartbeat.last(), wire.unsent), (None, 0));
        line.accept();
        let accepted = heartbeat.last().unwrap();
        // The clocks of some machines go in coarse steps.
        while fieldgate_clock::boottime() <= accepted {
            tokio::task::yield_now().await;
        }
        assert_eq!(wire.read_u8().await.unwrap(), b'b');
        assert!(heartbeat.last().unwrap() > accepted, "each byte counts");
        drop(wire);
        let mut sent = Vec::new();
        far.read_to_end(&mut sent).await.unwrap();
        assert!(sent.is_empty(), "nobody has asked for a ping that may be sent: {sent:?}");
    }

    /// As TLS and websockets do, which send when they are flushed.
    #[tokio::test]
    async fn a_ping_does_not_stay_in_a_buffer_below() {
        let (near, mut far) = tokio::io::duplex(64);
        let line = Arc::new(Line::new(Arc::new(BrokerHeartbeat::new()), Protocol::V5));
        line.accept();
        let mut wire = Wire::new(tokio::io::BufStream::new(near), Arc::clone(&line));
        line.ping();
        assert!(futures_util::FutureExt::now_or_never(wire.read_u8()).is_none());
        let mut asked = [0; 2];
        let came = futures_util::FutureExt::now_or_never(far.read_exact(&mut asked));
        assert!(came.is_some_and(|came| came.is_ok()) && asked == PINGREQ, "{asked:?}");
    }

    #[tokio::test]
    async fn an_answer_in_the_form_of_3_1_1_ends_a_connection_of_5_however_it_comes() {
        for (protocol, bytes, old) in [
            (Protocol::V5, [0x20, 2, 0, 1], Some(1)),
            (Protocol::V5, [0x20, 3, 0, 1], Some(1)),
            (Protocol::V5, [0x20, 3, 0, 0], None),
            (Protocol::V4, [0x20, 2, 0, 1], None),
        ] {
            let (near, mut far) = tokio::io::duplex(64);
            let line = Arc::new(Line::new(Arc::new(BrokerHeartbeat::new()), protocol));
            let mut wire = Wire::new(near, Arc::clone(&line));
            for byte in bytes {
                far.write_u8(byte).await.unwrap();
                let read = wire.read_u8().await;
                assert_eq!(read.is_err(), line.old_answer().is_some());
            }
            assert_eq!(line.old_answer(), old);
        }
    }

    #[tokio::test]
    async fn a_ping_wakes_a_reader_that_waits() {
        let (near, mut far) = tokio::io::duplex(64);
        let line = Arc::new(Line::new(Arc::new(BrokerHeartbeat::new()), Protocol::V5));
        line.accept();
        let mut wire = Wire::new(near, Arc::clone(&line));
        let reader = tokio::spawn(async move { wire.read_u8().await.unwrap() });
        tokio::task::yield_now().await;
        line.ping();
        let mut asked = [0; 2];
        far.read_exact(&mut asked).await.unwrap();
        assert_eq!(asked, PINGREQ);
        far.write_all(&[7]).await.unwrap();
        assert_eq!(reader.await.unwrap(), 7);
    }
}
