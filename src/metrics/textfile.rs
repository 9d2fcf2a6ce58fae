//! Metrics as a file for the textfile collector of node-exporter, for boards on which nothing may listen.
//!
//! Every [`EVERY`] the file is written beside its place and renamed, so that nobody reads half of one. It is not synced: after a power
//! cut the next one comes. A thread of the runtime writes it, and while the disk hangs no other begins for the same settings. When the program ends the file is
//! removed, for values that nobody renews would look alive.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tracing::{info, warn};

use crate::metrics::{Form, Metrics};
use fieldgate_clock as clock;
use fieldgate_clock::stop::stopped;

/// How often it is written: as often as Prometheus usually looks.
pub const EVERY: Duration = Duration::from_secs(15);

/// How long its removal is waited for.
const REMOVED_WITHIN: Duration = Duration::from_millis(100);

/// `metrics:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `metrics.textfile`.
    pub path: PathBuf,
}

/// Writes the file that the settings in force name, until `stop`.
pub async fn run(mut settings: watch::Receiver<Option<Settings>>, metrics: Metrics, mut stop: watch::Receiver<bool>) {
    loop {
        let wanted = settings.borrow_and_update().clone();
        let file = wanted.as_ref().map(|wanted| Arc::new(MetricsFile::new(wanted.path.clone())));
        // Both are cancel-safe.
        tokio::select! {
            () = keep_writing(file.as_ref(), &metrics) => {}
            // An error: the gateway has gone.
            changed = settings.changed() => if changed.is_err() { return remove(file).await },
            () = stopped(&mut stop) => return remove(file).await,
        }
        if *settings.borrow() != wanted {
            remove(file).await;
        }
    }
}

async fn keep_writing(file: Option<&Arc<MetricsFile>>, metrics: &Metrics) {
    let Some(file) = file else { return std::future::pending().await };
    let (mut tick, mut is_failing) = (clock::interval(EVERY), false);
    let path = file.path.display();
    loop {
        let (file, text) = (Arc::clone(file), metrics.render(Form::Text));
        // Dropped, the thread finishes alone what it has begun.
        let written = tokio::task::spawn_blocking(move || file.write(&text)).await;
        match written.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(()) if std::mem::take(&mut is_failing) => info!(%path, "The file of metrics is written again."),
            Ok(()) => {}
            Err(error) if !std::mem::replace(&mut is_failing, true) => {
                warn!(%path, %error, "The file of metrics cannot be written; will try again.");
            }
            Err(_) => {}
        }
        tick.tick().await;
    }
}

async fn remove(file: Option<Arc<MetricsFile>>) {
    let Some(file) = file else { return };
    // A disk that hangs must not keep the program from its end.
    let removed = tokio::task::spawn_blocking(move || file.remove());
    tokio::time::timeout(REMOVED_WITHIN, removed).await.ok();
}

/// The file at one path, as long as it is wanted.
struct MetricsFile {
    path: PathBuf,
    /// Beside it. The name ends otherwise, so node-exporter does not take the unfinished one.
    unfinished: PathBuf,
    is_removed: Mutex<bool>,
}

impl MetricsFile {
    fn new(path: PathBuf) -> Self {
        let mut unfinished = path.as_os_str().to_owned();
        unfinished.push(".new");
        Self { path, unfinished: unfinished.into(), is_removed: Mutex::new(false) }
    }

    /// What was still being written when the file was removed does not come into its place.
    fn write(&self, text: &str) -> io::Result<()> {
        fs::write(&self.unfinished, text)?;
        let is_removed = self.is_removed.lock().unwrap_or_else(PoisonError::into_inner);
        if *is_removed { fs::remove_file(&self.unfinished) } else { fs::rename(&self.unfinished, &self.path) }
    }

    /// Neither of them need be there.
    fn remove(&self) {
        *self.is_removed.lock().unwrap_or_else(PoisonError::into_inner) = true;
        for path in [&self.path, &self.unfinished] {
            fs::remove_file(path).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_renamed_into_its_place_and_not_after_its_removal() {
        let folder = tempfile::tempdir().unwrap();
        let file = MetricsFile::new(folder.path().join("fieldgate.prom"));
        file.write("a 1\n").unwrap();
        file.write("a 2\n").unwrap();
        assert_eq!(fs::read_to_string(&file.path).unwrap(), "a 2\n");
        let count = || fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(count(), 1);
        file.remove();
        file.write("a 3\n").unwrap();
        assert_eq!(count(), 0);
        assert!(MetricsFile::new("/nonexistent/x.prom".into()).write("").is_err());
    }
}
