//! Commands that set the total of a sensor that counts.
//!
//! Such a command is answered when the new total is on disk, so that a requester who has an answer need not set it again, not even
//! after a kill; and what is remembered of its `id` is never ahead of the total.

use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::commands::{Ended, UNDER_WAY, Work};
use crate::deadlines;
use crate::roster::Roster;
use crate::worker::{Order, await_answer};
use fieldgate_model::{Command, CommandValue, Name, Outcome, Reason, Refusal, ReplyValue, Saved};

/// Hands the command to the bus of the sensor.
///
/// # Errors
/// Why it is refused: there is no such sensor, it is not a number, or the bus is behind.
pub(super) fn set(roster: &Roster, sensor: &Name, command: &Command, under_way: usize) -> Result<Work, Refusal> {
    let total = roster.totals.get(sensor).ok_or_else(|| unknown(roster, sensor))?;
    let value = number(command)?;
    let busy = || Refusal::new(Reason::Busy, "the sensor's bus has not taken the commands before this one");
    if under_way >= UNDER_WAY {
        return Err(busy());
    }
    let (answer, applied) = oneshot::channel();
    // What is counted from now on comes on top.
    let counted = total.count.counted();
    let order = Order::SetTotal { sensor: sensor.clone(), total: value, counted, answer };
    total.inbox.try_send(order).map_err(|_| busy())?;
    Ok(Box::pin(async move {
        match await_answer(applied, "sensor").await {
            Ok(set) => on_disk("total", ReplyValue::Measured(set.value), set.saved).await,
            Err(refusal) => Ended::refused(refusal),
        }
    }))
}

/// Waits until what was set is on disk.
pub(super) async fn on_disk(what: &'static str, value: ReplyValue, saved: oneshot::Receiver<Saved>) -> Ended {
    let value = Some(value);
    let why = match timeout(deadlines::ANSWER, saved).await {
        Ok(Ok(Ok(()))) => return Ended { outcome: Outcome::Done, refusal: None, value },
        Ok(Ok(Err(why))) => why,
        Ok(Err(_)) => "the spool has ended".into(),
        Err(_) => "the spool does not answer".into(),
    };
    let words = format!("the {what} is set, but not on the disk yet, and a restart may take it back: {why}");
    Ended { outcome: Outcome::Failed, refusal: Some(Refusal::new(Reason::Hardware, words)), value }
}

fn unknown(roster: &Roster, sensor: &Name) -> Refusal {
    let words = if roster.sensors.contains(sensor) {
        format!("{sensor} is not a sensor that counts, and has no total to set")
    } else {
        format!("there is no sensor called {sensor}")
    };
    Refusal::new(Reason::Unknown, words)
}

fn number(command: &Command) -> Result<f64, Refusal> {
    if command.lease.is_some() {
        let words = "a total is set for good: it takes value, id and issued_at, and no for";
        return Err(Refusal::new(Reason::Unreadable, words));
    }
    match command.value {
        CommandValue::Number(number) => Ok(number),
        _ => Err(Refusal::new(Reason::Unreadable, "a total takes a number, such as 1234.56")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Arc;

    use super::*;
    use crate::plain::PlainTopics;
    use crate::roster::Total;
    use crate::worker::{Inbox, TotalSet};
    use fieldgate_model::payload::decode_command;
    use fieldgate_model::topic::Topics;
    use fieldgate_model::{Count, Value};

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    /// `gas` counts, `air` does not.
    fn roster(inbox: Inbox) -> Roster {
        let count = Arc::<Count>::default();
        Roster {
            topics: Topics::new("b"),
            sensors: BTreeSet::from([name("gas"), name("air")]),
            outputs: BTreeSet::new(),
            targets: BTreeMap::new(),
            totals: BTreeMap::from([(name("gas"), Total { count, inbox })]),
            rules: BTreeSet::new(),
            readers: BTreeMap::new(),
            plain: PlainTopics::default(),
            tallies: BTreeMap::new(),
            inventory: Arc::default(),
        }
    }

    fn asked(roster: &Roster, sensor: &str, payload: &str, under_way: usize) -> Result<Work, String> {
        let command = decode_command(payload.as_bytes()).map_err(|undecodable| undecodable.refusal.to_string())?;
        set(roster, &name(sensor), &command, under_way).map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn what_is_no_total_is_refused_in_words_and_orders_nothing() {
        let (inbox, orders) = Inbox::for_tests(1);
        let roster = roster(inbox);
        let refused = |sensor, payload| asked(&roster, sensor, payload, 0).err().unwrap();
        assert_eq!(refused("ghost", "1"), "unknown: there is no sensor called ghost");
        assert_eq!(refused("air", "1"), "unknown: air is not a sensor that counts, and has no total to set");
        for payload in ["", "on", "toggle", "NaN", "inf", "1e999", "1,5", "[1]", "null", r#"{"value":true}"#] {
            assert_eq!(refused("gas", payload), "unreadable: a total takes a number, such as 1234.56", "{payload}");
        }
        let words = "unreadable: a total is set for good: it takes value, id and issued_at, and no for";
        assert_eq!(refused("gas", r#"{"value":1,"for":"5m"}"#), words);
        assert!(refused("gas", r#"{"value":1,"unit":"kWh"}"#).starts_with("unreadable: "));
        assert!(orders.try_recv().is_err());
    }

    #[test]
    fn a_bus_that_is_behind_is_busy() {
        let (inbox, _orders) = Inbox::for_tests(1);
        let roster = roster(inbox);
        let busy = "busy: the sensor's bus has not taken the commands before this one";
        assert_eq!(asked(&roster, "gas", "1", UNDER_WAY).err().as_deref(), Some(busy));
        assert!(asked(&roster, "gas", "1", 0).is_ok());
        assert_eq!(asked(&roster, "gas", "1", 0).err().as_deref(), Some(busy));
    }

    #[tokio::test]
    async fn it_is_done_when_it_is_on_disk_and_failed_when_the_disk_does_not_take_it() {
        let (inbox, orders) = Inbox::for_tests(1);
        let roster = roster(inbox);
        roster.totals[&name("gas")].count.add(3);
        let not_saved =
            "hardware: the total is set, but not on the disk yet, and a restart may take it back: it is full";
        for (disk, outcome, words) in
            [(Ok(()), Outcome::Done, None), (Err("it is full".to_owned()), Outcome::Failed, Some(not_saved))]
        {
            let work = asked(&roster, "gas", "12.5", 0).unwrap();
            let Ok(Order::SetTotal { total, counted, answer, .. }) = orders.try_recv() else { panic!("an order") };
            assert_eq!((total, counted), (12.5, 3));
            let (saved, is_saved) = oneshot::channel();
            answer.send(Ok(TotalSet { value: Value::Number { value: 12.5, decimals: 1 }, saved: is_saved })).unwrap();
            saved.send(disk).unwrap();
            let ended = work.await;
            assert_eq!((ended.outcome, ended.refusal.map(|refusal| refusal.to_string()).as_deref()), (outcome, words));
            assert_eq!(ended.value, Some(ReplyValue::Measured(Value::Number { value: 12.5, decimals: 1 })));
        }
        let work = asked(&roster, "gas", "1", 0).unwrap();
        drop(orders);
        let ended = work.await;
        assert_eq!(ended.refusal.map(|refusal| refusal.to_string()).as_deref(), Some("hardware: the sensor is gone"));
    }
}
