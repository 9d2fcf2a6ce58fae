//! The configuration, the unit, and what the command prints and ends with.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use fieldgate::cli::doctor::check::Verdict;

use super::bench::{Bench, first, ran, verdict};
use crate::common::write_secret;

#[test]
fn a_configuration_that_is_not_there_comes_first_and_what_needs_it_is_not_checked() {
    let bench = Bench::at("mqtt://127.0.0.1:9");
    let report = first(bench.examine_as_it_is(), "configuration-missing", "fieldgate.yaml");
    for check in ["buses", "addresses", "lines", "disk", "spool", "broker-name", "broker-publish", "sensors"] {
        assert!(matches!(verdict(&report, check), Verdict::NotChecked(_)), "{check}\n{}", report.text());
    }
}

#[test]
fn a_configuration_with_mistakes_sends_to_check() {
    let bench = Bench::at("mqtt://127.0.0.1:9").configured("gateway:", "gatewy:");
    bench.unit(&[("ActiveState", "failed"), ("Result", "exit-code"), ("ExecMainStatus", "78")]);
    let report = bench.finds("configuration-broken", "gatewy");
    assert!(report.findings().next().unwrap().remedy.starts_with("fieldgate check --config "));
    assert_eq!(report.findings().nth(1).unwrap().cause, "unit-failed", "{}", report.text());
}

#[test]
fn a_configuration_that_the_service_may_not_read_is_found() {
    let bench = Bench::new();
    bench.examine();
    fs::set_permissions(bench.path(), fs::Permissions::from_mode(0o600)).unwrap();
    first(bench.examine_as_it_is(), "configuration-unreadable", "cannot be read by fieldgate");
}

#[test]
fn a_masked_unit_is_unmasked() {
    let bench = Bench::new();
    bench.unit(&[("LoadState", "masked"), ("User", "")]);
    let report = bench.finds("unit-masked", "masked");
    assert!(report.findings().next().unwrap().remedy.contains("systemctl unmask fieldgate"));
}

#[test]
fn a_unit_that_does_not_run_is_started() {
    let bench = Bench::new();
    bench.unit(&[("ActiveState", "inactive"), ("SubState", "dead"), ("MainPID", "0")]);
    bench.finds("unit-stopped", "does not run");
}

#[test]
fn a_unit_that_does_not_stay_up_has_its_reason() {
    let bench = Bench::new();
    bench.unit(&[("ActiveState", "activating"), ("SubState", "auto-restart"), ("Result", "watchdog")]);
    bench.finds("unit-failed", "made no progress");
    bench.unit(&[("ActiveState", "failed"), ("Result", "exit-code"), ("ExecMainStatus", "243")]);
    bench.finds("unit-failed", "credentials could not be loaded");
}

#[test]
fn a_unit_that_will_not_start_with_the_board_is_enabled() {
    let bench = Bench::new();
    bench.unit(&[("UnitFileState", "disabled")]);
    bench.finds("unit-disabled", "will not be started with the board");
}

#[test]
fn a_system_without_systemd_is_not_blamed_for_it() {
    let bench = Bench::new();
    fs::remove_dir(bench.root().join("run/systemd/system")).unwrap();
    let report = bench.examine();
    assert!(matches!(verdict(&report, "unit"), Verdict::NotChecked(_)), "{}", report.text());
}

#[test]
fn a_systemctl_that_hangs_or_fails_is_not_waited_for() {
    let bench = Bench::new();
    for (does, said) in [("hang", "within 10 s"), ("fail", "it ended with exit status: 3")] {
        bench.systemctl(does);
        let report = bench.examine();
        let Verdict::NotChecked(why) = verdict(&report, "unit") else { panic!("{}", report.text()) };
        assert!(why.contains(said), "{why}");
    }
}

#[test]
fn the_command_ends_with_1_and_prints_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    write_secret(&folder.path().join("password"), "hunter2\n");
    let config = "\
mqtt: { broker: 'ws://127.0.0.1:9/mqtt?token=hunter2', username: pi, password_file: password }
spool: { path: spool }
sensors: { tide: { driver: waveform, every: 1s } }
";
    let (code, json, all) = ran(folder.path(), config);
    assert_eq!((code, &json["good"]), (1, &false.into()), "{all}");
    assert!(!all.contains("hunter2"), "{all}");
    assert!(!folder.path().join("spool").exists(), "nothing is made");
    write_secret(&folder.path().join("key.pem"), "hunter2\n");
    for wrong in [
        "mqtt: { broker: 'mqtt://pi:hunter2@127.0.0.1:9' }\n",
        "mqtt: { broker: mqtt://a, password: hunter2 }\n",
        "mqtt: { broker: mqtts://a, tls: { cert_file: key.pem, key_file: key.pem } }\n",
    ] {
        let (code, json, all) = ran(folder.path(), wrong);
        assert_eq!((code, &json["first"]), (1, &"configuration-broken".into()), "{all}");
        assert!(!all.contains("hunter2"), "{all}");
    }
}
