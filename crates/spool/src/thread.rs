//! The spool's own thread: disk I/O blocks here and nowhere else.
//!
//! Requests come through one bounded queue, in order. Whatever waits there is taken in one go and then written in one
//! transaction, so under load batches grow by themselves.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use thiserror::Error;
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use crate::announced;
use crate::command_ids::{self, Reader};
use crate::configuration::{self, ConfigurationRequest};
use crate::core::Core;
use crate::examination::Examined;
use crate::vitals::Busy;
use crate::{Batch, Item, ReadError, Sequence, Settings, Spool, SpoolError, Stats};
use fieldgate_clock as clock;
use fieldgate_model::{Moment, Name, PersistedCounts, PersistedValues, Recipient, RunId, Saved};

/// Requests that wait for the thread, and items in them: forty seconds of a disk that hangs at a hundred readings a second, in
/// a megabyte and a half.
const QUEUE: usize = 4096;

/// What the thread is asked for.
#[derive(Debug)]
pub(super) enum Request {
    Items(Vec<Item>),
    Read {
        from: Sequence,
        limit: usize,
        answer: oneshot::Sender<Result<Batch, ReadError>>,
    },
    FirstSince {
        boot: Duration,
        answer: oneshot::Sender<Sequence>,
    },
    /// Forget these; and what becomes readable next is wanted. A later question takes the place of one that waits.
    Acknowledge(Vec<Sequence>, Option<Awaited>),
    GiveUp(Vec<(Sequence, String)>),
    PassOver(Vec<Sequence>),
    Reconfigure(Settings),
    Configuration {
        order: ConfigurationRequest,
        answer: oneshot::Sender<io::Result<()>>,
    },
    /// Answered when everything before it is readable.
    WhenReadable(oneshot::Sender<()>),
    Close(oneshot::Sender<()>),
    /// Changes these readings on the disk, so that their rows are not as they were written.
    #[cfg(any(test, feature = "testing"))]
    Damage(Vec<(fieldgate_model::Name, u64)>),
}

/// A read of what is not readable yet.
#[derive(Debug)]
pub(super) struct Awaited {
    pub(super) from: Sequence,
    pub(super) limit: usize,
    pub(super) answer: oneshot::Sender<Result<Batch, ReadError>>,
}

impl Awaited {
    /// Nothing has come: who still wants to know asks again.
    fn give_up(self) {
        reply(self.answer, Ok(Batch { messages: Vec::new(), next: self.from }));
    }
}

/// The spool's thread. It ends after [`Spool::close`], or when the last [`Spool`] is gone; either way everything is
/// written first.
#[derive(Debug)]
pub struct SpoolThread {
    thread: JoinHandle<()>,
}

/// The spool's thread panicked: a defect. What was committed is safe; end the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the spool's thread panicked")]
pub struct SpoolPanicked;

impl SpoolThread {
    /// Whether it has ended; before a stop this means that it panicked.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for the end; blocks.
    ///
    /// # Errors
    /// [`SpoolPanicked`].
    pub fn join(self) -> Result<(), SpoolPanicked> {
        self.thread.join().map_err(|_| SpoolPanicked)
    }
}

/// Opens the spool and starts its thread. A large file is examined by another one meanwhile, for about a second at most; until then
/// what the file has is not readable, [`Spool::read`] of it fails, and nothing is written.
///
/// # Errors
/// [`SpoolError`]: the program cannot run; report it to the user.
pub fn open(settings: Settings, run: RunId) -> Result<(Spool, SpoolThread), SpoolError> {
    open_with(settings, run, || ())
}

/// Opens the spool as [`open`] does, but examines a large file only when something comes through `gate`, or its sender is gone.
///
/// # Errors
/// [`SpoolError`]: the program cannot run.
#[cfg(any(test, feature = "testing"))]
pub fn open_gated(
    settings: Settings,
    run: RunId,
    gate: std::sync::mpsc::Receiver<()>,
) -> Result<(Spool, SpoolThread), SpoolError> {
    open_with(settings, run, move || gate.recv().unwrap_or_default())
}

fn open_with(
    settings: Settings,
    run: RunId,
    before_examination: impl FnOnce() + Send + 'static,
) -> Result<(Spool, SpoolThread), SpoolError> {
    let folder = settings.path.clone();
    let no_thread = |source: io::Error| SpoolError::Thread { path: folder.clone(), source };
    let core = Core::open(settings, run, clock::now())?;
    let (requests, queue) = mpsc::channel(QUEUE);
    let (head_sender, head) = watch::channel(core.head());
    let (era_sender, era) = watch::channel(core.era());
    let (stats_sender, stats) = watch::channel(core.stats());
    let (counts_sender, counts) = watch::channel(core.counts());
    let (values_sender, values) = watch::channel(core.values());
    let (command_ids, records) = command_ids::open(core.commands());
    let (announced, announcements) = announced::open(core.announced());
    let (busy, places) = (Arc::new(Busy::default()), Arc::new(Semaphore::new(QUEUE)));
    let state = ThreadState {
        core,
        folder: folder.clone(),
        places: Places(Arc::clone(&places)),
        waiting: Vec::new(),
        awaited: None,
        set: Vec::new(),
        set_values: Vec::new(),
        queue,
        head: head_sender,
        era: era_sender,
        stats: stats_sender,
        counts: counts_sender,
        values: values_sender,
        command_records: records,
        announcements,
        busy: Arc::clone(&busy),
    };
    // The runtime is made where it is used: it must not be dropped on the thread of another one.
    let (started, starting) = std::sync::mpsc::sync_channel(1);
    let run = move || match tokio::runtime::Builder::new_current_thread().enable_time().build() {
        Ok(runtime) => {
            started.send(Ok(())).unwrap_or_default();
            state.run(&runtime, before_examination);
        }
        Err(error) => started.send(Err(error)).unwrap_or_default(),
    };
    let thread = Builder::new().name("spool".into()).spawn(run).map_err(no_thread)?;
    starting.recv().unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into())).map_err(no_thread)?;
    Ok((
        Spool { requests, places, head, era, stats, counts, values, command_ids, announced, busy },
        SpoolThread { thread },
    ))
}

/// Answers a request. An error means that the requester stopped waiting and does not need the answer.
fn reply<T>(answer: oneshot::Sender<T>, value: T) {
    answer.send(value).unwrap_or_default();
}

/// The free places for items in the queue. Dropping it, also by a panic, ends every wait for a place.
struct Places(Arc<Semaphore>);

impl Drop for Places {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// What the thread owns.
struct ThreadState {
    core: Core,
    folder: PathBuf,
    places: Places,
    /// Who waits until everything up to now is readable.
    waiting: Vec<oneshot::Sender<()>>,
    /// The read that waits for what is readable next: there is one link.
    awaited: Option<Awaited>,
    /// Who waits until the count of a sensor is on disk.
    set: Vec<(Name, oneshot::Sender<Saved>)>,
    /// Who waits until what a user has set is on disk.
    set_values: Vec<(Recipient, oneshot::Sender<Saved>)>,
    queue: mpsc::Receiver<Request>,
    head: watch::Sender<Sequence>,
    era: watch::Sender<u64>,
    stats: watch::Sender<Stats>,
    counts: watch::Sender<PersistedCounts>,
    values: watch::Sender<PersistedValues>,
    command_records: Reader,
    announcements: announced::Reader,
    busy: Arc<Busy>,
}

/// What a wait for requests came to.
enum Wait {
    Request(Request),
    /// The file is back from its examination, or lost.
    Examined(Option<Examined>),
    /// The time has come, a command was recorded, or something was announced.
    Due,
    Closed,
}

impl ThreadState {
    fn run(mut self, runtime: &Runtime, before_examination: impl FnOnce() + Send + 'static) {
        let examiner = self.core.begin_examination(clock::now());
        // Without a thread the file is closed, which the core hears from the examination, and opened again.
        let examiner = examiner.and_then(|examiner| examiner.start(before_examination).ok());
        self.serve_all(runtime);
        // It has ended: closing the file waited for it. A panic there was reported as a fault of the file.
        examiner.map_or(Ok(()), JoinHandle::join).unwrap_or_default();
    }

    fn serve_all(mut self, runtime: &Runtime) {
        let started = clock::boottime();
        loop {
            // A disk that does not let the file be examined does not answer either.
            self.busy.set(if self.core.examination().is_some() { started } else { Duration::ZERO });
            let wait = runtime.block_on(self.next());
            self.busy.set(clock::boottime());
            match wait {
                Wait::Examined(examined) => {
                    self.core.examined(examined, clock::now());
                    // A link that was refused a read of what the file has asks again.
                    self.head.send_modify(|_| ());
                }
                Wait::Closed => {
                    self.take_records();
                    return self.core.close(clock::now());
                }
                Wait::Request(request) => {
                    if let Some(answer) = self.take_all(request) {
                        return self.close(answer);
                    }
                }
                Wait::Due => {}
            }
            // After the requests: a command is recorded before its reply enters the queue, so the record of each reply taken is
            // here.
            self.take_records();
            self.core.tick(clock::now());
            self.publish();
            for (sensor, saved) in self.set.drain(..) {
                reply(saved, self.core.count_saved(&sensor));
            }
            for (recipient, saved) in self.set_values.drain(..) {
                reply(saved, self.core.value_saved(&recipient));
            }
            if self.core.is_all_readable() {
                self.waiting.drain(..).for_each(|answer| reply(answer, ()));
            }
        }
    }

    async fn next(&mut self) -> Wait {
        let due = self.core.due();
        let Self { queue, command_records, announcements, core, .. } = self;
        let examined = async {
            match core.examination() {
                Some(examination) => Wait::Examined(examination.await.ok()),
                None => std::future::pending().await,
            }
        };
        let something = async {
            // All are cancel-safe.
            tokio::select! {
                request = queue.recv() => request.map_or(Wait::Closed, Wait::Request),
                examined = examined => examined,
                () = command_records.changed() => Wait::Due,
                () = announcements.changed() => Wait::Due,
            }
        };
        match due {
            None => something.await,
            Some(due) => {
                tokio::time::timeout(due.saturating_sub(clock::boottime()), something).await.unwrap_or(Wait::Due)
            }
        }
    }

    /// Serves `first` and what waits behind it, up to a close.
    fn take_all(&mut self, first: Request) -> Option<oneshot::Sender<()>> {
        let now = clock::now();
        let mut request = Some(first);
        for _ in 0..QUEUE {
            if let Some(answer) = self.serve(request?, now) {
                return Some(answer);
            }
            request = self.queue.try_recv().ok();
        }
        request.and_then(|request| self.serve(request, now))
    }

    fn take_records(&mut self) {
        let now = clock::now();
        self.command_records.take().into_iter().for_each(|record| self.core.record_command(record, now));
        if let Some(all) = self.announcements.take() {
            self.core.set_announced(all);
        }
    }

    fn serve(&mut self, request: Request, now: Moment) -> Option<oneshot::Sender<()>> {
        match request {
            Request::Items(items) => {
                self.places.0.add_permits(items.len());
                items.into_iter().for_each(|item| self.take(item, now));
            }
            Request::Acknowledge(sequences, next) => {
                self.core.acknowledge(&sequences, now);
                if let Some(earlier) = next.and_then(|next| self.awaited.replace(next)) {
                    earlier.give_up();
                }
            }
            Request::GiveUp(messages) => {
                messages.iter().for_each(|(sequence, reason)| self.core.give_up(*sequence, reason, now));
            }
            Request::PassOver(sequences) => self.core.pass_over(&sequences),
            Request::Reconfigure(settings) => self.core.reconfigure(settings, now),
            Request::Configuration { order, answer } => {
                reply(answer, configuration::carry_out(&order, &self.folder));
            }
            Request::Read { from, limit, answer } => {
                reply(answer, self.core.read(from, limit, now));
            }
            Request::FirstSince { boot, answer } => {
                reply(answer, self.core.first_since(boot, now));
            }
            Request::WhenReadable(answer) => self.waiting.push(answer),
            Request::Close(answer) => return Some(answer),
            #[cfg(any(test, feature = "testing"))]
            Request::Damage(readings) => self.core.damage(&readings, now),
        }
        None
    }

    fn take(&mut self, item: Item, now: Moment) {
        match item {
            Item::Message(message) => self.core.append(message, now),
            Item::Loss(loss) => self.core.report_loss(loss, now),
            Item::Count(sensor, count) => self.core.keep_count(&sensor, count),
            Item::SetCount { sensor, count, saved } => {
                self.core.set_count(&sensor, count, now);
                self.set.push((sensor, saved));
            }
            Item::SetValue { recipient, value, saved } => {
                self.core.set_value(recipient.clone(), value, now);
                self.set_values.push((recipient, saved));
            }
        }
    }

    /// Answers the read that waits for what is readable now. In a new era its place means something else.
    fn answer_awaited(&mut self, is_new_era: bool) {
        let head = self.core.head();
        let Some(awaited) = self.awaited.take_if(|awaited| is_new_era || awaited.from < head) else { return };
        if is_new_era {
            awaited.give_up();
        } else if !awaited.answer.is_closed() {
            let batch = self.core.read(awaited.from, awaited.limit, clock::now());
            reply(awaited.answer, batch);
        }
    }

    fn publish(&mut self) {
        let era = self.core.era();
        let is_new_era = self.era.send_if_modified(|known| std::mem::replace(known, era) != era);
        // Before the head, so that the link is woken once for both.
        self.answer_awaited(is_new_era);
        let head = self.core.head();
        self.head.send_if_modified(|known| std::mem::replace(known, head) != head || is_new_era);
        if self.core.knows_counts() {
            self.counts
                .send_if_modified(|known| known.is_none() && std::mem::replace(known, self.core.counts()).is_none());
        }
        if self.core.knows_values() {
            self.values
                .send_if_modified(|known| known.is_none() && std::mem::replace(known, self.core.values()).is_none());
        }
        if self.core.knows_commands() && !self.command_records.has_earlier() {
            self.command_records.publish_earlier(self.core.commands());
        }
        if self.core.knows_announced() && !self.announcements.has_earlier() {
            self.announcements.publish_earlier(self.core.announced());
        }
        let stats = self.core.stats();
        self.stats.send_if_modified(|known| {
            let is_new = *known != stats;
            *known = stats;
            is_new
        });
    }

    /// Serves what was accepted before the close, then ends.
    fn close(mut self, answer: oneshot::Sender<()>) {
        let mut answers = vec![answer];
        self.queue.close();
        while let Ok(request) = self.queue.try_recv() {
            answers.extend(self.serve(request, clock::now()));
        }
        self.take_records();
        self.core.close(clock::now());
        for answer in answers {
            reply(answer, ());
        }
    }
}
