//! The state file as a file: how it is read and replaced, also while others write it.
//!
//! Promises: a reader never sees half a file of ours; a version that somebody else wrote while ours was made is not
//! lost, for ours and theirs change places in one step and the one that comes back is looked at, at once and for a
//! second more. A file that does not parse is left alone, for its writer may be in the middle of it.
//!
//! What the entries mean is `world.rs`'s matter. Nothing here survives a power cut for certain; it is a test bench.

use std::collections::VecDeque;
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use serde_json::{Map, Value};

use crate::BusError;

/// The file's content.
pub(super) type Document = Map<String, Value>;

/// A larger file is not ours; no bench has that many lines.
const SIZE_LIMIT: u64 = 1 << 20;

/// File times come in steps of up to 10 ms, so a file this young may change without a new stamp.
const SETTLED: Duration = Duration::from_millis(30);

/// An empty file this old is not about to be filled: somebody made it for us.
const ABANDONED: Duration = Duration::from_millis(100);

/// A writer that had opened the file just before it was replaced has written into the old one by then.
pub(super) const STRAY_FOR: Duration = Duration::from_secs(1);

/// Replaced versions that are watched for such writes.
pub(super) const STRAY_LIMIT: usize = 16;

static TEMPORARY_FILES: AtomicU64 = AtomicU64::new(0);

/// The file, and what we last saw in it.
pub(super) struct StateFile {
    path: PathBuf,
    temporary: PathBuf,
    seen: Option<Stamp>,
    text: Option<Vec<u8>>,
    strays: VecDeque<Stray>,
    warned: bool,
}

/// A version without a name, into which somebody may still be writing.
struct Stray {
    file: File,
    text: Vec<u8>,
    since: Duration,
}

/// Distinguishes one version of a file from the next without reading it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

/// What a look at the file showed.
#[derive(Debug, PartialEq)]
pub(super) enum Look {
    /// Nothing new.
    Same,
    /// Half written, or broken: to be left alone.
    Unreadable,
    /// Another content; an absent file is an empty one.
    Document(Document),
}

/// What became of a replacement.
#[derive(Debug, PartialEq)]
pub(super) enum Put {
    /// It is in place.
    Done,
    /// It is in place, but this had been written by somebody else since the last look and must be merged now.
    Displaced(Document),
    /// Somebody else is writing at this moment. Nothing was replaced; try again later.
    Later,
}

impl StateFile {
    /// Names the file; it need not exist, its folder must.
    pub(super) fn open(path: PathBuf) -> Result<Self, BusError> {
        let number = TEMPORARY_FILES.fetch_add(1, Ordering::Relaxed);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let temporary = path.with_file_name(format!(".{name}.{}-{number}.tmp", std::process::id()));
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let hint = "the folder of a state file must exist";
        fs::read_dir(folder).map_err(|source| cannot_open(&path, hint, source))?;
        Ok(Self { path, temporary, seen: None, text: None, strays: VecDeque::new(), warned: false })
    }

    /// Reads the file if it may have changed, or in any case when `anyway`.
    pub(super) fn look(&mut self, anyway: bool) -> io::Result<Look> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.seen = None;
                self.text = None;
                return Ok(Look::Document(Document::new()));
            }
            Err(error) => return Err(error),
        };
        let metadata = file.metadata()?;
        let stamp = Stamp::of(&metadata);
        if !anyway && self.seen == Some(stamp) {
            return Ok(Look::Same);
        }
        let text = read_whole(&mut file)?;
        let age = age(&metadata);
        self.seen = (age >= SETTLED).then_some(stamp);
        if !anyway && self.text.as_ref() == Some(&text) {
            return Ok(Look::Same);
        }
        match parse(&text) {
            Some(document) if !blank(&text) || age >= ABANDONED => {
                self.text = Some(text);
                self.warned = false;
                Ok(Look::Document(document))
            }
            _ => {
                self.warn(age);
                Ok(Look::Unreadable)
            }
        }
    }

    /// What somebody has written into a version that we had just replaced; the oldest first.
    pub(super) fn stray(&mut self, now: Duration) -> Option<Document> {
        self.strays.retain(|stray| now.saturating_sub(stray.since) < STRAY_FOR);
        self.strays.iter_mut().find_map(|stray| {
            let text = read_whole(&mut stray.file).ok()?;
            if blank(&text) || text == stray.text {
                return None;
            }
            let document = parse(&text)?;
            stray.text = text;
            Some(document)
        })
    }

    fn warn(&mut self, age: Duration) {
        if age >= ABANDONED && !self.warned {
            self.warned = true;
            tracing::warn!(file = %self.path.display(), "State file is not valid; ignored until it is.");
        }
        // Whatever its age: a file that is being written must be looked at again.
        self.seen = None;
    }

    /// Replaces the file in one step.
    pub(super) fn put(&mut self, document: &Document, now: Duration) -> io::Result<Put> {
        let mut text = serde_json::to_vec_pretty(document)?;
        text.push(b'\n');
        let put = self.swap(text, now);
        match fs::remove_file(&self.temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => put.and(Err(error)),
            _ => put,
        }
    }

    fn swap(&mut self, text: Vec<u8>, now: Duration) -> io::Result<Put> {
        fs::write(&self.temporary, &text)?;
        if let Ok(metadata) = fs::metadata(&self.path) {
            fs::set_permissions(&self.temporary, metadata.permissions())?;
        }
        match self.exchange() {
            Ok(()) => {}
            // No file yet, or a file system that cannot exchange: the window for losing somebody's write is short.
            Err(Errno::NOENT | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                fs::rename(&self.temporary, &self.path)?;
                self.remember(text);
                return Ok(Put::Done);
            }
            Err(error) => return Err(error.into()),
        }
        let mut file = File::open(&self.temporary)?;
        let displaced = read_whole(&mut file)?;
        let known = self.text.as_ref() == Some(&displaced);
        let Some(document) = parse(&displaced).filter(|_| known || !blank(&displaced)) else {
            self.exchange()?;
            self.seen = None;
            return Ok(Put::Later);
        };
        if self.strays.len() == STRAY_LIMIT {
            self.strays.pop_front();
        }
        self.strays.push_back(Stray { file, text: displaced, since: now });
        self.remember(text);
        Ok(if known { Put::Done } else { Put::Displaced(document) })
    }

    fn exchange(&self) -> Result<(), Errno> {
        renameat_with(CWD, &self.temporary, CWD, &self.path, RenameFlags::EXCHANGE)
    }

    fn remember(&mut self, text: Vec<u8>) {
        self.text = Some(text);
        self.seen = None;
    }
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        let modified = (metadata.mtime(), metadata.mtime_nsec());
        Self { inode: metadata.ino(), size: metadata.size(), modified }
    }
}

/// The error for a state file that cannot be used.
pub(super) fn cannot_open(path: &Path, hint: &str, source: io::Error) -> BusError {
    BusError::Open { what: format!("state file {}", path.display()), hint: hint.to_owned(), source }
}

/// A time in the future is the work of a clock that was set; such a file is taken for an old one.
fn age(metadata: &Metadata) -> Duration {
    let now = fieldgate_clock::now().wall;
    metadata.modified().ok().and_then(|modified| now.duration_since(modified).ok()).unwrap_or(Duration::MAX)
}

/// One byte more than the limit is enough for `parse` to refuse it.
fn read_whole(file: &mut File) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    file.rewind()?;
    file.take(SIZE_LIMIT + 1).read_to_end(&mut text)?;
    Ok(text)
}

fn blank(text: &[u8]) -> bool {
    text.trim_ascii().is_empty()
}

/// What a state file has at the top; beside them, whether the bus has gone.
pub(super) const SECTIONS: [&str; 5] = ["lines", "inputs", "chips", "pwm", "held"];

/// An object of objects; nothing at all counts as an empty one.
fn parse(text: &[u8]) -> Option<Document> {
    if text.len() as u64 > SIZE_LIMIT {
        return None;
    }
    if blank(text) {
        return Some(Document::new());
    }
    let document: Document = serde_json::from_slice(text).ok()?;
    SECTIONS.iter().all(|name| document.get(*name).is_none_or(Value::is_object)).then_some(document)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::io::Write;

    fn document(value: Value) -> Document {
        value.as_object().unwrap().clone()
    }

    fn opened() -> (tempfile::TempDir, StateFile) {
        let folder = tempfile::tempdir().unwrap();
        let file = StateFile::open(folder.path().join("bench.json")).unwrap();
        (folder, file)
    }

    #[test]
    fn an_absent_file_is_an_empty_one_and_a_missing_folder_an_error() {
        let (folder, mut file) = opened();
        assert_eq!(file.look(false).unwrap(), Look::Document(Document::new()));
        let error = StateFile::open(folder.path().join("nowhere/bench.json")).err().unwrap();
        assert!(error.to_string().ends_with("(the folder of a state file must exist)"), "{error}");
    }

    #[test]
    fn what_was_put_is_not_news() {
        let (_folder, mut file) = opened();
        let ours = document(json!({"lines": {"GPIO27": 1}}));
        assert_eq!(file.put(&ours, Duration::ZERO).unwrap(), Put::Done);
        assert_eq!(file.look(false).unwrap(), Look::Same);
        assert_eq!(file.look(true).unwrap(), Look::Document(ours));
    }

    #[test]
    fn half_a_file_is_left_alone_until_it_is_whole() {
        let (_folder, mut file) = opened();
        fs::write(&file.path, r#"{"inputs":{"GPIO"#).unwrap();
        assert_eq!(file.look(false).unwrap(), Look::Unreadable);
        fs::write(&file.path, r#"{"inputs":{"GPIO17":1}}"#).unwrap();
        assert_eq!(file.look(false).unwrap(), Look::Document(document(json!({"inputs": {"GPIO17": 1}}))));
        fs::write(&file.path, r#"{"inputs":[]}"#).unwrap();
        assert_eq!(file.look(false).unwrap(), Look::Unreadable);
    }

    #[test]
    fn what_somebody_wrote_since_the_last_look_comes_back() {
        let (_folder, mut file) = opened();
        file.put(&document(json!({"lines": {}})), Duration::ZERO).unwrap();
        let theirs = json!({"inputs": {"GPIO17": 0}});
        fs::write(&file.path, theirs.to_string()).unwrap();
        let ours = document(json!({"lines": {"GPIO27": 1}}));
        assert_eq!(file.put(&ours, Duration::ZERO).unwrap(), Put::Displaced(document(theirs)));
        assert_eq!(file.put(&ours, Duration::ZERO).unwrap(), Put::Done);
    }

    #[test]
    fn what_a_writer_put_into_the_replaced_file_is_found() {
        let (_folder, mut file) = opened();
        file.put(&document(json!({"lines": {}})), Duration::ZERO).unwrap();
        let late = File::options().write(true).open(&file.path).unwrap();
        assert_eq!(file.put(&document(json!({"lines": {"GPIO27": 1}})), Duration::ZERO).unwrap(), Put::Done);
        late.set_len(0).unwrap();
        assert_eq!(file.stray(Duration::ZERO), None);
        let theirs = json!({"inputs": {"GPIO17": 0}});
        (&late).write_all(theirs.to_string().as_bytes()).unwrap();
        assert_eq!(file.stray(Duration::ZERO), Some(document(theirs)));
        assert_eq!(file.stray(Duration::ZERO), None);
        (&late).write_all(b" ").unwrap();
        assert_eq!(file.stray(STRAY_FOR), None);
    }

    #[test]
    fn a_file_that_somebody_is_writing_is_put_back() {
        let (folder, mut file) = opened();
        file.put(&document(json!({"lines": {}})), Duration::ZERO).unwrap();
        fs::write(&file.path, "").unwrap();
        assert_eq!(file.put(&document(json!({"lines": {"GPIO27": 1}})), Duration::ZERO).unwrap(), Put::Later);
        assert_eq!(fs::read_to_string(&file.path).unwrap(), "");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_of_any_size_is_refused_beyond_the_limit() {
        assert_eq!(parse(&vec![b' '; SIZE_LIMIT as usize + 1]), None);
    }
}
