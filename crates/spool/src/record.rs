//! The form of a row. Pure: what is read back may be any bytes and is refused, never trusted.
//!
//! A row carries its own checksum, for SQLite has none: a card that flips a bit in a number would otherwise have it published
//! as a measurement.

use std::time::{Duration, SystemTime};

use fieldgate_model::{
    ClockStatus, CommandRecord, Key, Loss, Message, MessageKind, Moment, Name, Qos, Recipient, RunId, payload,
};

/// The columns of a row but for its sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) kind: i64,
    pub(super) source: String,
    pub(super) run: i64,
    pub(super) n: i64,
    pub(super) boot_ns: i64,
    pub(super) wall_ms: i64,
    pub(super) flags: i64,
    pub(super) body: Vec<u8>,
    pub(super) sum: i64,
}

/// Whose reading a row was: sensor, run and number.
pub(super) type ReadingName = (Name, RunId, u64);

/// A row that is not as it was written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unsound {
    /// What was in it, where that part is sound.
    pub(super) reading: Option<ReadingName>,
    /// Whether it is sound that it belongs to its place.
    pub(super) is_placed: bool,
}

const RETAIN: i64 = 0b100;
const UNSYNCHRONISED: i64 = 0b1000;

/// Bytes that a message takes in a page besides source and body: header, numbers and cell pointer, rounded up.
pub(super) const ROW_OVERHEAD: u64 = 56;

/// Bytes that a message takes in the database, roughly but never too few for small bodies.
pub(super) fn cost(message: &Message) -> u64 {
    ROW_OVERHEAD + (message.key.source.as_str().len() + message.body.len()) as u64
}

/// The message that reports a loss; `now` is when it became known.
pub(super) fn of_loss(loss: &Loss, now: Moment) -> Message {
    Message {
        key: Key { kind: MessageKind::Loss, source: loss.sensor.clone() },
        run: loss.run,
        seq: 0,
        taken_at: now,
        qos: Qos::AtLeastOnce,
        retain: false,
        body: payload::loss(loss),
    }
}

/// The number of a kind on disk.
pub(super) fn kind_number(kind: MessageKind) -> i64 {
    match kind {
        MessageKind::Reading => 0,
        MessageKind::Reply => 1,
        MessageKind::Loss => 2,
        MessageKind::TotalReply => 3,
        MessageKind::VariableReply => 4,
        MessageKind::Response => 5,
        MessageKind::Event => 6,
        MessageKind::RuleReply => 7,
    }
}

/// CLOCK_BOOTTIME in nanoseconds.
pub(super) fn boot_ns(boot: Duration) -> i64 {
    i64::try_from(boot.as_nanos()).unwrap_or(i64::MAX)
}

/// Milliseconds since 1970; times before it count as 1970.
pub(super) fn wall_ms(at: SystemTime) -> i64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The time of `wall_ms`, within what the payload can print.
pub(super) fn wall(wall_ms: i64) -> Option<SystemTime> {
    /// 9999-12-31: beyond it RFC 3339 has no date.
    const LAST_MS: u64 = 253_402_300_799_999;
    let ms = u64::try_from(wall_ms).ok().filter(|ms| *ms <= LAST_MS)?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(ms))
}

/// The flags column of a message.
pub(super) fn flags(message: &Message) -> i64 {
    let retain = if message.retain { RETAIN } else { 0 };
    let clock = if message.taken_at.clock == ClockStatus::Unsynchronised { UNSYNCHRONISED } else { 0 };
    message.qos as i64 | retain | clock
}

/// The columns of a row that say what it is about, as they were read: any of them may be damaged.
#[derive(Clone, Copy, Debug)]
pub(super) struct RowIdentity<'a> {
    /// A [`kind_number`].
    pub(super) kind: i64,
    /// The name of the sensor, or whatever else its kind names.
    pub(super) source: &'a str,
    /// The number of the program's run.
    pub(super) run: i64,
    /// The message's number within its source and run.
    pub(super) n: i64,
}

impl RowIdentity<'_> {
    /// CRC-32 of what the row at `sequence` is about.
    fn sum(&self, sequence: i64) -> u32 {
        let mut sum = crc32fast::Hasher::new();
        [sequence, self.kind, self.run, self.n].iter().for_each(|number| sum.update(&number.to_le_bytes()));
        sum.update(self.source.as_bytes());
        sum.finalize()
    }

    /// Whether the identity is as it was written, going by the row's checksum column.
    fn is_sound(&self, sequence: i64, sum: i64) -> bool {
        u64::from(self.sum(sequence)) == sum.cast_unsigned() >> 32
    }
}

/// The checksum column: in its upper half that of the identity alone, so that a loss can be reported for a row whose rest is
/// damaged; in its lower half that of everything.
pub(super) fn sum(sequence: i64, message: &Message) -> i64 {
    let (kind, source) = (kind_number(message.key.kind), message.key.source.as_str());
    let n = i64::try_from(message.seq).unwrap_or(i64::MAX);
    let identity = RowIdentity { kind, source, run: message.run.0.into(), n }.sum(sequence);
    let mut whole = crc32fast::Hasher::new_with_initial(identity);
    let numbers = [boot_ns(message.taken_at.boot), wall_ms(message.taken_at.wall), flags(message)];
    numbers.iter().for_each(|number| whole.update(&number.to_le_bytes()));
    whole.update(&message.body);
    let both = u64::from(identity) << 32 | u64::from(whole.finalize());
    both.cast_signed()
}

/// The checksum of a sensor's count.
pub(super) fn count_sum(name: &str, count: i64) -> i64 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&count.to_le_bytes());
    sum.update(name.as_bytes());
    sum.finalize().into()
}

/// The checksum of an announcement.
pub(super) fn announced_sum(name: &str, body: &[u8]) -> i64 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(name.as_bytes());
    // Where the name ends.
    sum.update(&(name.len() as u64).to_le_bytes());
    sum.update(body);
    sum.finalize().into()
}

/// The checksum of what a user has set.
pub(super) fn value_sum(recipient: &str, value: &str) -> i64 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(recipient.as_bytes());
    // No recipient has this in it, so the two texts cannot be mistaken for one another.
    sum.update(b"/");
    sum.update(value.as_bytes());
    sum.finalize().into()
}

/// The checksum of a command's id and answer: in its upper half that of the id and its place alone, so that a repeat is known
/// even when the answer is damaged; in its lower half that of everything.
pub(super) fn command_sum(place: i64, recipient: &str, id: &str, answer: Option<&[u8]>) -> i64 {
    let identity = command_identity_sum(place, recipient, id);
    let mut whole = crc32fast::Hasher::new_with_initial(identity);
    whole.update(&[u8::from(answer.is_some())]);
    whole.update(answer.unwrap_or_default());
    let both = u64::from(identity) << 32 | u64::from(whole.finalize());
    both.cast_signed()
}

fn command_identity_sum(place: i64, recipient: &str, id: &str) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&place.to_le_bytes());
    sum.update(recipient.as_bytes());
    // No recipient has this in it, so the two texts cannot be mistaken for one another.
    sum.update(b"/");
    sum.update(id.as_bytes());
    sum.finalize()
}

/// The command of the row at `place`, without its answer when that is not as it was written; nothing when the id is not.
pub(super) fn command(
    place: i64,
    recipient: &str,
    id: &str,
    answer: Option<&[u8]>,
    written: i64,
) -> Option<CommandRecord> {
    if u64::from(command_identity_sum(place, recipient, id)) != written.cast_unsigned() >> 32 {
        return None;
    }
    let is_whole = command_sum(place, recipient, id, answer) == written;
    let answer = answer.filter(|_| is_whole).and_then(|answer| std::str::from_utf8(answer).ok());
    Some(CommandRecord {
        recipient: Recipient::from_text(recipient)?,
        id: id.to_owned(),
        answer: answer.map(Into::into),
    })
}

/// Whose reading the row at `sequence` holds, if it is one and that part of it is sound.
pub(super) fn reading_name(sequence: i64, identity: RowIdentity<'_>, sum: i64) -> Option<ReadingName> {
    let RowIdentity { kind, source, run, n } = identity;
    let is_reading = kind == kind_number(MessageKind::Reading);
    let name = || Some((Name::new(source).ok()?, RunId(u32::try_from(run).ok()?), u64::try_from(n).ok()?));
    if is_reading && identity.is_sound(sequence, sum) { name() } else { None }
}

/// The message of the row at `sequence`.
pub(super) fn decode(sequence: i64, row: Row) -> Result<Message, Unsound> {
    let identity = RowIdentity { kind: row.kind, source: &row.source, run: row.run, n: row.n };
    let reading = reading_name(sequence, identity, row.sum);
    let is_placed = identity.is_sound(sequence, row.sum);
    let written = row.sum;
    let message = message(row).filter(|message| written == sum(sequence, message));
    message.ok_or(Unsound { reading, is_placed })
}

/// The columns as a message, or nothing when no version of the program can have written them.
pub(super) fn message(row: Row) -> Option<Message> {
    let kind = match row.kind {
        0 => MessageKind::Reading,
        1 => MessageKind::Reply,
        2 => MessageKind::Loss,
        3 => MessageKind::TotalReply,
        4 => MessageKind::VariableReply,
        5 => MessageKind::Response,
        6 => MessageKind::Event,
        7 => MessageKind::RuleReply,
        _ => return None,
    };
    let qos = match row.flags & 0b11 {
        1 => Qos::AtLeastOnce,
        2 => Qos::ExactlyOnce,
        _ => return None,
    };
    let clock = if row.flags & UNSYNCHRONISED == 0 { ClockStatus::Synchronised } else { ClockStatus::Unsynchronised };
    let boot = Duration::from_nanos(u64::try_from(row.boot_ns).ok()?);
    Some(Message {
        key: Key { kind, source: Name::new(&row.source).ok()? },
        run: RunId(u32::try_from(row.run).ok()?),
        seq: u64::try_from(row.n).ok()?,
        taken_at: Moment { boot, wall: wall(row.wall_ms)?, clock },
        qos,
        retain: row.flags & RETAIN != 0,
        body: row.body,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tests::reading;

    const NOWHERE: Unsound = Unsound { reading: None, is_placed: false };

    fn row_of(sequence: i64, message: &Message) -> Row {
        Row {
            kind: kind_number(message.key.kind),
            source: message.key.source.as_str().to_owned(),
            run: message.run.0.into(),
            n: message.seq.cast_signed(),
            boot_ns: boot_ns(message.taken_at.boot),
            wall_ms: wall_ms(message.taken_at.wall),
            flags: flags(message),
            body: message.body.clone(),
            sum: sum(sequence, message),
        }
    }

    #[test]
    fn what_was_written_is_read_back() {
        let message = reading("air", 7, 20);
        assert_eq!(decode(9, row_of(9, &message)), Ok(message));
    }

    #[test]
    fn a_reading_is_still_named_when_its_content_is_damaged() {
        let message = reading("air", 7, 20);
        let mut row = row_of(9, &message);
        row.body[3] ^= 1;
        assert_eq!(
            decode(9, row),
            Err(Unsound { reading: Some((message.key.source, message.run, 7)), is_placed: true })
        );
    }

    #[test]
    fn a_row_that_says_another_name_or_stands_elsewhere_is_nobodys() {
        let message = reading("air", 7, 20);
        assert_eq!(decode(8, row_of(9, &message)), Err(NOWHERE));
        let renamed = Row { source: "aim".into(), ..row_of(9, &message) };
        assert_eq!(decode(9, renamed), Err(NOWHERE));
    }

    #[test]
    fn an_id_is_known_without_its_answer_when_that_is_damaged_and_not_at_all_when_it_is_itself() {
        let sum = command_sum(7, "pump", "a1", Some(b"done"));
        let read = |place, actuator, id, answer: Option<&[u8]>, sum| {
            command(place, actuator, id, answer, sum).map(|record| record.answer.map(|answer| answer.to_string()))
        };
        assert_eq!(read(7, "pump", "a1", Some(b"done"), sum), Some(Some("done".into())));
        assert_eq!(read(7, "pump", "a1", Some(b"dome"), sum), Some(None));
        assert_eq!(read(7, "pump", "a1", None, sum), Some(None));
        assert_eq!(read(7, "pump", "a1", Some(b"done"), sum ^ 1), Some(None));
        assert_eq!(read(7, "pump", "a2", Some(b"done"), sum), None);
        assert_eq!(read(8, "pump", "a1", Some(b"done"), sum), None);
        assert_eq!(read(7, "pum", "pa1", Some(b"done"), sum), None);
        let not_text = command_sum(7, "pump", "a1", Some(b"\xff"));
        assert_eq!(read(7, "pump", "a1", Some(b"\xff"), not_text), Some(None));
    }

    proptest! {
        #[test]
        fn no_row_makes_decoding_panic(
            kind in -1_i64..4, source in ".{0,70}", numbers in any::<[i64; 5]>(), body in any::<Vec<u8>>(),
        ) {
            let [run, n, boot_ns, wall_ms, flags] = numbers;
            if let Some(message) = message(Row { kind, source, run, n, boot_ns, wall_ms, flags, body, sum: 0 }) {
                payload::reading(&message, true, None);
            }
        }

        #[test]
        fn one_flipped_bit_never_changes_a_message(
            bytes in 0_usize..100, column in 0_usize..8,
            bit in 0_usize..64, at in any::<prop::sample::Index>(),
        ) {
            let message = reading("air", 7, bytes);
            let mut row = row_of(9, &message);
            let number = match column {
                0 => &mut row.kind,
                1 => &mut row.run,
                2 => &mut row.n,
                3 => &mut row.boot_ns,
                4 => &mut row.wall_ms,
                5 => &mut row.flags,
                6 => &mut row.sum,
                _ if bytes > 0 => {
                    row.body[at.index(bytes)] ^= 1 << (bit % 8);
                    &mut 0
                }
                _ => return Ok(()),
            };
            *number ^= 1 << bit;
            // A flag that has no meaning changes nothing.
            prop_assert!(decode(9, row).map_or(true, |read| column == 5 && read == message));
        }
    }
}
