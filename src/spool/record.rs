//! The form of a row. Pure: what is read back may be any bytes and is refused, never trusted.

use std::time::{Duration, SystemTime};

use crate::model::{ClockStatus, Key, Loss, Message, MessageKind, Moment, Name, Qos, RunId, payload};

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
}

const RETAIN: i64 = 0b100;
const UNSYNCHRONISED: i64 = 0b1000;

/// Bytes that a message takes in a page besides source and body: header, numbers and cell pointer, rounded up.
pub(super) const ROW_OVERHEAD: u64 = 48;

/// Bytes that a message takes in the database, roughly but never too few for small bodies.
pub(super) fn cost(message: &Message) -> u64 {
    ROW_OVERHEAD + (message.key.source.as_str().len() + message.body.len()) as u64
}

/// The message that tells of a loss; `now` is when it became known.
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
    }
}

/// Millisconds since 1970; times before it count as 1970.
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

/// The message of a row, or nothing when no version of the program can have written it.
pub(super) fn decode(row: Row) -> Option<Message> {
    let kind = match row.kind {
        0 => MessageKind::Reading,
        1 => MessageKind::Reply,
        2 => MessageKind::Loss,
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

    proptest! {
        #[test]
        fn no_row_makes_decoding_panic(
            kind in -1_i64..4, source in ".{0,70}", numbers in any::<[i64; 5]>(), body in any::<Vec<u8>>(),
        ) {
            let [run, n, boot_ns, wall_ms, flags] = numbers;
            let row = Row { kind, source, run, n, boot_ns, wall_ms, flags, body };
            if let Some(message) = decode(row) {
                payload::reading(&message, true, None);
            }
        }
    }
}
