//! A configuration that a request carried, kept beside the database: what comes by MQTT must outlive the program as well.
//!
//! It is not in the database, which its user locks: `fieldgate check` must see it while the service runs. There are two files.
//! `configuration.trial.yaml` is one that nothing has confirmed yet; no start takes it up. `configuration.yaml` is confirmed. Each is
//! written beside its place, synced and then renamed, so that a kill or a power cut at any moment leaves the one before or the new
//! one, whole. The first two lines are comments: what this is, and a sum of the rest, so that one that is not as it was written
//! is noticed.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use thiserror::Error;
use tokio::sync::oneshot;

use crate::file::passably;
use crate::folder as places;

const CONFIRMED: &str = "configuration.yaml";
const TRIAL: &str = "configuration.trial.yaml";
const NEW: &str = "configuration.new";

const TITLE: &str =
    "# A configuration that a request carried; fieldgate wrote it. Change the file that it replaces instead.";

/// Answers when it is on disk.
pub type Written = oneshot::Receiver<io::Result<()>>;

/// By what a text is known again: its length and checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    length: u64,
    sum: u32,
}

impl Fingerprint {
    /// That of `text`.
    pub fn of(text: &str) -> Self {
        Self { length: text.len() as u64, sum: crc32fast::hash(text.as_bytes()) }
    }
}

/// A configuration that a request carried.
#[derive(Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its text, as a file would have it.
    pub text: String,
    /// The file that it replaces.
    pub replaces: Fingerprint,
    /// When it came, to the second.
    pub stored_at: SystemTime,
}

/// Without the text, which may have secrets in it.
impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stored").field("replaces", &self.replaces).finish_non_exhaustive()
    }
}

/// Why a stored configuration is not used. Use the file, and report it to the user.
#[derive(Debug, Error)]
pub enum Unusable {
    /// It may be there.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// The file with the stored configuration.
        path: PathBuf,
        /// The kernel's answer, with errno.
        #[source]
        source: io::Error,
    },
    /// It is not as it was written.
    #[error("{} is damaged", path.display())]
    Damaged {
        /// The file with the stored configuration.
        path: PathBuf,
    },
}

/// What is done with configurations that requests carry.
#[derive(Debug)]
pub enum ConfigurationRequest {
    /// Keep this one, which nothing has confirmed yet.
    Try(Stored),
    /// The one on trial is confirmed, and replaces the one before.
    Confirm,
    /// Forget the one on trial.
    ForgetTrial,
    /// Forget both: the file is in force.
    Forget,
}

/// The confirmed configuration in the spool's folder, if there is one.
///
/// # Errors
/// [`Unusable`]: there is one, and it cannot be used.
pub fn confirmed(folder: &Path) -> Result<Option<Stored>, Unusable> {
    let path = folder.join(CONFIRMED);
    match fs::read(&path) {
        Ok(bytes) => parse(&bytes).map(Some).ok_or(Unusable::Damaged { path }),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(source) => Err(Unusable::Unreadable { path, source }),
    }
}

/// Whether a configuration is there that nothing has confirmed.
pub fn has_trial(folder: &Path) -> bool {
    folder.join(TRIAL).exists()
}

/// Changes the files as requested, and syncs the folder; blocks.
pub(super) fn carry_out(order: &ConfigurationRequest, folder: &Path) -> io::Result<()> {
    match order {
        ConfigurationRequest::Try(stored) => {
            places::make(folder)?;
            write(folder, &render(stored))?;
            fs::rename(folder.join(NEW), folder.join(TRIAL))?;
        }
        ConfigurationRequest::Confirm => fs::rename(folder.join(TRIAL), folder.join(CONFIRMED))?,
        ConfigurationRequest::ForgetTrial => remove(folder, &[TRIAL, NEW])?,
        ConfigurationRequest::Forget => remove(folder, &[TRIAL, NEW, CONFIRMED])?,
    }
    File::open(folder)?.sync_all()
}

fn write(folder: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(folder.join(NEW))?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn remove(folder: &Path, names: &[&str]) -> io::Result<()> {
    names.iter().try_for_each(|name| passably(fs::remove_file(folder.join(name))))
}

fn render(stored: &Stored) -> Vec<u8> {
    let Stored { text, replaces: Fingerprint { length, sum }, stored_at } = stored;
    let seconds = stored_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let about = format!("{length} {sum} {seconds}");
    let whole = sum_of(&about, text);
    format!("{TITLE}\n# 1 {about} {whole}\n{text}").into_bytes()
}

fn parse(bytes: &[u8]) -> Option<Stored> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (title, rest) = text.split_once('\n')?;
    let (about, text) = rest.split_once('\n')?;
    let (about, whole) = about.strip_prefix("# 1 ")?.rsplit_once(' ')?;
    if title != TITLE || whole.parse() != Ok(sum_of(about, text)) {
        return None;
    }
    let mut numbers = about.split(' ').map(str::parse::<u64>);
    let mut next = || numbers.next()?.ok();
    let replaces = Fingerprint { length: next()?, sum: u32::try_from(next()?).ok()? };
    let stored_at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(next()?))?;
    Some(Stored { text: text.to_owned(), replaces, stored_at })
}

fn sum_of(about: &str, text: &str) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(about.as_bytes());
    sum.update(b"\n");
    sum.update(text.as_bytes());
    sum.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn stored(text: &str) -> Stored {
        let stored_at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_341_600);
        Stored { text: text.into(), replaces: Fingerprint::of("the file"), stored_at }
    }

    #[test]
    fn one_on_trial_is_not_the_stored_one_before_it_is_confirmed() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("spool");
        let known = || confirmed(&folder).unwrap().map(|stored| stored.text);
        assert_eq!(known(), None);
        carry_out(&ConfigurationRequest::Try(stored("a: 1\n")), &folder).unwrap();
        assert_eq!((known(), has_trial(&folder)), (None, true));
        carry_out(&ConfigurationRequest::Confirm, &folder).unwrap();
        assert_eq!((known().as_deref(), has_trial(&folder)), (Some("a: 1\n"), false));
        assert_eq!(confirmed(&folder).unwrap(), Some(stored("a: 1\n")));
        carry_out(&ConfigurationRequest::Try(stored("b: 2\n")), &folder).unwrap();
        carry_out(&ConfigurationRequest::ForgetTrial, &folder).unwrap();
        assert_eq!((known().as_deref(), has_trial(&folder)), (Some("a: 1\n"), false));
        let mode = fs::metadata(folder.join(CONFIRMED)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "it may have secrets in it");
        carry_out(&ConfigurationRequest::Forget, &folder).unwrap();
        assert_eq!((known(), fs::read_dir(&folder).unwrap().count()), (None, 0));
        carry_out(&ConfigurationRequest::Forget, &folder).unwrap();
        assert!(carry_out(&ConfigurationRequest::Confirm, &folder).is_err(), "there is none to confirm");
    }

    #[test]
    fn one_that_is_not_as_it_was_written_is_noticed_wherever_it_was_cut_or_changed() {
        let root = tempfile::tempdir().unwrap();
        let whole = render(&stored("mqtt: { broker: mqtt://h }\n"));
        let read = |bytes: &[u8]| {
            fs::write(root.path().join(CONFIRMED), bytes).unwrap();
            confirmed(root.path())
        };
        assert!(read(&whole).unwrap().is_some());
        for at in 0..whole.len() {
            let cut = read(&whole[..at]).unwrap_err().to_string();
            assert!(cut.ends_with("configuration.yaml is damaged"), "{at}: {cut}");
            let mut changed = whole.clone();
            changed[at] ^= 1;
            assert!(read(&changed).is_err(), "{at}");
        }
    }

    #[test]
    fn debugging_shows_no_text() {
        let shown = format!("{:?}", ConfigurationRequest::Try(stored("password: hunter2")));
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
