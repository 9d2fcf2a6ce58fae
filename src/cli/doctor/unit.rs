//! The service as systemd sees it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::cli::EXIT_CONFIG;
use crate::cli::doctor::check::{Check, Finding, Verdict};
use crate::cli::doctor::situation::{Situation, Unit, UnitFacts};
use crate::config::DEFAULT_PATH;
use fieldgate_spool::FileState;

/// It is there, enabled and running.
pub const UNIT: Check = Check {
    id: "unit",
    title: "the service as systemd sees it",
    causes: &["unit-masked", "unit-absent", "unit-failed", "unit-stopped", "unit-disabled"],
    judge,
};

/// Its name.
const NAME: &str = "fieldgate.service";

/// What is asked for.
const PROPERTIES: &str =
    "LoadState,ActiveState,SubState,UnitFileState,Result,ExecMainStatus,MainPID,User,Group,SupplementaryGroups";

/// The last lines of its log.
const LOG: &str = "journalctl -u fieldgate -n 30 --no-pager";

fn judge(situation: &Situation) -> Verdict {
    let unit = match &situation.unit {
        UnitFacts::NoSystemd => return Verdict::not_checked("systemd does not run this system"),
        UnitFacts::NoAnswer(why) => return Verdict::not_checked(format!("systemctl gave no answer: {why}")),
        UnitFacts::Absent if situation.path == Path::new(DEFAULT_PATH) => {
            let words = format!("there is no {NAME}: nothing starts the service with the board");
            return Verdict::Wrong(vec![Finding::new(
                "unit-absent",
                words,
                "sudo apt install --reinstall ./fieldgate_*.deb",
            )]);
        }
        UnitFacts::Absent => return Verdict::not_checked(format!("there is no {NAME}")),
        UnitFacts::Masked => {
            let words = format!("{NAME} is masked: nobody can start it");
            let remedy = "sudo systemctl unmask fieldgate && sudo systemctl enable --now fieldgate";
            return Verdict::Wrong(vec![Finding::new("unit-masked", words, remedy)]);
        }
        UnitFacts::Loaded(unit) => unit,
    };
    let findings = match (unit.active.as_str(), unit.sub.as_str()) {
        ("active" | "reloading", _) => disabled(unit).into_iter().collect(),
        ("failed", _) | ("activating", "auto-restart") => {
            vec![Finding::new("unit-failed", format!("{NAME} does not stay up: {}", describe_end(unit)), LOG)]
        }
        ("activating" | "deactivating", sub) => {
            return Verdict::not_checked(format!("it is on its way ({sub}); ask again"));
        }
        _ => {
            let words = format!("{NAME} does not run");
            vec![Finding::new("unit-stopped", words, "sudo systemctl enable --now fieldgate")]
        }
    };
    Verdict::of(findings, format!("{}, process {}", unit.active, unit.main_pid))
}

fn disabled(unit: &Unit) -> Option<Finding> {
    let words = format!("{NAME} runs now, and will not be started with the board");
    (unit.enabled == "disabled").then(|| Finding::new("unit-disabled", words, "sudo systemctl enable fieldgate"))
}

/// How it ended, by its own exit codes and those of systemd.exec(5).
fn describe_end(unit: &Unit) -> String {
    let why = match unit.exit_code {
        code if code == i32::from(EXIT_CONFIG) => "its configuration was refused, and it is not tried again",
        203 => "its program is not there, or not for this processor",
        216 => "one of its groups does not exist",
        217 => "its user does not exist",
        226 => "its sandbox could not be set up",
        238 => "its state directory could not be made",
        243 => "its credentials could not be loaded",
        _ if unit.result == "watchdog" => "it made no progress and was ended",
        _ if unit.result == "oom-kill" => "it needed more memory than it may have",
        _ => "the log says why",
    };
    format!("{why} ({}, exit code {})", unit.result, unit.exit_code)
}

/// Whether the service works, by systemd or by the lock of its spool.
pub fn is_running(situation: &Situation) -> bool {
    let by_unit = situation.unit.loaded().is_some_and(|unit| unit.active == "active");
    let has_spool = situation.storage.as_ref().is_some_and(|s| matches!(s.inspection.state, FileState::InUse(_)));
    by_unit || has_spool
}

/// Asks `systemctl`, which is given no time limit here, where systemd runs the system below `root`.
pub fn gather(root: &Path, systemctl: &Path) -> UnitFacts {
    // As sd_booted(3) asks.
    if !root.join("run/systemd/system").is_dir() {
        return UnitFacts::NoSystemd;
    }
    let asked = Command::new(systemctl)
        .args(["show", NAME, "--no-pager", "--property", PROPERTIES])
        .stdin(Stdio::null())
        .output();
    match asked {
        Ok(output) if output.status.success() => read(&String::from_utf8_lossy(&output.stdout)),
        Ok(output) => UnitFacts::NoAnswer(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => UnitFacts::NoAnswer(error.to_string()),
    }
}

fn read(text: &str) -> UnitFacts {
    let all: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once('=')).collect();
    let of = |name: &str| all.get(name).copied().unwrap_or_default();
    match of("LoadState") {
        "masked" => return UnitFacts::Masked,
        "not-found" => return UnitFacts::Absent,
        "" => return UnitFacts::NoAnswer("it does not say whether there is such a unit".into()),
        _ => {}
    }
    UnitFacts::Loaded(Unit {
        active: of("ActiveState").into(),
        sub: of("SubState").into(),
        enabled: of("UnitFileState").into(),
        result: of("Result").into(),
        exit_code: of("ExecMainStatus").parse().unwrap_or(0),
        main_pid: of("MainPID").parse().unwrap_or(0),
        user: of("User").into(),
        group: of("Group").into(),
        groups: of("SupplementaryGroups").split_whitespace().map(str::to_owned).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_systemctl_shows_is_understood() {
        let text = "LoadState=loaded\nActiveState=failed\nSubState=failed\nUnitFileState=enabled\nResult=exit-code\n\
                    ExecMainStatus=78\nMainPID=0\nUser=fieldgate\nGroup=fieldgate\nSupplementaryGroups=i2c gpio\n";
        let UnitFacts::Loaded(unit) = read(text) else { panic!("it is loaded") };
        assert_eq!((unit.exit_code, unit.groups.len(), unit.user.as_str()), (78, 2, "fieldgate"));
        assert!(describe_end(&unit).contains("configuration was refused"));
        assert!(matches!(read("LoadState=masked\n"), UnitFacts::Masked));
        assert!(matches!(read("LoadState=not-found\n"), UnitFacts::Absent));
        assert!(matches!(read(""), UnitFacts::NoAnswer(_)));
    }
}
