//! One transaction: everything that is written to the database and deleted from it.

use rusqlite::{Transaction, params};

use super::{DropOrder, used};
use crate::announced::Change;
use crate::counts::Counted;
use crate::ids::CommandRow;
use crate::record;
use crate::rows::{Victim, signed, victim};
use fieldgate_model::{CommandRecord, Message, MessageKind, RunId};

/// A transaction.
#[derive(Debug)]
pub(crate) struct Batch<'a> {
    pub(super) transaction: Transaction<'a>,
    pub(super) rows: &'a mut u64,
    pub(super) used: &'a mut u64,
    pub(super) rows_after: u64,
}

impl Batch<'_> {
    /// Bytes of the database in use, were this committed now.
    pub(crate) fn used(&self) -> rusqlite::Result<u64> {
        used(&self.transaction)
    }

    /// Records a start of the program; repeated, it is a write that proves that the disk works.
    pub(crate) fn put_run(&self, first: u64, run: RunId) -> rusqlite::Result<()> {
        let sql = "INSERT OR REPLACE INTO run (first, run, boot_id) VALUES (?1, ?2, '')";
        self.transaction.execute(sql, params![signed(first), run.0])?;
        // Starts whose messages are all gone; the newest start before the oldest message may still have some.
        let oldest = "(SELECT coalesce(min(seq), 9223372036854775807) FROM message)";
        let sql = format!("DELETE FROM run WHERE first < (SELECT max(first) FROM run WHERE first <= {oldest})");
        self.transaction.execute(&sql, [])?;
        Ok(())
    }

    /// Deletes rows; those that are not there are ignored.
    pub(crate) fn delete(&mut self, sequences: impl IntoIterator<Item = u64>) -> rusqlite::Result<()> {
        let mut statement = self.transaction.prepare_cached("DELETE FROM message WHERE seq = ?1")?;
        for sequence in sequences {
            let gone = statement.execute([signed(sequence)])? as u64;
            self.rows_after = self.rows_after.saturating_sub(gone);
        }
        Ok(())
    }

    /// Writes messages; a loss record replaces the row under its sequence.
    pub(crate) fn put<'m>(&mut self, messages: impl IntoIterator<Item = (u64, &'m Message)>) -> rusqlite::Result<()> {
        let mut delete = self.transaction.prepare_cached("DELETE FROM message WHERE seq = ?1")?;
        let mut insert =
            self.transaction.prepare_cached("INSERT INTO message VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)")?;
        for (sequence, message) in messages {
            // Only loss records grow, so only they can have a row already.
            if message.key.kind == MessageKind::Loss {
                let gone = delete.execute([signed(sequence)])? as u64;
                self.rows_after = self.rows_after.saturating_sub(gone);
            }
            self.rows_after += insert.execute(params![
                signed(sequence),
                record::kind_number(message.key.kind),
                message.key.source.as_str(),
                message.run.0,
                signed(message.seq),
                record::boot_ns(message.taken_at.boot),
                record::wall_ms(message.taken_at.wall),
                record::flags(message),
                message.body,
                record::sum(signed(sequence), message),
            ])? as u64;
        }
        Ok(())
    }

    /// Writes what sensors have counted.
    pub(crate) fn put_counts(&self, counts: &[Counted]) -> rusqlite::Result<()> {
        let mut put = self.transaction.prepare_cached("INSERT OR REPLACE INTO count VALUES (?1, ?2, ?3)")?;
        for (name, count) in counts {
            let count = signed(*count);
            put.execute(params![name.as_str(), count, record::count_sum(name.as_str(), count)])?;
        }
        Ok(())
    }

    /// Writes what was announced, and deletes what is no more.
    pub(crate) fn put_announced(&self, changes: &[Change]) -> rusqlite::Result<()> {
        let mut put = self.transaction.prepare_cached("INSERT OR REPLACE INTO announced VALUES (?1, ?2, ?3)")?;
        let mut delete = self.transaction.prepare_cached("DELETE FROM announced WHERE name = ?1")?;
        for (name, body) in changes {
            match body {
                Some(body) => put.execute(params![name, body, record::announced_sum(name, body)])?,
                None => delete.execute([name])?,
            };
        }
        Ok(())
    }

    /// Writes the ids of commands, and forgets those in front of `oldest` and those that are of no use.
    pub(crate) fn put_commands(&self, commands: &[CommandRow], oldest: u64, unsound: &[u64]) -> rusqlite::Result<()> {
        self.transaction.execute("DELETE FROM command WHERE n < ?1", [signed(oldest)])?;
        for place in unsound {
            self.transaction.execute("DELETE FROM command WHERE n = ?1", [signed(*place)])?;
        }
        let mut put = self.transaction.prepare_cached("INSERT OR REPLACE INTO command VALUES (?1, ?2, ?3, ?4, ?5)")?;
        for (place, CommandRecord { recipient, id, answer }) in commands {
            let recipient = recipient.as_text();
            let (place, answer) = (signed(*place), answer.as_deref().map(str::as_bytes));
            let sum = record::command_sum(place, &recipient, id, answer);
            put.execute(params![place, recipient, id, answer, sum])?;
        }
        Ok(())
    }

    /// Rows to delete, in `order` and without those that `spared` names, until they make up about `bytes`.
    pub(crate) fn victims(
        &self,
        order: DropOrder,
        bytes: u64,
        spared: impl Fn(u64) -> bool,
    ) -> rusqlite::Result<Vec<Victim>> {
        let rest = match order {
            DropOrder::OldestReadings => "WHERE kind = 0 ORDER BY seq",
            DropOrder::NewestReadings => "WHERE kind = 0 ORDER BY seq DESC",
            DropOrder::OldestReplies => "WHERE kind IN (1, 3, 4, 5, 6, 7) ORDER BY seq",
        };
        let sql = format!("SELECT seq, kind, source, run, n, sum, length(body) FROM message {rest}");
        let mut statement = self.transaction.prepare_cached(&sql)?;
        let mut rows = statement.query([])?;
        let (mut victims, mut freed) = (Vec::new(), 0);
        while freed < bytes {
            let Some(row) = rows.next()? else { break };
            let victim = victim(row)?;
            if !spared(victim.sequence) {
                freed += row.get::<_, i64>(6)?.max(0).unsigned_abs() + record::ROW_OVERHEAD;
                victims.push(victim);
            }
        }
        Ok(victims)
    }

    /// Commits: what it says is on disk when this returns.
    pub(crate) fn commit(self) -> rusqlite::Result<()> {
        let after = used(&self.transaction)?;
        self.transaction.commit()?;
        (*self.rows, *self.used) = (self.rows_after, after);
        Ok(())
    }
}
