//! The status of the spool, which can be asked for while its thread waits for the disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use crate::Stats;
use fieldgate_clock as clock;

/// Reports the status of the spool, also while its thread waits for the disk.
#[derive(Clone, Debug)]
pub struct Vitals {
    stats: watch::Receiver<Stats>,
    busy: Arc<Busy>,
}

impl Vitals {
    pub(super) fn new(stats: watch::Receiver<Stats>, busy: Arc<Busy>) -> Self {
        Self { stats, busy }
    }

    /// What the thread last said; when it has been at one thing for too long, that is the error.
    pub fn stats(&self) -> Stats {
        let stats = self.stats.borrow().clone();
        let silent = self.busy.since().map(|since| clock::boottime().saturating_sub(since));
        match silent.filter(|silent| *silent >= SILENT) {
            Some(silent) => {
                Stats { error: Some(format!("the disk has not answered for {} s", silent.as_secs())), ..stats }
            }
            None => stats,
        }
    }
}

/// A commit takes a second or two on a bad card; after this the disk counts as hanging.
const SILENT: Duration = Duration::from_secs(5);

/// Since when the thread has been at work, which only the disk can make long; nothing while it waits for requests.
#[derive(Debug, Default)]
pub(super) struct Busy(AtomicU64);

impl Busy {
    /// On [`clock::boottime`].
    pub(super) fn since(&self) -> Option<Duration> {
        let nanos = self.0.load(Ordering::Relaxed);
        (nanos > 0).then(|| Duration::from_nanos(nanos))
    }

    /// At work since then; zero: it waits for requests.
    pub(super) fn set(&self, since: Duration) {
        self.0.store(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn while_the_disk_does_not_answer_that_is_the_error_and_the_rest_stays_as_last_said() {
        let stats = Stats { queued: 3, error: Some("spool full".into()), ..Stats::default() };
        let (_sender, said) = watch::channel(stats.clone());
        let busy = Arc::new(Busy::default());
        let vitals = Vitals::new(said, Arc::clone(&busy));
        assert_eq!(vitals.stats(), stats);
        busy.set(clock::boottime().saturating_sub(SILENT));
        let silent = vitals.stats();
        let words = silent.error.as_deref().unwrap();
        assert!(words.starts_with("the disk has not answered for ") && words.ends_with(" s"), "{words}");
        assert_eq!(silent.queued, 3);
        busy.set(Duration::ZERO);
        assert_eq!(vitals.stats(), stats, "it waits for requests again");
    }
}
