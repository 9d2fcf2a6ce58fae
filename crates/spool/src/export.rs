//! What waits in a spool, read from outside: beside the service or without it, and from a file that was set aside.
//!
//! Nothing is locked, made or written, so a disk may be read-only, and the service does not notice. What it sees is what is on the disk:
//! messages of the last `commit_every` are still in the service's memory, and one that the broker has just acknowledged may still be
//! there for a second. Messages come in order, up to the newest that was there at the start, in portions of bounded size.
//!
//! A file that is damaged is read as far as it is sound: then `row_search.rs` takes over, as when the service recovers such a file,
//! and what is missing is reported beside the messages.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::Sequence;
use crate::file::{FILE, SCHEMA_VERSION};
use crate::holes::Holes;
use crate::page_file::{LAST, PageFile};
use crate::pages::{TablePage, word};
use crate::record::Unsound;
use crate::row_search::{Found, RowSearch};
use crate::rows::body_len;
use crate::scout::{DEEPEST, ROOT};
use crate::snapshot::{Snapshot, Unstable, Used};
use crate::store::READ_BYTES;
use fieldgate_model::{Loss, Message};

/// Pages with rows that one look takes at most: the more, the likelier the service changes one meanwhile.
const PAGES_AT_ONCE: usize = 64;

/// Messages that a search in a damaged file gives at once.
const ROWS_AT_ONCE: usize = 512;

/// What every database of SQLite begins with.
const MAGIC: &[u8] = b"SQLite format 3\0";

/// Where its first page has our `user_version`.
const VERSION_AT: usize = 60;

/// The first schema whose rows have checksums.
const OLDEST_SCHEMA: i64 = 2;

/// Why a spool cannot be read. Report it to the user; nothing was changed.
#[derive(Debug, Error)]
pub enum ExportError {
    /// There is no spool. Tell the user where it was looked for.
    #[error("there is no spool in {}", path.display())]
    Absent {
        /// The folder or file that was looked for.
        path: PathBuf,
    },
    /// The kernel does not let us read it. Another user may.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The database that was to be read.
        path: PathBuf,
        /// The kernel's answer, with errno.
        #[source]
        source: io::Error,
    },
    /// A later version of the program wrote it. Use that version to read it.
    #[error("{} was written by a newer version of fieldgate (schema {found}; this one knows {SCHEMA_VERSION})", path.display())]
    Newer {
        /// The database that was to be read.
        path: PathBuf,
        /// The version of the schema that the file has.
        found: i64,
    },
    /// Start the service on it once: it brings the file up to date.
    #[error("{} was written by a very old version of fieldgate; a start of this version's service brings it up to date", path.display())]
    Older {
        /// The database that was to be read.
        path: PathBuf,
    },
    /// The service has set the file aside, or it was exchanged. Start again.
    #[error("{} was replaced by another file while it was read; run this again", path.display())]
    Replaced {
        /// The database that was to be read.
        path: PathBuf,
    },
    /// Try again when less is written.
    #[error("{} changes faster than it can be read; try again later", path.display())]
    Changing {
        /// The database that was to be read.
        path: PathBuf,
    },
}

/// Some of what waits, and what could not be read there.
#[derive(Debug, Default)]
pub struct Portion {
    /// The messages, in the order of their sequences.
    pub messages: Vec<(Sequence, Message)>,
    /// Readings that are known to have been there.
    pub lost: Vec<Loss>,
    /// Places where something may be missing, nobody knows what.
    pub holes: u64,
}

/// A spool that is being read.
#[derive(Debug)]
pub struct Export {
    path: PathBuf,
    snapshot: Snapshot,
    /// The tree has no more up to here.
    after: u64,
    /// The last that was given. Where the tree is broken, `after` may be wrong.
    given: u64,
    /// What comes behind this was not there at the start.
    until: u64,
    is_over: bool,
    /// In a damaged file.
    search: Option<RowSearch>,
    holes: Holes,
    damage: Option<&'static str>,
}

/// Rows by their sequences, those among them that are damaged too.
type Rows = Vec<(u64, Result<Message, Unsound>)>;

/// A step through the sound tree.
enum Step {
    /// Rows, and up to where these are all.
    Rows(Rows, Option<u64>),
    /// The tree cannot be followed.
    Broken,
}

impl Export {
    /// Opens the spool in the folder `place`, or the file `place` that was set aside.
    ///
    /// # Errors
    /// [`ExportError`].
    pub fn open(place: &Path) -> Result<Self, ExportError> {
        let path = if place.is_dir() { place.join(FILE) } else { place.to_owned() };
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ExportError::Absent { path: place.to_owned() },
            _ => ExportError::Unreadable { path: path.clone(), source },
        };
        let mut snapshot = Snapshot::take(&path).map_err(failed)?;
        let head = snapshot.stable(|pages, used| {
            used.pages.insert(1);
            (pages.page(1), newest(pages, used))
        });
        let (first, until) = head.map_err(|error| unstable(&path, error))?;
        let mut damage = None;
        match first.as_deref() {
            Some(page) if page.starts_with(MAGIC) => check_version(&path, page)?,
            None if snapshot.pages().count() == 0 => {}
            _ => damage = Some("its first page is damaged, or it is no spool"),
        }
        if snapshot.has_lost_commits().map_err(failed)? {
            damage = Some("its log is damaged: what was written last may be missing");
        }
        let is_over = snapshot.pages().count() == 0;
        Ok(Self { path, snapshot, after: 0, given: 0, until, is_over, search: None, holes: Holes::default(), damage })
    }

    /// The path of the database that is read.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is known to be wrong with the file so far, in words.
    pub fn damage(&self) -> Option<&'static str> {
        self.damage
    }

    /// The next messages, perhaps none; nothing at the end.
    ///
    /// # Errors
    /// [`ExportError`]; what came before is sound.
    pub fn next_portion(&mut self) -> Result<Option<Portion>, ExportError> {
        if self.is_over {
            return Ok(None);
        }
        let found = if self.search.is_some() { self.search_on() } else { self.walk_on()? };
        let mut portion = Portion::default();
        for found in found {
            portion.lost.extend(self.holes.see(&found));
            match found {
                Found::Row(sequence, Ok(message)) => {
                    self.given = sequence;
                    portion.messages.push((Sequence(sequence), message));
                }
                Found::Row(_, Err(Unsound { reading: Some(_), .. })) => {
                    self.record_damage("some of its rows are damaged")
                }
                Found::Hole | Found::Row(..) => {
                    portion.holes += 1;
                    self.record_damage("some of its rows are damaged");
                }
            }
        }
        Ok(Some(portion))
    }

    fn record_damage(&mut self, damage: &'static str) {
        self.damage.get_or_insert(damage);
    }

    /// The next rows of a tree that is sound so far.
    fn walk_on(&mut self) -> Result<Vec<Found>, ExportError> {
        let (after, until) = (self.after, self.until);
        let mut pages_at_once = PAGES_AT_ONCE;
        let walked = self.snapshot.stable(|pages, used| {
            let walked = walk(pages, (after, until), pages_at_once, used);
            // If the service was faster, the next look is a shorter one.
            pages_at_once = (pages_at_once / 2).max(1);
            walked
        });
        let Walked { rows, up_to, is_broken } = walked.map_err(|error| unstable(&self.path, error))?;
        match up_to {
            Some(up_to) => self.after = up_to,
            None => self.is_over = true,
        }
        if is_broken {
            self.record_damage("its structure is broken");
            self.search = Some(RowSearch::new(self.snapshot.pages()));
        }
        Ok(rows.into_iter().map(|(sequence, row)| Found::Row(sequence, row)).collect())
    }

    /// The next rows of a broken one. Where the service goes on writing it, this may see more holes than there are.
    fn search_on(&mut self) -> Vec<Found> {
        let Some(found) = self.search.as_mut().and_then(|search| search.next(self.snapshot.pages(), ROWS_AT_ONCE))
        else {
            self.is_over = true;
            return Vec::new();
        };
        let is_new = |found: &Found| match found {
            Found::Row(sequence, _) => (self.given + 1..=self.until).contains(sequence),
            Found::Hole => true,
        };
        found.into_iter().filter(is_new).collect()
    }
}

fn unstable(path: &Path, error: Unstable) -> ExportError {
    let path = path.to_owned();
    match error {
        Unstable::Io(source) => ExportError::Unreadable { path, source },
        Unstable::Replaced => ExportError::Replaced { path },
        Unstable::Changing => ExportError::Changing { path },
    }
}

fn check_version(path: &Path, page: &[u8]) -> Result<(), ExportError> {
    let found = word(page, VERSION_AT).map_or(0, i64::from);
    let path = path.to_owned();
    match found {
        1..OLDEST_SCHEMA => Err(ExportError::Older { path }),
        found if found > SCHEMA_VERSION => Err(ExportError::Newer { path, found }),
        _ => Ok(()),
    }
}

/// The newest sequence; where that cannot be seen, the highest that there may be.
fn newest(pages: &PageFile, used: &mut Used) -> u64 {
    match descend(pages, LAST, used, |_| true) {
        Step::Rows(rows, _) => rows.last().map_or(LAST, |(sequence, _)| *sequence),
        Step::Broken => LAST,
    }
}

/// What one look at the tree found.
struct Walked {
    rows: Rows,
    /// Up to where these are all; nothing when none follow.
    up_to: Option<u64>,
    is_broken: bool,
}

/// Rows behind `after` up to `until`: those of some pages.
fn walk(pages: &PageFile, (mut after, until): (u64, u64), pages_at_once: usize, used: &mut Used) -> Walked {
    let (mut rows, mut bytes) = (Rows::new(), 0);
    for _ in 0..pages_at_once {
        let is_wanted = |sequence| after < sequence && sequence <= until;
        let Step::Rows(found, bound) = descend(pages, after, used, is_wanted) else {
            used.suspects = true;
            return Walked { rows, up_to: Some(after), is_broken: true };
        };
        bytes += found.iter().map(|(_, row)| body_len(row)).sum::<usize>();
        used.suspects |= found.iter().any(|(_, row)| row.is_err());
        rows.extend(found);
        match bound {
            Some(bound) if bound < until => after = bound,
            _ => return Walked { rows, up_to: None, is_broken: false },
        }
        if bytes >= READ_BYTES {
            break;
        }
    }
    Walked { rows, up_to: Some(after), is_broken: false }
}

/// The first page that may have rows behind `after`: those of its rows whose sequence is `wanted`, and the last sequence that it may have.
fn descend(pages: &PageFile, after: u64, used: &mut Used, wanted: impl Fn(u64) -> bool) -> Step {
    let (mut number, mut behind, mut bound) = (ROOT, 0, None);
    for _ in 0..DEEPEST {
        used.pages.insert(number);
        let bytes = pages.page(number);
        let Some(page) = bytes.as_deref().and_then(TablePage::read).filter(TablePage::is_whole) else {
            return Step::Broken;
        };
        if page.is_leaf() {
            let last = bound.unwrap_or(LAST - 1);
            return rows(pages, &page, behind, last, wanted).map_or(Step::Broken, |rows| Step::Rows(rows, bound));
        }
        let Some(child) = page.child_behind(after) else { return Step::Broken };
        (number, behind, bound) = (child.page, child.behind.unwrap_or(behind), child.up_to.or(bound));
    }
    Step::Broken
}

/// The wanted rows of a page; nothing when its keys are in no order, not behind `behind` or behind `last`, for then a pointer or a
/// key is wrong, and other rows may be hidden.
fn rows(pages: &PageFile, page: &TablePage<'_>, behind: u64, last: u64, wanted: impl Fn(u64) -> bool) -> Option<Rows> {
    let (mut found, mut before) = (Vec::new(), behind);
    for place in page.places() {
        let cell = page.cell(*place)?;
        let sequence = u64::try_from(cell.key).ok().filter(|sequence| (before + 1..=last).contains(sequence))?;
        before = sequence;
        if wanted(sequence) {
            let nobodys = || Err(Unsound { reading: None, is_placed: false });
            found.push((sequence, pages.message(&cell).unwrap_or_else(nobodys)));
        }
    }
    Some(found)
}
