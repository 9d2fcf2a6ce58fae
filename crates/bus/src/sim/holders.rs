//! Which process holds which input line of a simulated bus: `"held": {"GPIO17": 1234}` in the state file.
//!
//! The kernel refuses a line that another process uses; here the file says so, so that `fieldgate read` answers the same on
//! both. An entry counts only while a process with that number runs this same program, for nobody takes back the entries
//! of one that was killed. Outputs are not entered: `fieldgate safe-state` must drive them from a second process.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::{Map, Value, json};

/// What the file says of others, and what we have let go.
#[derive(Default)]
pub(super) struct Holders {
    others: BTreeMap<String, u32>,
    released: BTreeSet<String>,
}

impl Holders {
    /// Takes over what the file says.
    pub(super) fn take_over<'a>(&mut self, entries: impl Iterator<Item = (&'a String, &'a Value)>) {
        let process = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
        let others = entries.filter_map(|(line, value)| Some((line.clone(), process(value)?)));
        self.others = others.filter(|(_, id)| *id != std::process::id()).collect();
    }

    /// The other process that holds a line.
    pub(super) fn holder(&self, line: &str) -> Option<u32> {
        self.others.get(line).copied().filter(|id| runs_this_program(*id))
    }

    /// We have let go of a line: our entry is to be taken out.
    pub(super) fn release(&mut self, line: &str) {
        self.released.insert(line.to_owned());
    }

    /// The file has what we wanted to say.
    pub(super) fn written(&mut self) {
        self.released.clear();
    }

    /// The section as it should be: ours in it, without what we have let go and without those who have ended.
    pub(super) fn merge<'a>(&self, entries: &mut Map<String, Value>, ours: impl Iterator<Item = &'a str>) {
        let own = json!(std::process::id());
        entries.retain(|line, id| match self.others.get(line) {
            Some(_) => self.holder(line).is_some(),
            None => *id != own || !self.released.contains(line),
        });
        for line in ours {
            entries.entry(line).or_insert_with(|| own.clone());
        }
    }
}

/// Whether the process lives and is one of ours; another program may have got the number of one that ended.
fn runs_this_program(id: u32) -> bool {
    let name = |id: &str| fs::read_to_string(format!("/proc/{id}/comm")).ok();
    let theirs = name(&id.to_string());
    theirs.is_some() && theirs == name("self")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The parent runs another program, and no process has this number.
    const NOBODY: u32 = u32::MAX;

    fn merged(holders: &Holders, mut entries: Value, ours: &[&str]) -> Value {
        holders.merge(entries.as_object_mut().unwrap(), ours.iter().copied());
        entries
    }

    #[test]
    fn our_own_entries_hold_nobody_up_and_go_when_we_let_go() {
        let (mut holders, own) = (Holders::default(), std::process::id());
        let file = json!({"GPIO17": own, "GPIO18": own});
        holders.take_over(file.as_object().unwrap().iter());
        assert_eq!(holders.holder("GPIO17"), None);
        holders.release("GPIO17");
        assert_eq!(merged(&holders, file.clone(), &["GPIO22"]), json!({"GPIO18": own, "GPIO22": own}));
        holders.written();
        assert_eq!(merged(&holders, file.clone(), &[]), file, "another bus of this process may hold it now");
    }

    #[test]
    fn a_process_that_has_ended_holds_nothing() {
        let mut holders = Holders::default();
        let file = json!({"GPIO17": NOBODY, "GPIO18": "junk", "GPIO19": std::os::unix::process::parent_id()});
        holders.take_over(file.as_object().unwrap().iter());
        assert!(["GPIO17", "GPIO18", "GPIO19"].iter().all(|line| holders.holder(line).is_none()));
        assert_eq!(merged(&holders, file, &["GPIO17"]), json!({"GPIO18": "junk", "GPIO17": std::process::id()}));
    }
}
