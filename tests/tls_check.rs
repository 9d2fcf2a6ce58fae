//! What `check` and `run` say of passwords, certificates and keys, before anything is connected.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use crate::common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::common::certificates::{Authority, Certificates, LONG};
use crate::common::gateway::{Gateway, command, write_config};
use crate::common::mosquitto::{Mosquitto, Options};
use crate::common::{SOON, write_secret};
use fieldgate::config::{self, Severity};

const SENSORS: &str = "spool: { path: spool }\nsensors: { tide: { driver: waveform, every: 1s } }\n";

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A configuration with these files for a broker in TLS.
fn text(ca: &Path, cert: &Path, key: &Path) -> String {
    let (ca, cert, key) = (ca.display(), cert.display(), key.display());
    format!("mqtt:\n  broker: mqtts://h\n  tls: {{ ca_file: {ca}, cert_file: {cert}, key_file: {key} }}\n{SENSORS}")
}

/// What is said of a configuration: severity, words and hint of each problem.
fn problems(text: &str) -> Vec<(Severity, String)> {
    let loaded = config::load_text(text, Path::new("/nonexistent/x.yaml"));
    let all = loaded.map_or_else(|error| error.problems, |loaded| loaded.warnings);
    all.into_iter().map(|problem| (problem.severity, format!("{}; {}", problem.what, problem.hint))).collect()
}

fn check(text: &str, severity: Severity, words: &[&str]) {
    let found = problems(text);
    let fits =
        |(as_severe, found): &(Severity, String)| *as_severe == severity && words.iter().all(|w| found.contains(w));
    assert!(found.len() == 1 && fits(&found[0]), "{found:?} instead of {severity:?} {words:?}");
}

#[test]
fn files_that_would_keep_the_link_from_connecting_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let files = Certificates::make(folder.path());
    let with = |cert: &Path, key: &Path| text(&files.ca, cert, key);
    assert_eq!(problems(&with(&files.client_cert, &files.client_key)), []);
    let error = |text: &str, words: &[&str]| check(text, Severity::Error, words);
    error(&with(&files.client_cert, &files.server_key), &["key_file: the key does not fit our certificate"]);
    error(&with(&files.client_key, &files.client_key), &["cert_file", "it contains a private key"]);
    error(&with(&files.client_cert, &files.client_cert), &["key_file", "it contains a certificate"]);
    error(&with(&folder.path().join("none.pem"), &files.client_key), &["cert_file: cannot read", "none.pem"]);
    error(&text(&files.client_key, &files.client_cert, &files.client_key), &["ca_file", "it contains a private key"]);
}

#[test]
fn our_own_certificate_of_version_1_is_no_problem_unless_its_key_is_another() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::make(folder.path(), "ca", LONG);
    let (cert, key) = authority.sign_version_1("old");
    let (_, other) = authority.sign_version_1("other");
    assert_eq!(problems(&text(&authority.cert, &cert, &key)), []);
    check(&text(&authority.cert, &cert, &other), Severity::Error, &["the key does not fit our certificate"]);
}

#[test]
fn a_byte_order_mark_before_an_authority_changes_nothing_and_what_is_odd_about_a_password_is_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let files = Certificates::make(folder.path());
    let marked = folder.path().join("marked.pem");
    fs::write(&marked, [b"\xEF\xBB\xBF".as_slice(), &fs::read(&files.ca).unwrap()].concat()).unwrap();
    assert_eq!(problems(&text(&marked, &files.client_cert, &files.client_key)), []);
    let file = folder.path().join("word");
    let text = format!("mqtt: {{ broker: mqtts://h, username: pi, password_file: {} }}\n{SENSORS}", file.display());
    for (password, words) in [("", "is empty"), ("x \n", "ends with a blank"), ("x\ny\n", "more than one line")] {
        write_secret(&file, password);
        check(&text, Severity::Warning, &["password_file: the password ", words, "one newline at the end"]);
    }
}

#[test]
fn what_ends_soon_or_has_ended_is_a_warning_because_the_board_must_start_all_the_same() {
    let check = |authority, client, words: &[&str]| {
        let folder = tempfile::tempdir().unwrap();
        let files = Certificates::with(folder.path(), authority, LONG, client);
        let text = text(&files.ca, &files.client_cert, &files.client_key);
        check(&text, Severity::Warning, words);
    };
    check(LONG, (-1, 29), &["our certificate /", "client.pem expires on 20", "renew it"]);
    check(LONG, (-20, -10), &["our certificate /", "expired on 20"]);
    check(LONG, (10, 100), &["our certificate /", "is not valid before 20"]);
    check((-1, 29), LONG, &["the authority's certificate /", "ca.pem expires on 20"]);
    check((-20, -10), LONG, &["the authority's certificate /", "expired on 20"]);
}

#[test]
fn a_key_that_others_can_read_ends_the_start_with_78_and_the_command_that_mends_it() {
    let folder = tempfile::tempdir().unwrap();
    let files = Certificates::make(folder.path());
    let file = write_config(folder.path(), &text(&files.ca, &files.client_cert, &files.client_key));
    for (mode, remedy) in [(0o644, "chmod 640 /"), (0o660, "chmod 640 /"), (0o604, "chmod 600 /")] {
        chmod(&files.client_key, mode);
        for arguments in [&["check"][..], &["check", "--json"], &["run"]] {
            let output = command(folder.path(), &[arguments, &["--config", file.to_str().unwrap()]].concat(), SOON);
            let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
            assert_eq!(output.status.code(), Some(78), "{said}");
            assert!(said.contains("key_file: others may ") && said.contains(remedy), "{said}");
        }
    }
    // A certificate may be read by everybody, but not with a key in the same file.
    chmod(&files.client_key, 0o600);
    let both = [fs::read(&files.client_cert).unwrap(), fs::read(&files.client_key).unwrap()].concat();
    fs::write(folder.path().join("both.pem"), both).unwrap();
    let found = problems(&text(&files.ca, &folder.path().join("both.pem"), &files.client_key));
    assert!(found.len() == 1 && found[0].1.contains("cert_file: others may read"), "{found:?}");
}

#[test]
fn a_reload_with_a_key_that_others_can_read_leaves_the_old_configuration() {
    let broker = Mosquitto::with(Options { tls: true, client_certificates: true, ..Options::default() });
    let files = broker.certificates.clone().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let text = text(&files.ca, &files.client_cert, &files.client_key);
    let text = text.replace("mqtts://h", &format!("mqtts://127.0.0.1:{}", broker.tls_port));
    let mut gateway = Gateway::start(folder.path(), &text);
    gateway.wait_log("Connected.", SOON);
    chmod(&files.client_key, 0o644);
    gateway.signal(rustix::process::Signal::HUP);
    gateway.wait_log("the old one stays", SOON);
    gateway.stop(SOON);
}

#[test]
fn a_password_in_plain_text_is_a_warning_for_each_broker_that_is_not_this_machine() {
    let folder = tempfile::tempdir().unwrap();
    write_secret(&folder.path().join("word"), "x");
    let with = |brokers: &str| {
        let file = folder.path().join("word");
        format!("mqtt: {{ broker: [{brokers}], username: pi, password_file: {} }}\n{SENSORS}", file.display())
    };
    let home =
        "mqtt://localhost, mqtt://LOCALHOST:1, mqtt://127.0.0.9, 'mqtt://[::1]', 'ws://[::ffff:127.0.0.1]', mqtts://h";
    assert_eq!(problems(&with(home)), []);
    for (brokers, hosts) in [
        ("mqtt://broker.lan", "broker.lan"),
        ("mqtts://a, ws://b", "b"),
        ("'mqtt://[fd00::1]', mqtt://localhost, mqtt://10.0.0.1", "fd00::1 and 10.0.0.1"),
        ("mqtt://localhost.lan", "localhost.lan"),
    ] {
        check(&with(brokers), Severity::Warning, &[&format!("is sent to {hosts} in plain text")]);
    }
}

#[test]
fn a_password_that_others_can_reach_is_refused_and_one_that_its_folder_protects_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("word");
    write_secret(&file, "x");
    chmod(&file, 0o644);
    let text = format!("mqtt: {{ broker: mqtts://h, username: pi, password_file: {} }}\n{SENSORS}", file.display());
    chmod(folder.path(), 0o755);
    check(&text, Severity::Error, &["password_file: others may read", "chmod 640 /"]);
    chmod(folder.path(), 0o750);
    check(&text, Severity::Warning, &["only its folder keeps them out", "chmod 640 /"]);
    chmod(&file, 0o640);
    assert_eq!(problems(&text), []);
}

#[test]
fn credentials_are_looked_up_in_the_service_and_are_a_note_outside() {
    let folder = tempfile::tempdir().unwrap();
    let files = Certificates::make(folder.path());
    let text = text(&files.ca, &files.client_cert, &files.client_key);
    let text = text.replace(&format!("key_file: {}", files.client_key.display()), "key_credential: mqtt-key");
    check(&text, Severity::Note, &["key_credential: \"mqtt-key\" can be looked up inside the service only"]);
    let file = write_config(folder.path(), &text);
    let credentials = tempfile::tempdir().unwrap();
    let run = || {
        let mut program = common::gateway::program();
        program.args(["check", "--config"]).arg(&file).env("CREDENTIALS_DIRECTORY", credentials.path());
        let output = program.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = run();
    assert!(code == Some(78) && said.contains("/etc/fieldgate/credentials/mqtt-key"), "{said}");
    fs::copy(&files.server_key, credentials.path().join("fieldgate_mqtt-key")).unwrap();
    let (code, said) = run();
    assert!(code == Some(78) && said.contains("key_credential: the key does not fit"), "{said}");
    fs::copy(&files.client_key, credentials.path().join("mqtt-key")).unwrap();
    assert_eq!(run(), (Some(0), String::new()));
}
