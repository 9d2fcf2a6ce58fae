//! The spool: its disk, its file, and who has it. It is looked at from outside, and nothing is changed.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use rustix::fs::{StatVfsMountFlags, statvfs};

use crate::cli::doctor::buses::rights;
use crate::cli::doctor::check::{Check, Finding, NO_CONFIGURATION, Verdict, quoted};
use crate::cli::doctor::situation::{Situation, Storage, UnitFacts};
use fieldgate_spool::{self as spool, FileState, MIN_SIZE};

/// Whether the disk takes what is written.
pub(super) const DISK: Check = Check {
    id: "disk",
    title: "the disk of the spool",
    causes: &["disk-silent", "disk-full", "disk-read-only", "spool-folder"],
    judge: judge_disk,
};

/// Whether the spool's file can be used.
pub(super) const SPOOL: Check = Check {
    id: "spool",
    title: "the spool's file",
    causes: &["spool-newer", "spool-damaged", "spool-unreadable"],
    judge: judge_spool,
};

/// Nothing is left of an earlier damage, which no longer does any harm.
pub(super) const SET_ASIDE: Check = Check {
    id: "set-aside",
    title: "files of the spool that were set aside as damaged",
    causes: &["spool-set-aside"],
    judge: judge_set_aside,
};

/// Whether the service alone uses the spool.
pub(super) const INSTANCE: Check =
    Check { id: "instance", title: "which process has the spool", causes: &["two-instances"], judge: judge_instance };

/// Why nothing is said of a spool that only its owner may read.
const NOT_YOURS: &str = "you may not read the spool; run it with sudo";

/// Why nothing is said where the disk is not known.
const NO_DISK: &str = "its disk could not be looked at";

/// States of a unit that runs, or would like to.
const TRIES: [&str; 4] = ["active", "reloading", "activating", "failed"];

/// Read, write and enter, in the bits of others.
const ALL: u32 = 7;

fn judge_disk(situation: &Situation) -> Verdict {
    let Some(storage) = &situation.storage else { return without(situation) };
    let (shown, folder) = (storage.path.display(), quoted(&storage.path.to_string_lossy()));
    let account = &situation.account;
    let available = storage.inspection.available_bytes;
    let mut findings = Vec::new();
    if storage.is_read_only {
        let words = format!("the disk of {shown} is mounted read-only, as the kernel does after an error of the disk");
        findings.push(Finding::new("disk-read-only", words, "sudo dmesg --level=err,warn | tail -n 20"));
    }
    if available < MIN_SIZE || storage.lacks_inodes {
        let words = if storage.lacks_inodes {
            format!("the disk of {shown} takes no more files: it has no inodes left")
        } else {
            format!("the disk of {shown} is full: {} KiB are free for the spool", available / 1024)
        };
        findings.push(Finding::new("disk-full", words, "sudo journalctl --vacuum-size=50M && sudo apt clean"));
    }
    let refused = storage.rights.is_some_and(|rights| account.uid.is_some() && !account.may(ALL, rights));
    // What the disk does to everybody has been said.
    if findings.is_empty() && (storage.trouble.is_some() || refused) {
        let words =
            storage.trouble.clone().unwrap_or_else(|| format!("{shown} may not be written by {}", account.name));
        let remedy = format!("sudo install -d -m 750 -o {0} -g {0} {folder}", quoted(&account.name));
        findings.push(Finding::new("spool-folder", words, remedy));
    }
    Verdict::of(findings, format!("{shown} has {} MiB for the spool", available / 1024 / 1024))
}

fn without(situation: &Situation) -> Verdict {
    if situation.buses.is_none() {
        return Verdict::not_checked(NO_CONFIGURATION);
    }
    let words = "the disk of the spool does not answer";
    Verdict::Wrong(vec![Finding::new("disk-silent", words, "sudo dmesg --level=err,warn | tail -n 20")])
}

fn judge_spool(situation: &Situation) -> Verdict {
    let Some(storage) = &situation.storage else { return Verdict::not_checked(NO_DISK) };
    let shown = storage.path.display();
    let mut findings = Vec::new();
    let mut good = String::new();
    match &storage.inspection.state {
        FileState::Absent => good = "there is none yet; the next start makes it".into(),
        FileState::InUse(_) => good = "in use; the service itself reports damage".into(),
        FileState::Sound { messages, is_complete } => {
            good = format!("{messages} {} wait{}", plural(*messages), if *is_complete { "" } else { " at least" });
        }
        FileState::Newer(error) => {
            findings.push(Finding::new("spool-newer", error.to_string(), "apt list -a fieldgate"));
        }
        FileState::Damaged(why) => findings.push(Finding::new(
            "spool-damaged",
            format!("the spool in {shown} is damaged: {why}; the next start sets it aside and saves what can be read"),
            "sudo systemctl restart fieldgate",
        )),
        FileState::Unreadable(error) if error.kind() == ErrorKind::PermissionDenied => {
            return Verdict::not_checked(NOT_YOURS);
        }
        FileState::Unreadable(error) => findings.push(Finding::new(
            "spool-unreadable",
            format!("the spool in {shown} cannot be read: {error}"),
            "sudo dmesg --level=err,warn | tail -n 20",
        )),
    }
    Verdict::of(findings, good)
}

fn judge_set_aside(situation: &Situation) -> Verdict {
    let Some(storage) = &situation.storage else { return Verdict::not_checked(NO_DISK) };
    let mut findings = Vec::new();
    if let [first, ..] = &storage.inspection.set_aside[..] {
        let count = storage.inspection.set_aside.len();
        let words = format!(
            "the spool was damaged before: {count} {} set aside, the first is {}; what could be read was saved",
            if count == 1 { "file was" } else { "files were" },
            first.display()
        );
        findings.push(Finding::new("spool-set-aside", words, format!("sudo rm {}*", quoted(&first.to_string_lossy()))));
    }
    Verdict::of(findings, "none")
}

fn plural(messages: u64) -> &'static str {
    if messages == 1 { "message" } else { "messages" }
}

fn judge_instance(situation: &Situation) -> Verdict {
    let Some(storage) = &situation.storage else { return Verdict::not_checked(NO_DISK) };
    let holder = match storage.inspection.state {
        FileState::InUse(holder) => holder,
        FileState::Unreadable(_) => return Verdict::not_checked(NOT_YOURS),
        _ => return Verdict::Good("none".into()),
    };
    let who = holder.map_or("a process of a container".into(), |pid| format!("process {pid}"));
    match &situation.unit {
        UnitFacts::Loaded(unit) if holder == Some(unit.main_pid) => Verdict::Good(format!("the service, {who}")),
        UnitFacts::Loaded(unit) if TRIES.contains(&unit.active.as_str()) => {
            let words = format!(
                "{} is in use by {who}, which is not the service: of two that run, the second is refused",
                storage.path.display()
            );
            let remedy = holder.map_or("podman ps".into(), |pid| format!("sudo kill {pid}"));
            Verdict::Wrong(vec![Finding::new("two-instances", words, remedy)])
        }
        // A person who has stopped the service may have started the program by hand; that is no fault.
        _ => Verdict::Good(who),
    }
}

/// Looks at the spool in this folder. A disk that hangs keeps this waiting.
pub(super) fn gather(folder: &Path) -> Storage {
    let there = folder.ancestors().find(|place| place.exists()).unwrap_or(Path::new("/"));
    // A disk that says nothing of itself is judged by what it does.
    let disk = statvfs(there).ok();
    Storage {
        path: folder.to_owned(),
        trouble: spool::describe_folder(folder),
        rights: fs::metadata(folder).ok().as_ref().map(rights),
        is_read_only: disk.as_ref().is_some_and(|disk| disk.f_flag.contains(StatVfsMountFlags::RDONLY)),
        lacks_inodes: disk.is_some_and(|disk| disk.f_files > 0 && disk.f_favail == 0),
        inspection: spool::inspect(folder),
    }
}
