//! The service as systemd sees it.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::cli::EXIT_CONFIG;
use crate::cli::doctor::check::{Check, Finding, Verdict};
use crate::cli::doctor::situation::{Situation, Unit, UnitFacts};
use crate::cli::doctor::{PATIENCE, within};
use crate::config::DEFAULT_PATH;
use fieldgate_spool::FileState;

/// Whether the unit is there and the service running.
pub(super) const UNIT: Check = Check {
    id: "unit",
    title: "the service as systemd sees it",
    causes: &["unit-masked", "unit-absent", "unit-failed", "unit-stopped"],
    judge,
};

/// Whether the service is started with the board. What runs now does not depend on that.
pub(super) const AT_BOOT: Check = Check {
    id: "unit-at-boot",
    title: "whether the service starts with the board",
    causes: &["unit-disabled"],
    judge: judge_at_boot,
};

/// The name of the service's unit.
const NAME: &str = "fieldgate.service";

/// The properties of the unit that `systemctl show` is asked for.
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
        ("active" | "reloading", _) => Vec::new(),
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

fn judge_at_boot(situation: &Situation) -> Verdict {
    let Some(unit) = situation.unit.loaded() else { return Verdict::not_checked("there is no unit that may run") };
    let words = format!("{NAME} will not be started with the board");
    let disabled = Finding::new("unit-disabled", words, "sudo systemctl enable fieldgate");
    Verdict::of((unit.enabled == "disabled").then_some(disabled).into_iter().collect(), unit.enabled.clone())
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
pub(super) fn is_running(situation: &Situation) -> bool {
    let by_unit = situation.unit.loaded().is_some_and(|unit| unit.active == "active");
    let has_spool = situation.storage.as_ref().is_some_and(|s| matches!(s.inspection.state, FileState::InUse(_)));
    by_unit || has_spool
}

/// Asks `systemctl`, where systemd runs the system below `root`.
pub(super) fn gather(root: &Path, systemctl: &Path) -> UnitFacts {
    // As sd_booted(3) asks.
    if !root.join("run/systemd/system").is_dir() {
        return UnitFacts::NoSystemd;
    }
    match ask(systemctl) {
        Ok(text) => read(&text),
        Err(why) => UnitFacts::NoAnswer(why),
    }
}

/// What it prints, or why that is of no use; one that gives no answer is ended.
fn ask(systemctl: &Path) -> Result<String, String> {
    let mut command = Command::new(systemctl);
    command.args(["show", NAME, "--no-pager", "--property", PROPERTIES]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    let mut output = child.stdout.take().ok_or("it has no output")?;
    let answer = within(move || {
        let mut text = String::new();
        output.read_to_string(&mut text).map(|_| text)
    });
    if answer.is_none() {
        // It may have ended meanwhile, which is as good.
        child.kill().unwrap_or_default();
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    match answer {
        None => Err(format!("within {} s", PATIENCE.as_secs())),
        Some(Err(error)) => Err(error.to_string()),
        Some(Ok(_)) if !status.success() => Err(format!("it ended with {status}")),
        Some(Ok(text)) => Ok(text),
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
