//! Commands that switch rules on and off.
//!
//! A rule obeys at once, and the command is answered when the switch is on disk: a requester who has an answer need not switch it
//! again, not even after a kill. While the disk fails the rule obeys all the same, and the answer says so.

use tokio::sync::{mpsc, oneshot};

use crate::commands::totals::on_disk;
use crate::commands::{UNDER_WAY, Work};
use crate::roster::Roster;
use fieldgate_model::{Command, CommandValue, Name, Reason, Refusal, ReplyValue, Saved};

/// To the rules: one is switched.
#[derive(Debug)]
pub struct Switch {
    /// The name of the rule.
    pub rule: Name,
    /// Whether it is on from now on.
    pub is_on: bool,
    /// Answered when that is on disk; the requester may have stopped waiting.
    pub saved: oneshot::Sender<Saved>,
}

/// Hands the switch to the rules.
///
/// # Errors
/// Why it is refused: there is no such rule, it is neither on nor off, or the rules are behind.
pub(super) fn set(
    roster: &Roster,
    rules: &mpsc::Sender<Switch>,
    rule: &Name,
    command: &Command,
    under_way: usize,
) -> Result<Work, Refusal> {
    if !roster.rules.contains(rule) {
        return Err(Refusal::new(Reason::Unknown, format!("there is no rule called {rule}")));
    }
    let is_on = is_on(command)?;
    let busy = || Refusal::new(Reason::Busy, "the rules have not taken the switches before this one");
    if under_way >= UNDER_WAY {
        return Err(busy());
    }
    let (saved, is_saved) = oneshot::channel();
    rules.try_send(Switch { rule: rule.clone(), is_on, saved }).map_err(|_| busy())?;
    Ok(Box::pin(on_disk("switch", ReplyValue::Rule(is_on), is_saved)))
}

fn is_on(command: &Command) -> Result<bool, Refusal> {
    if command.lease.is_some() {
        let words = "a rule is switched until it is switched again: it takes value, id and issued_at, and no for";
        return Err(Refusal::new(Reason::Unreadable, words));
    }
    let refusal = || Refusal::new(Reason::Unreadable, "a rule takes on or off");
    CommandValue::of_switch(&command.written).ok_or_else(refusal)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use std::sync::Arc;

    use crate::plain::PlainTopics;
    use fieldgate_model::payload::decode_command;
    use fieldgate_model::topic::Topics;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn roster() -> Roster {
        Roster {
            topics: Topics::new("b"),
            sensors: BTreeSet::new(),
            outputs: BTreeSet::new(),
            targets: BTreeMap::new(),
            totals: BTreeMap::new(),
            rules: BTreeSet::from([name("heating")]),
            readers: BTreeMap::new(),
            plain: PlainTopics::default(),
            tallies: BTreeMap::new(),
            inventory: Arc::default(),
        }
    }

    fn asked(rules: &mpsc::Sender<Switch>, rule: &str, payload: &str, under_way: usize) -> Result<Work, String> {
        let command = decode_command(payload.as_bytes()).unwrap();
        set(&roster(), rules, &name(rule), &command, under_way).map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn what_switches_no_rule_is_refused_in_words_and_switches_nothing() {
        let (rules, mut switches) = mpsc::channel(1);
        for (rule, payload, under_way, words) in [
            ("cooling", "off", 0, "unknown: there is no rule called cooling"),
            ("heating", "maybe", 0, "unreadable: a rule takes on or off"),
            ("heating", "21", 0, "unreadable: a rule takes on or off"),
            (
                "heating",
                r#"{"value":"off","for":"1h"}"#,
                0,
                "unreadable: a rule is switched until it is switched again: it takes value, id and issued_at, and no for",
            ),
            ("heating", "off", UNDER_WAY, "busy: the rules have not taken the switches before this one"),
        ] {
            assert_eq!(asked(&rules, rule, payload, under_way).err().as_deref(), Some(words), "{payload}");
        }
        assert!(switches.try_recv().is_err());
        assert!(asked(&rules, "heating", "OFF", 0).is_ok());
        assert!(asked(&rules, "heating", "on", 0).is_err(), "full");
        let Switch { rule, is_on, .. } = switches.try_recv().unwrap();
        assert_eq!((rule, is_on), (name("heating"), false));
    }

    #[tokio::test]
    async fn the_answer_waits_for_the_disk_and_says_when_that_fails() {
        let (rules, mut switches) = mpsc::channel(2);
        for (saved, words) in [
            (Ok(()), None),
            (
                Err("no space".to_owned()),
                Some("hardware: the switch is set, but not on the disk yet, and a restart may take it back: no space"),
            ),
        ] {
            let work = asked(&rules, "heating", r#"{"value":true}"#, 0).unwrap();
            switches.try_recv().unwrap().saved.send(saved).unwrap();
            let ended = work.await;
            assert_eq!(ended.refusal.map(|refusal| refusal.to_string()).as_deref(), words);
            assert_eq!(ended.value, Some(ReplyValue::Rule(true)));
        }
    }
}
