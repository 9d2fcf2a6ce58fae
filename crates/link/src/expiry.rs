//! Looks at the certificates while a connection is open, which may be for years.
//!
//! Nothing here ends a connection. A certificate is looked at only in a handshake, so a renewed file is used at the next
//! connect, whenever that is; to hang up for it would cost a working link, and be wrong while only one of two files has been
//! replaced. But an alarm says so while there is time to act.

use std::path::PathBuf;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::TlsSettings;
use super::alarms::Whose;
use super::secrets::with_remedy;
use super::tls::{self, Part, Shown};
use fieldgate_clock as clock;
use fieldgate_model::Moment;

/// How often. A clock that is set after the connect, and a file that is replaced, is seen within this time.
const LOOK_EVERY: Duration = Duration::from_secs(3600);

/// What there is to be said of each certificate now.
pub(super) type Notices = Vec<(Whose, String)>;

/// The certificates of one connection.
pub(super) struct Expiry {
    settings: TlsSettings,
    credentials: Option<PathBuf>,
    shown: Shown,
    next: Instant,
    every: Duration,
    looking: Option<JoinHandle<Notices>>,
}

impl Expiry {
    /// Looks for the first time at once.
    pub(super) fn new(settings: TlsSettings, credentials: Option<PathBuf>, shown: Shown) -> Self {
        Self { settings, credentials, shown, next: Instant::now(), every: LOOK_EVERY, looking: None }
    }

    /// The next look. Cancel-safe: one that is under way is taken up again.
    pub(super) async fn look(&mut self) -> Notices {
        loop {
            if let Some(looking) = &mut self.looking {
                let notices = looking.await;
                self.looking = None;
                // Nothing in there panics; if it did all the same, the next look may do better.
                if let Ok(notices) = notices {
                    return notices;
                }
            }
            sleep_until(self.next).await;
            self.next = Instant::now() + self.every;
            let (settings, credentials) = (self.settings.clone(), self.credentials.clone());
            let shown = self.shown.clone();
            self.looking = Some(tokio::task::spawn_blocking(move || {
                let now = clock::now();
                let mut notices = of_files(&settings, credentials, now);
                notices.extend(of_broker(&shown, now).map(|words| (Whose::Broker, words)));
                notices
            }));
        }
    }
}

/// What is wrong with the files, which the next connect would find as well, and what will be.
pub(super) fn of_files(settings: &TlsSettings, credentials: Option<PathBuf>, now: Moment) -> Notices {
    let found = tls::inspect(settings, credentials.as_deref(), now);
    let errors = found.errors.into_iter().map(|(part, error)| (part, with_remedy(&error, &error.remedy())));
    let whose = |part| if part == Part::Authority { Whose::Authority } else { Whose::Ours };
    let notices = found.notices.into_iter().map(|(part, words)| (part, format!("{words}; renew it")));
    errors.chain(notices).map(|(part, words)| (whose(part), words)).collect()
}

fn of_broker(shown: &Shown, now: Moment) -> Option<String> {
    let words = shown.get()?.notice("the certificate that the broker showed when we connected", now)?;
    Some(format!("{words}; if it has not been renewed since, do so"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_that_goes_and_comes_back_under_a_held_connection_is_reported_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let (path, away) = (folder.path().join("ca.pem"), folder.path().join("away"));
        std::fs::copy("../../config/example-keys/ca.pem", &path).unwrap();
        let settings = TlsSettings { ca_file: Some(path.clone()), ..TlsSettings::default() };
        let mut expiry = Expiry::new(settings, None, Shown::default());
        expiry.every = Duration::from_millis(20);
        assert_eq!(expiry.look().await, []);
        std::fs::rename(&path, &away).unwrap();
        // What is cancelled is not lost: the same look goes on. It may be over before we see that it has begun.
        let mut over = None;
        while over.is_none() && expiry.looking.is_none() {
            over = tokio::time::timeout(Duration::ZERO, expiry.look()).await.ok();
        }
        let notices = match over {
            Some(notices) => notices,
            None => expiry.look().await,
        };
        assert!(
            notices.len() == 1 && notices[0].0 == Whose::Authority && notices[0].1.contains("cannot read"),
            "{notices:?}"
        );
        std::fs::rename(&away, &path).unwrap();
        assert_eq!(expiry.look().await, []);
    }
}
