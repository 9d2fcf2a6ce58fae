//! Reads what can still be read of a damaged file that was set aside, without changing it.
//!
//! Rows are read in order; where the file cannot be read any more, the next place that can is looked for, and from there
//! backwards as far as it goes. What lies between is a hole, and [`Holes`] says which readings were in it, where the rows
//! around it show it. Rows whose checksum is wrong are not trusted with more than their name.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::announced::Announcements;
use crate::counts::Counted;
use crate::file;
use crate::ids::CommandRows;
use crate::record::{ROW_OVERHEAD, ReadingName, Unsound};
use crate::rows::{
    body_len, decode, read_announced, read_commands, read_counts, read_values, select, signed, unsigned,
};
use crate::store::READ_BYTES;
use crate::values::SetValue;
use fieldgate_model::{Loss, Message, MessageKind, Name, RunId};

/// What a salvage comes to next.
#[derive(Debug)]
pub(super) enum Found {
    /// A row.
    Row(u64, Result<Message, Unsound>),
    /// An unknown number of rows that cannot be read.
    Hole,
}

/// Sequences from here on were never given by any start.
const LAST: u64 = 1 << 61;

/// Bytes that a row takes at least, which bounds how many there can be.
const LEAST_ROW: u64 = 16;

/// A damaged file that is being read.
#[derive(Debug)]
pub(super) struct Salvage {
    connection: Connection,
    after: u64,
    /// Rows that the file can hold: a damaged index might go in circles.
    left: u64,
}

impl Salvage {
    /// Nothing when it cannot be read at all.
    pub(super) fn open(file: &Path) -> Option<Self> {
        if file::is_emptied(file) {
            return None;
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(file, flags).ok()?;
        // The file is not changed: its log is read, but not applied.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).ok()?;
        let settings = "PRAGMA locking_mode = EXCLUSIVE; PRAGMA query_only = ON; PRAGMA trusted_schema = OFF; \
                        PRAGMA cell_size_check = ON; PRAGMA cache_size = -512";
        connection.execute_batch(settings).ok()?;
        connection.prepare(&select("seq = 0")).ok()?;
        let log = std::fs::metadata(file::beside(file, "-wal")).map_or(0, |log| log.len());
        let left = (std::fs::metadata(file).ok()?.len() + log) / LEAST_ROW;
        Some(Self { connection, after: 0, left })
    }

    /// The highest sequence that it is known to have given.
    pub(super) fn newest(&self) -> u64 {
        let ask = |sql: &str| self.connection.query_row(sql, [signed(LAST)], |row| row.get::<_, i64>(0)).unwrap_or(0);
        let row = ask("SELECT seq FROM message WHERE seq < ?1 ORDER BY seq DESC LIMIT 1");
        let start = ask("SELECT first FROM run WHERE first < ?1 ORDER BY first DESC LIMIT 1");
        unsigned(row.max(start))
    }

    /// What can still be read of the counts.
    pub(super) fn counts(&self) -> Vec<Counted> {
        let mut sound = Vec::new();
        // Where it cannot be read any further, the rest is lost.
        read_counts(&self.connection, |_, count| sound.extend(count)).unwrap_or_default();
        sound
    }

    /// What can still be read of what users have set.
    pub(super) fn values(&self) -> Vec<SetValue> {
        let mut sound = Vec::new();
        // Where it cannot be read any further, the rest is not recovered.
        read_values(&self.connection, |_, value| sound.extend(value)).unwrap_or_default();
        sound
    }

    /// What can still be read of the ids of commands.
    pub(super) fn commands(&self) -> CommandRows {
        let mut rows = CommandRows::default();
        // Where it cannot be read any further, the rest is lost.
        read_commands(&self.connection, |place, record| rows.sound.extend(record.map(|record| (place, record))))
            .unwrap_or_default();
        rows
    }

    /// What can still be read of what was announced.
    pub(super) fn announced(&self) -> Announcements {
        let mut sound = Announcements::new();
        // Where it cannot be read any further, the rest is lost.
        read_announced(&self.connection, |name, body| sound.extend(body.map(|body| (name, body)))).unwrap_or_default();
        sound
    }

    /// About `limit` more, in order; nothing at the end.
    pub(super) fn next(&mut self, limit: usize) -> Vec<Found> {
        let mut found = Vec::new();
        if self.after < LAST && self.forwards(limit, &mut found).is_err() {
            found.push(Found::Hole);
            match self.beyond() {
                Some(place) => self.backwards(place, &mut found),
                None => self.after = LAST,
            }
        }
        found
    }

    fn forwards(&mut self, limit: usize, found: &mut Vec<Found>) -> Result<(), Unreadable> {
        let mut statement = self.connection.prepare(&select("seq > ?1 AND seq < ?2 ORDER BY seq"))?;
        let mut rows = statement.query([signed(self.after), signed(LAST)])?;
        let mut bytes = 0;
        while found.len() < limit && bytes < READ_BYTES {
            let Some(row) = rows.next()? else { break };
            let (sequence, message) = decode(row)?;
            if sequence <= self.after || self.left == 0 {
                return Err(Unreadable);
            }
            self.left -= 1;
            self.after = sequence;
            bytes += body_len(&message);
            found.push(Found::Row(sequence, message));
        }
        Ok(())
    }

    /// The next row that can be found behind the place where reading forwards failed.
    fn beyond(&self) -> Option<u64> {
        let sql = "SELECT seq FROM message WHERE seq >= ?1 AND seq < ?2 ORDER BY seq LIMIT 1";
        let places = (0..u64::BITS).map_while(|step| self.after.checked_add(1 << step)).take_while(|from| *from < LAST);
        for from in places {
            let mut statement = self.connection.prepare(sql).ok()?;
            match statement.query_row([signed(from), signed(LAST)], |row| row.get::<_, i64>(0)) {
                Ok(sequence) if unsigned(sequence) >= from => return Some(unsigned(sequence)),
                Err(rusqlite::Error::QueryReturnedNoRows) => return None,
                _ => {}
            }
        }
        None
    }

    /// Takes the row at `place` and those in front of it, as far as they can be read.
    fn backwards(&mut self, place: u64, found: &mut Vec<Found>) {
        let mut taken = Vec::new();
        // Where it cannot be read any further is where the hole ends.
        self.read_backwards(place, &mut taken).unwrap_or_default();
        self.after = self.after.max(place);
        found.extend(taken.into_iter().rev().map(|(sequence, message)| Found::Row(sequence, message)));
    }

    fn read_backwards(&mut self, place: u64, taken: &mut Vec<Stored>) -> Result<(), Unreadable> {
        let mut statement = self.connection.prepare(&select("seq > ?1 AND seq <= ?2 ORDER BY seq DESC"))?;
        let mut rows = statement.query([signed(self.after), signed(place)])?;
        let (mut before, mut bytes) = (place + 1, 0);
        while bytes < BACKWARDS {
            let Some(row) = rows.next()? else { break };
            let (sequence, message) = decode(row)?;
            if sequence >= before || sequence <= self.after || self.left == 0 {
                return Err(Unreadable);
            }
            self.left -= 1;
            before = sequence;
            bytes += ROW_OVERHEAD as usize + body_len(&message);
            taken.push((sequence, message));
        }
        Ok(())
    }
}

type Stored = (u64, Result<Message, Unsound>);

/// Bytes of rows that are read backwards at most: looking for a place goes about as far again as the hole is wide.
const BACKWARDS: usize = 1024 * 1024;

/// The file ends being readable here.
#[derive(Debug, Default)]
struct Unreadable;

impl From<rusqlite::Error> for Unreadable {
    fn from(_: rusqlite::Error) -> Self {
        Self
    }
}

/// Which readings were in the holes, as far as the rows around them show it. Pure.
#[derive(Debug, Default)]
pub(super) struct Holes {
    last: BTreeMap<(Name, RunId), u64>,
    /// The last numbers in front of holes behind which the sensor has not been seen yet.
    open: BTreeMap<(Name, RunId), u64>,
}

/// Sensors and runs that are remembered at most.
const SUBJECTS: usize = 4096;

/// Why, in words.
const DAMAGED: &str = "spool damaged";

impl Holes {
    /// What is known to be lost now that `found` was seen.
    pub(super) fn see(&mut self, found: &Found) -> Option<Loss> {
        match found {
            Found::Hole | Found::Row(_, Err(Unsound { reading: None })) => {
                for (subject, n) in &self.last {
                    self.open.entry(subject.clone()).or_insert(*n);
                }
                None
            }
            Found::Row(_, Err(Unsound { reading: Some(name) })) => {
                let before = self.pass(name);
                let (sensor, run, n) = name.clone();
                let from_seq = before.as_ref().map_or(n, |before| before.from_seq);
                let count = 1 + before.map_or(0, |before| before.count);
                Some(Loss { sensor, run, from_seq, to_seq: n, count, reason: DAMAGED.into() })
            }
            Found::Row(_, Ok(message)) if message.key.kind == MessageKind::Reading => {
                self.pass(&(message.key.source.clone(), message.run, message.seq))
            }
            Found::Row(..) => None,
        }
    }

    /// A reading is here; what is missing in front of it went into a hole.
    fn pass(&mut self, (sensor, run, n): &ReadingName) -> Option<Loss> {
        let subject = (sensor.clone(), *run);
        if self.last.len() < SUBJECTS || self.last.contains_key(&subject) {
            self.last.insert(subject.clone(), *n);
        }
        let before = self.open.remove(&subject)?;
        let count = n.checked_sub(before + 1).filter(|count| *count > 0)?;
        let (sensor, run) = subject;
        Some(Loss { sensor, run, from_seq: before + 1, to_seq: n - 1, count, reason: DAMAGED.into() })
    }
}

/// The loss of a row that was found damaged outside of a salvage.
pub(super) fn loss_of_row((sensor, run, n): ReadingName) -> Loss {
    Loss { sensor, run, from_seq: n, to_seq: n, count: 1, reason: DAMAGED.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::reading;

    fn row(n: u64) -> Found {
        Found::Row(n, Ok(reading("air", n, 1)))
    }

    fn losses(found: impl IntoIterator<Item = Found>) -> Vec<(u64, u64, u64)> {
        let mut holes = Holes::default();
        let losses = found.into_iter().filter_map(|found| holes.see(&found)).collect::<Vec<_>>();
        losses.into_iter().map(|loss| (loss.from_seq, loss.to_seq, loss.count)).collect()
    }

    #[test]
    fn what_lay_in_a_hole_is_reported_when_both_edges_are_known() {
        assert_eq!(losses([row(1), row(2), Found::Hole, row(7), row(8)]), [(3, 6, 4)]);
        assert_eq!(losses([Found::Hole, row(7), Found::Hole]), []);
        assert_eq!(losses([row(1), Found::Hole, Found::Hole, row(4)]), [(2, 3, 2)]);
    }

    #[test]
    fn numbers_that_are_missing_elsewhere_are_not_lost() {
        assert_eq!(losses([row(1), row(5)]), []);
        assert_eq!(losses([row(1), row(5), Found::Hole, row(6)]), []);
    }

    #[test]
    fn a_row_with_a_wrong_checksum_is_one_lost_reading() {
        let unsound = |n| Found::Row(n, Err(Unsound { reading: Some((Name::new("air").unwrap(), RunId(1), n)) }));
        assert_eq!(losses([row(1), unsound(2), row(3)]), [(2, 2, 1)]);
        assert_eq!(losses([row(1), Found::Hole, unsound(4)]), [(2, 4, 3)]);
        assert_eq!(losses([row(1), Found::Row(2, Err(Unsound { reading: None })), row(4)]), [(2, 3, 2)]);
    }
}
