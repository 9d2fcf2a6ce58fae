//! The user and the groups by whose rights the service works.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use rustix::process::{getegid, geteuid, getgroups};

use crate::cli::doctor::check::{Check, Finding, Verdict, quoted};
use crate::cli::doctor::situation::{Account, Situation, Unit, UnitFacts};

/// The service's user and groups exist.
pub(super) const ACCOUNT: Check =
    Check { id: "account", title: "the service's user and groups", causes: &["user-absent", "group-absent"], judge };

fn judge(situation: &Situation) -> Verdict {
    let account = &situation.account;
    let mut findings = Vec::new();
    if account.uid.is_none() {
        let name = quoted(&account.name);
        findings.push(Finding::new(
            "user-absent",
            format!("there is no user {}, as whom the service is to run", account.name),
            format!("sudo useradd --system --no-create-home --shell /usr/sbin/nologin {name}"),
        ));
    }
    findings.extend(account.absent_groups.iter().map(|group| {
        Finding::new(
            "group-absent",
            format!("there is no group {group}, which the unit gives to the service; it cannot start"),
            format!("sudo groupadd --system {} && sudo systemctl restart fieldgate", quoted(group)),
        )
    }));
    let whose = if account.is_of_service { "the service's" } else { "that of whoever runs this" };
    Verdict::of(findings, format!("{}, {whose}", account.name))
}

/// The account of the unit, or of the user who runs this where there is none; of the system whose files are below `root`.
pub(super) fn gather(root: &Path, unit: &UnitFacts) -> Account {
    let read = |name: &str| fs::read_to_string(root.join("etc").join(name)).unwrap_or_default();
    let (users, groups) = (Names::read(&read("passwd")), Names::read(&read("group")));
    match unit.loaded() {
        Some(unit) => of_unit(unit, &users, &groups),
        None => of_this_process(&users),
    }
}

/// The name of this group, of the system whose files are below `root`.
pub(super) fn group_name(root: &Path, gid: u32) -> Option<String> {
    let groups = Names::read(&fs::read_to_string(root.join("etc/group")).unwrap_or_default());
    groups.0.into_iter().find(|entry| entry.number == gid).map(|entry| entry.name)
}

fn of_unit(unit: &Unit, users: &Names, groups: &Names) -> Account {
    let name = if unit.user.is_empty() { "root" } else { &unit.user };
    let user = users.0.iter().find(|user| user.name == name || user.number.to_string() == name);
    let named: BTreeSet<&str> = unit
        .groups
        .iter()
        .map(String::as_str)
        .chain(Some(unit.group.as_str()).filter(|group| !group.is_empty()))
        .collect();
    let of_member = groups.0.iter().filter(|group| group.rest.split(',').any(|member| member == name));
    let found =
        |wanted: &&str| groups.0.iter().find(|group| group.name == **wanted || group.number.to_string() == **wanted);
    let primary = user.filter(|_| unit.group.is_empty()).and_then(|user| user.rest.split(':').next()?.parse().ok());
    Account {
        name: name.to_owned(),
        uid: user.map(|user| user.number).or((name == "root").then_some(0)),
        groups: named.iter().filter_map(found).chain(of_member).map(|group| group.number).chain(primary).collect(),
        absent_groups: named.iter().filter(|name| found(name).is_none()).map(|name| (*name).to_owned()).collect(),
        is_of_service: true,
    }
}

fn of_this_process(users: &Names) -> Account {
    let uid = geteuid().as_raw();
    let name = users.0.iter().find(|user| user.number == uid).map_or(format!("user {uid}"), |user| user.name.clone());
    // Without an answer only the group of this process counts, which may find too much.
    let groups = getgroups().unwrap_or_default().into_iter().chain([getegid()]).map(|group| group.as_raw()).collect();
    Account { name, uid: Some(uid), groups, ..Account::default() }
}

/// The lines of passwd(5) or group(5).
struct Names(Vec<Entry>);

struct Entry {
    name: String,
    number: u32,
    /// What follows the number: of a user the group and more, of a group the members.
    rest: String,
}

impl Names {
    fn read(text: &str) -> Self {
        let entry = |line: &str| {
            let mut fields = line.splitn(4, ':');
            let (name, _) = (fields.next()?.to_owned(), fields.next()?);
            Some(Entry {
                name,
                number: fields.next()?.parse().ok()?,
                rest: fields.next().unwrap_or_default().to_owned(),
            })
        };
        Self(text.lines().filter_map(entry).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::situation::Rights;

    const USERS: &str = "root:x:0:0:root:/root:/bin/sh\nfieldgate:x:990:980::/:/usr/sbin/nologin\n";
    const GROUPS: &str = "root:x:0:\ni2c:x:101:pi\nspi:x:102:pi,fieldgate\nfieldgate:x:980:\n";

    fn unit(groups: &[&str]) -> Unit {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        Unit { user: "fieldgate".into(), groups, ..Unit::default() }
    }

    #[test]
    fn the_groups_of_the_unit_of_the_user_and_those_he_is_in_count() {
        let account = of_unit(&unit(&["i2c", "gpio"]), &Names::read(USERS), &Names::read(GROUPS));
        assert_eq!((account.uid, account.groups), (Some(990), vec![101, 102, 980]));
        assert_eq!(account.absent_groups, ["gpio"]);
    }

    #[test]
    fn rights_are_those_of_the_first_class_that_fits() {
        let account = of_unit(&unit(&["i2c"]), &Names::read(USERS), &Names::read(GROUPS));
        let rights = |mode, uid, gid| Rights { mode, uid, gid };
        for (of, may) in [
            (rights(0o660, 0, 101), true),
            (rights(0o660, 0, 103), false),
            (rights(0o666, 0, 0), true),
            (rights(0o606, 0, 101), false),
            (rights(0o600, 990, 0), true),
        ] {
            assert_eq!(account.may(6, of), may, "{of:?}");
        }
        assert!(Account { uid: Some(0), ..Account::default() }.may(6, rights(0, 1, 1)), "root may all");
    }
}
