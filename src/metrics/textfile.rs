//! Metrics as a file for the textfile collector of node-exporter, for boards on which nothing may listen.
//!
//! Every [`EVERY`] the file is written beside its place and renamed, so that nobody reads half of one. It is not synced: after a power
//! cut the next one comes. A thread of the runtime writes it, and while the disk hangs no other begins. When the program ends the file is
//! removed, for values that nobody renews would look alive.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;
use tracing::{info, warn};

use crate::metrics::{Form, Metrics};
use fieldgate_clock as clock;
use fieldgate_clock::stop::stopped;

/// How often it is written: as often as Prometheus usually looks.
pub const EVERY: Duration = Duration::from_secs(15);

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
        // Both are cancel-safe.
        tokio::select! {
            () = keep_writing(wanted.as_ref(), &metrics) => {}
            // An error: the gateway has gone.
            changed = settings.changed() => if changed.is_err() { return remove(wanted).await },
            () = stopped(&mut stop) => return remove(wanted).await,
        }
        if *settings.borrow() != wanted {
            remove(wanted).await;
        }
    }
}

async fn keep_writing(settings: Option<&Settings>, metrics: &Metrics) {
    let Some(Settings { path }) = settings else { return std::future::pending().await };
    let (mut tick, mut is_failing) = (clock::interval(EVERY), false);
    loop {
        let (path, text) = (path.clone(), metrics.render(Form::Text));
        let shown = path.display().to_string();
        // Dropped, the thread finishes its file alone.
        let written = tokio::task::spawn_blocking(move || write(&path, &text)).await;
        match written.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(()) if std::mem::take(&mut is_failing) => info!(path = shown, "The file of metrics is written again."),
            Ok(()) => {}
            Err(error) if !std::mem::replace(&mut is_failing, true) => {
                warn!(path = shown, %error, "The file of metrics cannot be written; will try again.");
            }
            Err(_) => {}
        }
        tick.tick().await;
    }
}

/// Beside its place first. The name ends otherwise, so node-exporter does not take the unfinished one.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".new");
    fs::write(&unfinished, text)?;
    fs::rename(&unfinished, path)
}

async fn remove(settings: Option<Settings>) {
    let Some(Settings { path }) = settings else { return };
    // It may never have been there. A disk that hangs must not keep the program from its end.
    let removed = tokio::task::spawn_blocking(move || fs::remove_file(path).ok());
    tokio::time::timeout(Duration::from_millis(100), removed).await.ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_renamed_into_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fieldgate.prom");
        write(&path, "a 1\n").unwrap();
        write(&path, "a 2\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "a 2\n");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(write(Path::new("/nonexistent/x.prom"), "").is_err());
    }
}
