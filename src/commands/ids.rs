//! Which command ids were seen, and what was answered.
//!
//! The newest [`REMEMBERED`] are remembered, over restarts too: each is recorded when its command begins and when it is
//! answered, and the spool keeps that. Nothing waits for the disk here. As long as none could be read, a command is checked
//! against what this run has seen; what earlier runs saw comes in front of that as soon as it is known, and the answers of this
//! run stay. An id belongs to one recipient.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use fieldgate_model::payload::ResponseTarget;
use fieldgate_model::{CommandRecord, REMEMBERED, Recipient};
use fieldgate_spool::CommandIds;

/// Repeats that may wait for one command's answer: twice as many as the link hands over at once. Further ones are refused as
/// busy.
const WAITING: usize = 128;

/// Those of them that want the answer elsewhere too. Where, and with what data, is for the sender to say, and may be long.
const WAITING_ELSEWHERE: usize = 16;

/// What is known of the id of a command.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum IdState {
    /// It was not seen yet, or the command has none.
    New,
    /// The first is under way; its answer will be repeated.
    UnderWay,
    /// The first is under way, and as many repeats as may wait for its answer do so.
    Crowded,
    /// An earlier run took the first and ended before it answered. Whether that was carried out is unknown.
    Interrupted,
    /// This was the answer.
    Answered(String),
}

#[derive(Debug)]
enum Entry {
    UnderWay(Vec<Option<ResponseTarget>>),
    Interrupted,
    Answered(Arc<str>),
}

type Key = (Recipient, String);

/// The ids of all recipients.
#[derive(Debug)]
pub(super) struct Ids {
    entries: BTreeMap<Key, Entry>,
    order: VecDeque<Key>,
    command_ids: CommandIds,
    has_earlier: bool,
}

impl Ids {
    /// Those that earlier runs saw, as soon as they are known.
    pub(super) fn new(command_ids: CommandIds) -> Self {
        Self { entries: BTreeMap::new(), order: VecDeque::new(), command_ids, has_earlier: false }
    }

    /// What is known of `id`. A repeat of one that is under way waits for its answer.
    pub(super) fn look_up(
        &mut self,
        recipient: &Recipient,
        id: Option<&str>,
        response: Option<&ResponseTarget>,
    ) -> IdState {
        let Some(id) = id else { return IdState::New };
        self.load_earlier();
        match self.entries.get_mut(&(recipient.clone(), id.to_owned())) {
            None => IdState::New,
            Some(Entry::Answered(payload)) => IdState::Answered(payload.to_string()),
            Some(Entry::Interrupted) => IdState::Interrupted,
            Some(Entry::UnderWay(waiting)) if is_crowded(waiting, response) => IdState::Crowded,
            Some(Entry::UnderWay(waiting)) => {
                waiting.push(response.cloned());
                IdState::UnderWay
            }
        }
    }

    /// Puts what earlier runs saw in front, once.
    fn load_earlier(&mut self) {
        if self.has_earlier {
            return;
        }
        let Some(earlier) = self.command_ids.earlier() else { return };
        self.has_earlier = true;
        for CommandRecord { recipient, id, answer } in earlier.iter().rev() {
            let key = (recipient.clone(), id.clone());
            if !self.entries.contains_key(&key) {
                let entry = answer.as_ref().map_or(Entry::Interrupted, |answer| Entry::Answered(Arc::clone(answer)));
                self.entries.insert(key.clone(), entry);
                self.order.push_front(key);
            }
        }
        self.forget_oldest();
    }

    /// A command with `id` begins.
    pub(super) fn begin(&mut self, recipient: &Recipient, id: Option<&str>) {
        let Some(id) = id else { return };
        self.put((recipient.clone(), id.to_owned()), Entry::UnderWay(Vec::new()));
        self.command_ids.record(CommandRecord { recipient: recipient.clone(), id: id.to_owned(), answer: None });
    }

    /// The command with `id` was answered; returns the repeats that waited.
    pub(super) fn answered(
        &mut self,
        recipient: &Recipient,
        id: Option<&str>,
        payload: &str,
    ) -> Vec<Option<ResponseTarget>> {
        let Some(id) = id else { return Vec::new() };
        let answer: Arc<str> = payload.into();
        let before = self.put((recipient.clone(), id.to_owned()), Entry::Answered(Arc::clone(&answer)));
        self.command_ids.record(CommandRecord {
            recipient: recipient.clone(),
            id: id.to_owned(),
            answer: Some(answer),
        });
        match before {
            Some(Entry::UnderWay(waiting)) => waiting,
            _ => Vec::new(),
        }
    }

    /// One that is known keeps its place.
    fn put(&mut self, key: Key, entry: Entry) -> Option<Entry> {
        let before = self.entries.insert(key.clone(), entry);
        if before.is_none() {
            self.order.push_back(key);
            self.forget_oldest();
        }
        before
    }

    fn forget_oldest(&mut self) {
        while self.order.len() > REMEMBERED {
            let Some(oldest) = self.order.pop_front() else { return };
            self.entries.remove(&oldest);
        }
    }
}

fn is_crowded(waiting: &[Option<ResponseTarget>], response: Option<&ResponseTarget>) -> bool {
    waiting.len() >= WAITING || (response.is_some() && waiting.iter().flatten().count() >= WAITING_ELSEWHERE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fieldgate_model::{EarlierCommands, Name};

    fn pump() -> Recipient {
        Recipient::output(Name::new("pump").unwrap())
    }

    fn after(earlier: EarlierCommands) -> Ids {
        Ids::new(CommandIds::with_earlier(earlier))
    }

    fn record(id: &str, answer: Option<&str>) -> CommandRecord {
        CommandRecord { recipient: pump(), id: id.into(), answer: answer.map(Into::into) }
    }

    #[test]
    fn a_repeat_gets_the_first_answer() {
        let mut ids = after(None);
        assert_eq!(ids.look_up(&pump(), Some("a"), None), IdState::New);
        ids.begin(&pump(), Some("a"));
        assert_eq!(ids.look_up(&pump(), Some("a"), None), IdState::UnderWay);
        assert_eq!(ids.answered(&pump(), Some("a"), "first"), [None], "the repeat waited");
        assert_eq!(ids.look_up(&pump(), Some("a"), None), IdState::Answered("first".into()));
        let fan = Recipient::output(Name::new("fan").unwrap());
        let total = Recipient::total(Name::new("pump").unwrap());
        assert_eq!(ids.look_up(&fan, Some("a"), None), IdState::New, "another output's id");
        assert_eq!(ids.look_up(&total, Some("a"), None), IdState::New, "that of a total");
        assert_eq!(ids.command_ids.unwritten(), [record("a", None), record("a", Some("first"))]);
    }

    #[test]
    fn a_repeat_too_many_is_answered_instead_of_waiting() {
        let mut ids = after(None);
        ids.begin(&pump(), Some("a"));
        let elsewhere = ResponseTarget { topic: "answers".into(), correlation: None };
        for _ in 0..WAITING_ELSEWHERE {
            assert_eq!(ids.look_up(&pump(), Some("a"), Some(&elsewhere)), IdState::UnderWay);
        }
        assert_eq!(ids.look_up(&pump(), Some("a"), Some(&elsewhere)), IdState::Crowded);
        for _ in WAITING_ELSEWHERE..WAITING {
            assert_eq!(ids.look_up(&pump(), Some("a"), None), IdState::UnderWay);
        }
        assert_eq!(ids.look_up(&pump(), Some("a"), None), IdState::Crowded);
        assert_eq!(ids.answered(&pump(), Some("a"), "first").len(), WAITING);
    }

    #[test]
    fn a_command_without_id_is_never_a_repeat_and_not_recorded() {
        let mut ids = after(None);
        ids.begin(&pump(), None);
        ids.answered(&pump(), None, "first");
        assert_eq!(ids.look_up(&pump(), None, None), IdState::New);
        assert_eq!(ids.command_ids.unwritten(), []);
    }

    #[test]
    fn the_oldest_ids_are_forgotten() {
        let mut ids = after(None);
        for n in 0..=REMEMBERED {
            ids.begin(&pump(), Some(&n.to_string()));
        }
        assert_eq!(ids.look_up(&pump(), Some("0"), None), IdState::New);
        assert_eq!(ids.look_up(&pump(), Some("1"), None), IdState::UnderWay);
        assert_eq!((ids.entries.len(), ids.order.len()), (REMEMBERED, REMEMBERED));
    }

    #[test]
    fn what_an_earlier_run_answered_is_repeated_and_what_it_did_not_is_interrupted() {
        let mut ids = after(Some(Arc::new(vec![record("a", Some("first")), record("b", None)])));
        assert_eq!(ids.look_up(&pump(), Some("a"), None), IdState::Answered("first".into()));
        assert_eq!(ids.look_up(&pump(), Some("b"), None), IdState::Interrupted);
        assert_eq!(ids.answered(&pump(), Some("b"), "nobody knows"), []);
        assert_eq!(ids.look_up(&pump(), Some("b"), None), IdState::Answered("nobody knows".into()));
        assert_eq!(ids.command_ids.unwritten(), [record("b", Some("nobody knows"))]);
    }

    #[test]
    fn what_earlier_runs_saw_is_older_than_what_this_one_saw_before_it_was_known() {
        let earlier = (0..REMEMBERED).map(|n| record(&n.to_string(), None)).collect();
        let mut ids = after(Some(Arc::new(earlier)));
        // The earlier ones are loaded by the first look-up, not before.
        ids.begin(&pump(), Some("new"));
        ids.begin(&pump(), Some("5"));
        ids.answered(&pump(), Some("5"), "of this run");
        assert_eq!(ids.look_up(&pump(), Some("5"), None), IdState::Answered("of this run".into()));
        assert_eq!(ids.look_up(&pump(), Some("new"), None), IdState::UnderWay);
        assert_eq!(ids.look_up(&pump(), Some("0"), None), IdState::New, "the oldest had to go");
        assert_eq!(ids.look_up(&pump(), Some("1"), None), IdState::Interrupted);
        assert_eq!((ids.entries.len(), ids.order.len()), (REMEMBERED, REMEMBERED));
    }
}
