//! Rows as SQLite gives them, which may be any bytes.

use rusqlite::Connection;

use crate::counts::Counted;
use crate::record::{self, ReadingName, Row, RowIdentity, Unsound};
use crate::values::SetValue;
use fieldgate_model::{CommandRecord, Message, Name, REMEMBERED, Recipient};

/// A row that was dropped to make space for newer ones.
#[derive(Debug)]
pub(super) struct Victim {
    pub(super) sequence: u64,
    /// Nothing when the row was no reading, or is damaged there.
    pub(super) reading: Option<ReadingName>,
}

/// The statement that reads whole rows for [`decode`].
pub(super) fn select(condition: &str) -> String {
    format!("SELECT seq, kind, source, run, n, boot_ns, wall_ms, flags, body, sum FROM message WHERE {condition}")
}

/// Rows of schema 1 from `from` on with the checksum that they should have; 0 for one that is damaged, which fits nothing.
pub(super) fn unsummed(connection: &Connection, from: i64, limit: usize) -> rusqlite::Result<Vec<(i64, i64)>> {
    let mut statement = connection.prepare(&select("seq >= ?1 ORDER BY seq LIMIT ?2"))?;
    let rows = statement.query_map([from, signed(limit as u64)], |row| {
        let sequence = row.get(0)?;
        let message = columns(row).ok().and_then(record::message);
        Ok((sequence, message.map_or(0, |message| record::sum(sequence, &message))))
    })?;
    rows.collect()
}

/// A row as [`select`] asks for it.
pub(super) fn decode(row: &rusqlite::Row<'_>) -> rusqlite::Result<(u64, Result<Message, Unsound>)> {
    let sequence: i64 = row.get(0)?;
    // A column of another type can only be damage.
    let message = columns(row).map_err(|_| Unsound { reading: None, is_placed: false });
    Ok((unsigned(sequence), message.and_then(|row| record::decode(sequence, row))))
}

/// Shows every count to `see`: under its name as it stands there, or nothing when the row is not as it was written.
pub(super) fn read_counts(
    connection: &Connection,
    mut see: impl FnMut(String, Option<Counted>),
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare("SELECT name, count, sum FROM count")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (name, count, sum): (String, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let is_sound = record::count_sum(&name, count) == sum;
        let count = Name::new(&name).ok().zip(u64::try_from(count).ok()).filter(|_| is_sound);
        see(name, count);
    }
    Ok(())
}

/// Shows every announcement to `see`: under its name as it stands there, or nothing when the row is not as it was written.
pub(super) fn read_announced(
    connection: &Connection,
    mut see: impl FnMut(String, Option<Vec<u8>>),
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare("SELECT name, body, sum FROM announced")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (name, body, sum): (String, Vec<u8>, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let is_sound = record::announced_sum(&name, &body) == sum;
        see(name, is_sound.then_some(body));
    }
    Ok(())
}

/// Shows every value to `see`: under its recipient as it stands there, or nothing when the row is not as it was written.
pub(super) fn read_values(
    connection: &Connection,
    mut see: impl FnMut(String, Option<SetValue>),
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare("SELECT recipient, value, sum FROM value")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (text, value, sum): (String, String, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let is_sound = record::value_sum(&text, &value) == sum;
        let value = Recipient::from_text(&text).filter(|_| is_sound).map(|recipient| (recipient, value));
        see(text, value);
    }
    Ok(())
}

/// Shows the newest ids to `see`, the newest first: their places, and nothing when not even the id is as it was written.
pub(super) fn read_commands(
    connection: &Connection,
    mut see: impl FnMut(u64, Option<CommandRecord>),
) -> rusqlite::Result<()> {
    let mut statement =
        connection.prepare("SELECT n, actuator, id, answer, sum FROM command ORDER BY n DESC LIMIT ?1")?;
    let mut rows = statement.query([signed(REMEMBERED as u64)])?;
    while let Some(row) = rows.next()? {
        let place: i64 = row.get(0)?;
        // A place that was never given, or a column of another type, can only be damage.
        let command = command(place, row).ok().flatten().filter(|_| (1..LAST_PLACE).contains(&place));
        see(unsigned(place), command);
    }
    Ok(())
}

/// Nobody sends so many commands.
const LAST_PLACE: i64 = 1 << 62;

fn command(place: i64, row: &rusqlite::Row<'_>) -> rusqlite::Result<Option<CommandRecord>> {
    let (actuator, id): (String, String) = (row.get(1)?, row.get(2)?);
    let answer: Option<Vec<u8>> = row.get(3)?;
    Ok(record::command(place, &actuator, &id, answer.as_deref(), row.get(4)?))
}

/// Bytes of a body; one that is damaged has none.
pub(super) fn body_len(message: &Result<Message, Unsound>) -> usize {
    message.as_ref().map_or(0, |message| message.body.len())
}

fn columns(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    Ok(Row {
        kind: row.get(1)?,
        source: row.get(2)?,
        run: row.get(3)?,
        n: row.get(4)?,
        boot_ns: row.get(5)?,
        wall_ms: row.get(6)?,
        flags: row.get(7)?,
        body: row.get(8)?,
        sum: row.get(9)?,
    })
}

pub(super) fn victim(row: &rusqlite::Row<'_>) -> rusqlite::Result<Victim> {
    let sequence: i64 = row.get(0)?;
    let reading = || -> Option<ReadingName> {
        let source: String = row.get(2).ok()?;
        let identity =
            RowIdentity { kind: row.get(1).ok()?, source: &source, run: row.get(3).ok()?, n: row.get(4).ok()? };
        record::reading_name(sequence, identity, row.get(5).ok()?)
    };
    Ok(Victim { sequence: unsigned(sequence), reading: reading() })
}

/// Sequences stay far below 2^63; a larger one could only come from a damaged file.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A negative number could only come from a damaged file; no sequence is 0.
pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
