//! What users have set and is kept over restarts, such as variables: what memory knows, and what the disk has of it. Pure.
//!
//! What was set in this run is newer than what any file says.

use std::collections::BTreeMap;
use std::sync::Arc;

use fieldgate_model::{PersistedValues, Recipient};

/// Values that are kept at most. One of a variable that was renamed or removed stays, so that it goes on when it is put back.
const LIMIT: usize = 4096;

/// What was set, and to what.
pub(super) type SetValue = (Recipient, String);

/// What users have set, and whether that is on the disk.
#[derive(Debug, Default)]
pub(super) struct Values {
    all: BTreeMap<Recipient, Entry>,
    is_known: bool,
}

#[derive(Debug, Default)]
struct Entry {
    value: String,
    /// What the disk says.
    saved: Option<String>,
    /// Whether it was set in this run.
    is_set: bool,
}

impl Entry {
    fn is_saved(&self) -> bool {
        self.saved.as_ref() == Some(&self.value)
    }
}

impl Values {
    /// Takes a value that a user has set. Nothing is taken of one more than are kept, which [`Values::is_saved`] then says.
    pub(super) fn set(&mut self, recipient: Recipient, value: String) {
        if self.all.len() < LIMIT || self.all.contains_key(&recipient) {
            let entry = self.all.entry(recipient).or_default();
            (entry.value, entry.is_set) = (value, true);
        }
    }

    /// Whether what is known of it is on disk.
    pub(super) fn is_saved(&self, recipient: &Recipient) -> bool {
        self.all.get(recipient).is_some_and(Entry::is_saved)
    }

    /// What must be written.
    pub(super) fn unsaved(&self) -> Vec<SetValue> {
        let unsaved = self.all.iter().filter(|(_, entry)| !entry.is_saved());
        unsaved.map(|(recipient, entry)| (recipient.clone(), entry.value.clone())).collect()
    }

    /// Whether something must be written.
    pub(super) fn has_unsaved(&self) -> bool {
        self.all.values().any(|entry| !entry.is_saved())
    }

    /// Notes that these are on disk.
    pub(super) fn mark_saved(&mut self, saved: &[SetValue]) {
        for (recipient, value) in saved {
            if let Some(entry) = self.all.get_mut(recipient) {
                entry.saved = Some(value.clone());
            }
        }
    }

    /// The file that is in use now has these.
    pub(super) fn adopt(&mut self, rows: Vec<SetValue>) {
        self.forget_disk();
        self.recover(rows.clone());
        self.mark_saved(&rows);
        self.is_known = true;
    }

    /// A file that is in use no more has these.
    pub(super) fn recover(&mut self, rows: Vec<SetValue>) {
        for (recipient, value) in rows {
            if !self.all.contains_key(&recipient) && self.all.len() < LIMIT {
                self.all.insert(recipient, Entry { value, saved: None, is_set: false });
            } else if let Some(entry) = self.all.get_mut(&recipient).filter(|entry| !entry.is_set) {
                entry.value = value;
            }
        }
    }

    /// The disk has nothing any more.
    pub(super) fn forget_disk(&mut self) {
        self.all.values_mut().for_each(|entry| entry.saved = None);
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// All of them, once a disk has been read.
    pub(super) fn known(&self) -> PersistedValues {
        let all = || self.all.iter().map(|(recipient, entry)| (recipient.clone(), entry.value.clone())).collect();
        self.is_known.then(|| Arc::new(all()))
    }

    /// Whether [`Values::known`] says something.
    pub(super) fn is_known(&self) -> bool {
        self.is_known
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fieldgate_model::Name;

    fn variable(name: &str) -> Recipient {
        Recipient::variable(Name::new(name).unwrap())
    }

    fn row(name: &str, value: &str) -> SetValue {
        (variable(name), value.into())
    }

    #[test]
    fn what_was_set_in_this_run_is_newer_than_any_file_and_is_written() {
        let mut values = Values::default();
        assert_eq!(values.known(), None);
        values.set(variable("target"), "21.5".into());
        values.adopt(vec![row("target", "19"), row("mode", "away")]);
        assert_eq!(values.known().unwrap().values().map(String::as_str).collect::<Vec<_>>(), ["away", "21.5"]);
        assert_eq!(values.unsaved(), [row("target", "21.5")]);
        values.mark_saved(&[row("target", "21.5")]);
        assert!(values.is_saved(&variable("target")) && !values.has_unsaved() && !values.is_saved(&variable("else")));
        values.set(variable("target"), "22".into());
        values.recover(vec![row("target", "18"), row("mode", "auto")]);
        assert_eq!(values.unsaved(), [row("mode", "auto"), row("target", "22")]);
    }

    #[test]
    fn a_value_that_was_set_again_while_it_was_written_is_not_saved() {
        let mut values = Values::default();
        values.adopt(Vec::new());
        values.set(variable("target"), "20".into());
        let written = values.unsaved();
        values.set(variable("target"), "21".into());
        values.mark_saved(&written);
        assert!(!values.is_saved(&variable("target")));
    }

    #[test]
    fn values_are_limited_and_one_too_many_is_never_saved() {
        let mut values = Values::default();
        (0..=LIMIT).for_each(|n| values.set(variable(&format!("n{n}")), "1".into()));
        assert_eq!(values.unsaved().len(), LIMIT);
        values.mark_saved(&values.unsaved());
        assert!(values.is_saved(&variable("n0")) && !values.is_saved(&variable(&format!("n{LIMIT}"))));
    }
}
