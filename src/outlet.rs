//! Output without waiting: a queue with a limit, in front of a thread that writes.
//!
//! A pipe that nobody reads, a terminal that was stopped and a socket that is full block a write for as long as they like.
//! Sampling, driving outputs and the stop must not wait for it. So [`Outlet::push`] never waits: what does not fit into the
//! queue is counted, and the count is reported when there is room again. Order is kept. Nothing promises that what was pushed is
//! ever written: [`Outlet::flush`] waits for a short time only, and a thread that hangs in its write ends with the program.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::BorrowedFd;
use rustix::io::Errno;

/// What the queue may hold, or a single entry that is longer: some 1500 lines, a second of the liveliest log, and little beside
/// what the program needs.
const LIMIT: usize = 256 * 1024;

/// What an entry takes beside its bytes.
const ENTRY: usize = 64;

/// Nothing is waited for longer than this, however slowly the reader reads, or the patience if that is longer.
const LONGEST_FLUSH: Duration = Duration::from_secs(1);

/// Writes one entry and may block. An error ends the outlet.
pub type Sink = Box<dyn FnMut(&[u8]) -> io::Result<()> + Send>;

/// The queue and its thread, which starts with the first entry.
pub struct Outlet {
    shared: Arc<Shared>,
    name: &'static str,
}

struct Shared {
    state: Mutex<State>,
    /// Signals the thread that there is something to write.
    filled: Condvar,
    /// Signals those who flush that an entry has been written.
    written: Condvar,
    /// Locked by the thread alone, for as long as it lives.
    sink: Mutex<Sink>,
    report: fn(u64),
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Entries that did not fit since the last report.
    missed: u64,
    /// Whether the thread is about to write or report what is no longer in the queue.
    is_writing: bool,
    /// How many entries were written so far.
    progress: u64,
    has_thread: bool,
    is_closed: bool,
    /// Who wait for [`Shared::written`]: to signal nobody is a system call, too.
    flushing: usize,
}

/// What the thread does next.
enum Next {
    Write(Vec<u8>),
    Report(u64),
}

impl Outlet {
    /// Nothing runs yet. `report` is called by the thread with the number of entries that did not fit, and may push.
    pub fn new(name: &'static str, report: fn(u64), sink: Sink) -> Self {
        let (filled, written) = (Condvar::new(), Condvar::new());
        let shared = Shared { state: Mutex::default(), filled, written, sink: Mutex::new(sink), report };
        Self { shared: Arc::new(shared), name }
    }

    /// Queues an entry, or counts it when there is no room. Never waits.
    pub fn push(&self, entry: Vec<u8>) {
        let mut state = self.shared.lock();
        if state.is_closed {
            return;
        }
        // After a gap nothing is queued until the gap has been reported, so that the report stands where the gap is.
        let is_too_much = state.bytes > 0 && state.bytes + entry.len() + ENTRY > LIMIT;
        if state.missed > 0 || is_too_much {
            state.missed += 1;
            return;
        }
        state.bytes += entry.len() + ENTRY;
        state.waiting.push_back(entry);
        if !state.has_thread {
            let shared = Arc::clone(&self.shared);
            // Without a thread the entry waits, and the next one tries again.
            state.has_thread = thread::Builder::new().name(self.name.into()).spawn(move || shared.run()).is_ok();
        }
        // Not under the lock, or the thread would wake only to wait for it.
        drop(state);
        self.shared.filled.notify_one();
    }

    /// Whether everything has been written.
    pub fn is_idle(&self) -> bool {
        self.shared.lock().is_idle()
    }

    /// Whether an error has ended it; what is pushed now is dropped.
    pub fn is_closed(&self) -> bool {
        self.shared.lock().is_closed
    }

    /// Waits until everything has been written, or until nothing was written for `patience`, or for a second if `patience` is less.
    pub fn flush(&self, patience: Duration) {
        let end = Instant::now() + LONGEST_FLUSH.max(patience);
        let mut state = self.shared.lock();
        state.flushing += 1;
        while !state.is_idle() && Instant::now() < end {
            let before = state.progress;
            let waited = self
                .shared
                .written
                .wait_timeout_while(state, patience, |now| now.progress == before && !now.is_idle() && !now.is_closed);
            let (now, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            state = now;
            if timeout.timed_out() || state.is_closed {
                break;
            }
        }
        state.flushing -= 1;
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that runs under this lock can leave it half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match self.next() {
                Next::Write(entry) => {
                    if sink(&entry).is_err() {
                        return self.close();
                    }
                }
                Next::Report(missed) => (self.report)(missed),
            }
        }
    }

    /// Waits for something to do.
    fn next(&self) -> Next {
        let mut state = self.lock();
        if std::mem::take(&mut state.is_writing) {
            state.progress += 1;
        }
        loop {
            if state.missed > 0 && state.bytes <= LIMIT / 2 {
                state.is_writing = true;
                return Next::Report(std::mem::take(&mut state.missed));
            }
            if let Some(entry) = state.waiting.pop_front() {
                state.bytes -= entry.len() + ENTRY;
                state.is_writing = true;
                self.signal_written(&state);
                return Next::Write(entry);
            }
            self.signal_written(&state);
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn signal_written(&self, state: &State) {
        if state.flushing > 0 {
            self.written.notify_all();
        }
    }

    fn close(&self) {
        let mut state = self.lock();
        *state = State { has_thread: true, is_closed: true, flushing: state.flushing, ..State::default() };
        self.signal_written(&state);
    }
}

impl State {
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && !self.is_writing && self.missed == 0
    }
}

/// Writes all bytes, by the descriptor alone: the lock of the standard library's stream would stay locked while the write blocks, and
/// any other print would wait with it.
///
/// # Errors
/// Those of write(2), except that an interrupted one is repeated and a descriptor that does not block is waited for.
pub fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let mut there = [PollFd::new(&to, PollFlags::OUT)];
                match poll(&mut there, None) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};

    const SOON: Duration = Duration::from_secs(10);

    /// An outlet that writes an entry for each permit, and what it has written.
    fn gated(report: fn(u64)) -> (Outlet, Sender<()>, Receiver<String>) {
        #[expect(clippy::disallowed_methods, reason = "a test ends before the memory does")]
        let ((permit, permits), (write, written)) = (channel(), channel());
        let sink = Box::new(move |entry: &[u8]| {
            permits.recv().map_err(io::Error::other)?;
            write.send(String::from_utf8(entry.to_vec()).unwrap()).map_err(io::Error::other)
        });
        (Outlet::new("outlet", report, sink), permit, written)
    }

    #[test]
    fn what_fits_is_written_in_order() {
        let (outlet, permit, written) = gated(|_| ());
        assert!(outlet.is_idle());
        for n in 0..100 {
            outlet.push(n.to_string().into_bytes());
            permit.send(()).unwrap();
        }
        for n in 0..100 {
            assert_eq!(written.recv_timeout(SOON).unwrap(), n.to_string());
        }
        outlet.flush(SOON);
        assert!(outlet.is_idle());
    }

    #[test]
    fn what_does_not_fit_is_counted_and_reported_where_the_gap_is() {
        static OUTLET: Mutex<Option<Arc<Outlet>>> = Mutex::new(None);
        let (outlet, permit, written) =
            gated(|missed| OUTLET.lock().unwrap().as_ref().unwrap().push(format!("missed {missed}").into_bytes()));
        let outlet = Arc::new(outlet);
        *OUTLET.lock().unwrap() = Some(Arc::clone(&outlet));
        // More than fit, whichever of them the thread has taken already.
        let count = LIMIT / 1024 * 2;
        let long = "x".repeat(1024);
        for n in 0..count {
            outlet.push(format!("{n} {long}").into_bytes());
        }
        (0..count).for_each(|_| permit.send(()).unwrap());
        let (mut next, mut gap) = (0, 0);
        while gap == 0 {
            let entry = written.recv_timeout(SOON).unwrap();
            match entry.strip_prefix("missed ") {
                Some(missed) => gap = missed.parse().unwrap(),
                None => {
                    assert_eq!(entry.split_once(' ').unwrap().0, next.to_string());
                    next += 1;
                }
            }
        }
        assert_eq!(next + gap, count, "{next} written and {gap} reported");
        outlet.push(b"after".to_vec());
        assert_eq!(written.recv_timeout(SOON).unwrap(), "after");
        assert!(!outlet.is_closed());
    }

    #[test]
    fn a_flush_ends_although_nothing_can_be_written() {
        let (outlet, permit, written) = gated(|_| ());
        outlet.push(b"stuck".to_vec());
        let began = Instant::now();
        outlet.flush(Duration::from_millis(20));
        assert!(began.elapsed() >= Duration::from_millis(20) && !outlet.is_idle());
        permit.send(()).unwrap();
        assert_eq!(written.recv_timeout(SOON).unwrap(), "stuck");
    }

    #[test]
    fn an_error_closes_it_and_wakes_who_waits() {
        let (outlet, permit, _) = gated(|_| ());
        outlet.push(b"one".to_vec());
        drop(permit);
        outlet.flush(SOON);
        assert!(outlet.is_closed());
        outlet.push(b"two".to_vec());
        assert!(outlet.is_idle(), "nothing waits in a closed one");
    }

    #[test]
    fn everything_is_written_by_a_descriptor_that_does_not_block() {
        let (mut reader, writer) = std::os::unix::net::UnixStream::pair().unwrap();
        writer.set_nonblocking(true).unwrap();
        let all = vec![7; 2_000_000];
        let sent = all.clone();
        let thread = thread::spawn(move || write_all(rustix::fd::AsFd::as_fd(&writer), &sent));
        let mut got = Vec::new();
        io::Read::read_to_end(&mut reader, &mut got).unwrap();
        thread.join().unwrap().unwrap();
        assert!(got == all);
    }
}
