//! Situations that cannot be made here, described: hardware that others use, a disk that hangs or fails, a stored configuration.

use std::io;
use std::path::PathBuf;

use fieldgate::cli::doctor::report::Report;
use fieldgate::cli::doctor::situation::{
    Account, Board, ConfigurationFacts, LineInUse, PageFacts, Rights, Situation, Storage, Unit, UnitFacts,
};
use fieldgate_model::ClockStatus;
use fieldgate_spool::{FileState, Inspection};

use super::bench::first;

/// Nothing is wrong, and no broker is configured.
fn sound() -> Situation {
    let unit = Unit { active: "active".into(), main_pid: 7, enabled: "enabled".into(), ..Unit::default() };
    Situation {
        path: "/etc/fieldgate/fieldgate.yaml".into(),
        configuration: ConfigurationFacts::Loaded { stored: None, rights: Rights::default() },
        board: Board { kernel: "6.6.31".into(), ..Board::default() },
        clock: ClockStatus::Synchronised,
        account: Account { name: "root".into(), uid: Some(0), ..Account::default() },
        buses: Some(Vec::new()),
        bound: Vec::new(),
        lines: Ok(Vec::new()),
        storage: Some(storage(FileState::InUse(Some(7)))),
        unit: UnitFacts::Loaded(unit),
        brokers: Some(Vec::new()),
        page: None,
        is_root: true,
        base_topic: "b".into(),
    }
}

fn storage(state: FileState) -> Storage {
    let inspection = Inspection { state, set_aside: Vec::new(), available_bytes: 1 << 30 };
    let path = PathBuf::from("/var/lib/fieldgate");
    Storage { path, trouble: None, rights: None, is_read_only: false, lacks_inodes: false, inspection }
}

fn finds(situation: &Situation, cause: &str, words: &str) {
    first(Report::of(situation), cause, words);
}

#[test]
fn a_sound_situation_has_no_findings() {
    let report = Report::of(&sound());
    assert!(report.is_good(), "{}", report.text());
    assert!(!report.text().contains("you are not root"));
    let report = Report::of(&Situation { is_root: false, ..sound() });
    assert!(report.is_good() && report.text().contains("sudo fieldgate doctor"), "{}", report.text());
}

#[test]
fn a_line_that_another_program_uses_is_named_with_its_holder() {
    let line = LineInUse {
        device: "pump".into(),
        line: "GPIO17".into(),
        chip: "/dev/gpiochip0".into(),
        holder: "gpioset".into(),
    };
    finds(&Situation { lines: Ok(vec![line]), ..sound() }, "line-in-use", "which pump needs, is in use by \"gpioset\"");
}

#[test]
fn a_disk_that_hangs_and_one_that_fails_are_named() {
    finds(&Situation { storage: None, ..sound() }, "disk-silent", "does not answer");
    let failing = storage(FileState::Unreadable(io::Error::from_raw_os_error(5)));
    finds(&Situation { storage: Some(failing), ..sound() }, "spool-unreadable", "cannot be read");
    let gone =
        Storage { trouble: Some("/x is a link to /mnt/usb, which is not there".into()), ..storage(FileState::Absent) };
    finds(&Situation { storage: Some(gone), ..sound() }, "spool-folder", "/mnt/usb");
}

#[test]
fn what_only_its_owner_may_read_is_not_called_wrong() {
    let denied = storage(FileState::Unreadable(io::ErrorKind::PermissionDenied.into()));
    let report = Report::of(&Situation { storage: Some(denied), is_root: false, ..sound() });
    assert!(report.is_good(), "{}", report.text());
}

#[test]
fn a_stored_configuration_that_cannot_be_used_is_named() {
    let stored = Some("the file: the configuration that a request carried cannot be used".into());
    let configuration = ConfigurationFacts::Loaded { stored, rights: Rights::default() };
    finds(&Situation { configuration, ..sound() }, "configuration-stored", "cannot be used");
}

#[test]
fn a_missing_unit_is_wrong_only_for_the_configuration_of_the_service() {
    finds(&Situation { unit: UnitFacts::Absent, ..sound() }, "unit-absent", "nothing starts the service");
    let own = Report::of(&Situation { unit: UnitFacts::Absent, path: "/home/pi/trial.yaml".into(), ..sound() });
    assert!(own.is_good(), "{}", own.text());
}

#[test]
fn a_page_that_nobody_serves_is_found_while_the_service_runs() {
    let page = |is_served| Some(PageFacts { listen: "127.0.0.1:8080".parse().unwrap(), is_served });
    finds(&Situation { page: page(false), ..sound() }, "page-not-served", "nobody answers on 127.0.0.1:8080");
    assert!(Report::of(&Situation { page: page(true), ..sound() }).is_good());
    let stopped = Situation {
        page: page(false),
        unit: UnitFacts::NoSystemd,
        storage: Some(storage(FileState::Absent)),
        ..sound()
    };
    assert!(Report::of(&stopped).is_good());
}

#[test]
fn a_run_by_hand_is_no_second_instance_while_the_service_is_stopped() {
    let stopped = Unit { active: "inactive".into(), sub: "dead".into(), ..Unit::default() };
    finds(&Situation { unit: UnitFacts::Loaded(stopped), ..sound() }, "unit-stopped", "does not run");
    finds(&Situation { unit: UnitFacts::Masked, ..sound() }, "unit-masked", "masked");
}
