//! A program that is ended from outside again and again, at moments chosen by chance, in front of a broker in any mood.
//!
//! What counts as taken is what the recorder's line in the log says; that comes before the spool. With `commit_every: 0s`
//! a reading is on disk before it is offered to the broker, so whatever was offered must arrive in the end, and without a
//! hole before it. What was still on the way to the disk goes with the process: the newest, and only those.

use std::path::Path;
use std::time::Duration;

use crate::common::SOON;
use crate::common::gateway::Gateway;
use crate::common::quick::{LONG, config, start, taken};
use crate::moody::{Mood, MoodyBroker};
use crate::suite::{chance, report};

/// What may be on the way to the disk: readings of one commit, at one reading a millisecond. A commit that applies the log
/// is several fsyncs, and each was seen to take a quarter of a second on a disk that others use too.
const ONE_COMMIT: u64 = 1000;

/// How the program is ended.
pub(crate) struct Ends<'a> {
    pub(crate) row: &'a str,
    /// Such as `kill -9`.
    pub(crate) what: &'a str,
    pub(crate) commit_every: Duration,
    pub(crate) count: usize,
    /// No life is longer.
    pub(crate) span: Duration,
}

/// A sensor that counts.
pub(crate) fn counting(every: &str) -> String {
    format!("sensors:\n  n: {{ driver: waveform, every: {every}, settings: {{ shape: counter }} }}\n")
}

impl Ends<'_> {
    /// Ends it by `end`, lets it deliver at last, and settles the account.
    pub(crate) fn happen(&self, folder: &Path, end: impl FnMut(&mut Gateway)) {
        let mut broker = MoodyBroker::new(Mood::Absent);
        let spool = format!(", commit_every: {}ms", self.commit_every.as_millis());
        let text = |every| config(&broker.url(), "", &spool, &counting(every));
        let (busy, calm) = (text("1ms"), text("100ms"));
        let lives = self.lives(&mut broker, folder, &busy, end);
        deliver(&mut broker, folder, &calm);
        if self.commit_every.is_zero() {
            assert_eq!(broker.owed(), [], "offered, and then lost");
            broker.account("n").check_whole();
        }
        let tally = settle(&broker, &lives, self.commit_every.as_millis() as u64 + ONE_COMMIT);
        assert!(tally.taken > 0, "{lives:?}");
        self.report(tally, broker.offered());
    }

    fn report(&self, Tally { taken, received, worst }: Tally, offered: usize) {
        let promised = match self.commit_every {
            Duration::ZERO => format!("{offered} of them had been offered without an answer before, of those 0 lost"),
            _ => "0 lost that were older than a second and a commit".to_owned(),
        };
        let happened = format!(
            "started each time; {taken} taken, {received} received; {promised}; not yet on the disk at an end: at most {worst} \
             readings"
        );
        let commit_every = self.commit_every.as_secs();
        let tried = format!("{} × {}, `commit_every: {commit_every}s`, 1,000 readings/s", self.count, self.what);
        report(self.row, &tried, &happened);
    }

    fn lives(
        &self,
        broker: &mut MoodyBroker,
        folder: &Path,
        config: &str,
        mut end: impl FnMut(&mut Gateway),
    ) -> Vec<Life> {
        let (mut chance, mut lives) = (chance(self.row), Vec::new());
        let mut moods = [Mood::Acknowledges, Mood::Silent, Mood::Absent];
        for life in 0..self.count {
            if life % moods.len() == 0 {
                chance.shuffle(&mut moods);
            }
            broker.be(moods[life % moods.len()]);
            let mut gateway = start(folder, config);
            std::thread::sleep(self.span.mul_f64(chance.f64()));
            assert!(gateway.is_running(), "it starts each time: {}", gateway.log());
            end(&mut gateway);
            lives.extend(Life::of(&gateway));
        }
        lives
    }
}

/// A run of the program that was ended from outside.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    pub(crate) run: String,
    /// Its last reading, by its log.
    pub(crate) last: u64,
}

impl Life {
    /// What the log says; nothing when it ended before it had begun.
    pub(crate) fn of(gateway: &Gateway) -> Option<Self> {
        let log = gateway.log();
        assert!(!log.contains("damaged"), "a kill or a power cut damages no spool: {log}");
        let (_, rest) = log.split_once("Gateway started. run=")?;
        Some(Self { run: rest.split_whitespace().next()?.to_owned(), last: taken(gateway) })
    }
}

/// What became of the lives' readings.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) taken: u64,
    pub(crate) received: u64,
    /// Of the readings of one life that did not arrive, at most.
    pub(crate) worst: u64,
}

/// A last start that delivers everything and ends in order.
pub(crate) fn deliver(broker: &mut MoodyBroker, folder: &Path, config: &str) {
    // A new connection, for on the old one silence stays.
    broker.be(Mood::Absent);
    broker.be(Mood::Acknowledges);
    let mut gateway = start(folder, config);
    gateway.wait_log("Gateway started", SOON);
    broker.wait_drained(&gateway, LONG * 4);
    gateway.stop(SOON);
}

/// Everything that was offered has arrived, and of each life everything but its last `tail` readings.
pub(crate) fn settle(broker: &MoodyBroker, lives: &[Life], tail: u64) -> Tally {
    let account = broker.account("n");
    account.check_order();
    assert!(account.lost.is_empty(), "{:?}", account.lost);
    let mut tally = Tally::default();
    for Life { run, last } in lives {
        let missing = account.missing(run, last.saturating_sub(tail));
        assert!(missing.is_empty(), "run {run} took {last}; missing: {missing:?}");
        let received = account.arrived(run).len() as u64;
        tally.taken += last;
        tally.received += received;
        tally.worst = tally.worst.max(last.saturating_sub(received));
    }
    tally
}
