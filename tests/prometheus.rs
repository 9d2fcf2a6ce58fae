//! Debian's own Prometheus reads the gateway: its metrics, the alerts that are shipped, and the panels of the dashboard.
//!
//! Where the package `prometheus` is not installed, this is left out and said so; `sh deploy/test.sh --setup` installs it, and CI fails
//! without it.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic")]
#![allow(clippy::print_stderr, reason = "what is left out is said")]

#[path = "prometheus/dashboard.rs"]
mod dashboard;
#[path = "prometheus/server.rs"]
mod server;

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::gateway::Gateway;
use crate::common::http::{OPEN, Site, config, start};
use crate::common::sim_file::SimFile;
use crate::common::{SOON, wait_until, write_secret};
use server::Prometheus;

/// Where the sources are.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Whether a program of the package `prometheus` is there.
fn is_there(program: &str) -> bool {
    let is_there = Command::new(program).arg("--version").output().is_ok();
    if !is_there {
        eprintln!("LEFT OUT: there is no {program}; apt install prometheus");
        assert!(std::env::var_os("CI").is_none(), "{program} cannot be left out in CI");
    }
    is_there
}

/// Runs promtool, which must succeed; what it says.
fn promtool(arguments: &[&str], input: Option<&Path>) -> String {
    let mut command = Command::new("promtool");
    command.args(arguments).current_dir(root().join("deploy/prometheus"));
    if let Some(input) = input {
        command.stdin(std::fs::File::open(input).unwrap());
    }
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "promtool {arguments:?}: {said}");
    said
}

/// `scrape_configs:` as docs/http.md has it, for this gateway and with this file for the password.
fn scrape_config(site: &Site, password: &Path) -> String {
    let page = std::fs::read_to_string(root().join("docs/http.md")).unwrap();
    let (_, rest) = page.split_once("```text\nscrape_configs:").expect("the page shows how Prometheus is configured");
    let (snippet, _) = rest.split_once("```").unwrap();
    let written = [("shed:8080", site.address.as_str()), ("/etc/prometheus/page-password", password.to_str().unwrap())];
    written.into_iter().fold(format!("scrape_configs:{snippet}"), |text, (there, here)| {
        assert_eq!(text.matches(there).count(), 1, "{there} in {text}");
        text.replace(there, here)
    })
}

/// The alerts that are shipped, without their patience: what they wait for is tested by promtool, whose time is not ours.
fn alerts_without_patience(folder: &Path) -> PathBuf {
    let shipped = std::fs::read_to_string(root().join("deploy/prometheus/fieldgate.yml")).unwrap();
    let lines = shipped.lines().filter(|line| !line.trim_start().starts_with("for: "));
    let path = folder.join("alerts.yml");
    std::fs::write(&path, lines.map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    path
}

#[test]
fn promtool_has_nothing_to_say_about_the_metrics() {
    if !is_there("promtool") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (_gateway, site) = start(folder.path(), OPEN);
    wait_until("the first reading", SOON, || site.metric("fieldgate_sensor_up{sensor=\"air\"}") == Some(1.0));
    let file = folder.path().join("metrics");
    std::fs::write(&file, site.get("/metrics").body).unwrap();
    let said = promtool(&["check", "metrics"], Some(&file));
    assert!(said.is_empty(), "{said}\n{}", std::fs::read_to_string(&file).unwrap());
}

#[test]
fn each_alert_fires_when_its_time_is_over_and_not_before() {
    if !is_there("promtool") {
        return;
    }
    let said = promtool(&["check", "rules", "fieldgate.yml"], None);
    assert!(said.contains("SUCCESS: 3 rules found"), "{said}");
    promtool(&["test", "rules", "fieldgate_test.yml"], None);
}

#[test]
fn a_server_reads_the_gateway_fires_its_alerts_and_notices_its_end() {
    if !is_there("prometheus") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    write_secret(&password, "geheim\n");
    // The spool's folder would be below a file: its disk is in trouble. Nobody listens on the broker's port.
    std::fs::write(folder.path().join("file"), "").unwrap();
    let http = "http: { listen: 127.0.0.1:0, password_file: password }";
    let text = config(http).replace("spool: { path: spool }", "spool: { path: file/spool }");
    let mut gateway = Gateway::start(folder.path(), &text);
    let site = Site::of(&gateway);
    let server = Prometheus::start(&scrape_config(&site, &password), Some(&alerts_without_patience(folder.path())));
    wait_until("a scrape", SOON, || server.target() == ("up".into(), String::new()));
    let temperature = "fieldgate_temperature_celsius{sensor=\"air\",measurement=\"temperature\"}";
    wait_until("a temperature", SOON, || server.value(temperature).is_some());
    wait_until("two alerts", SOON, || {
        server.firing() == ["FieldgateLinkDown".to_owned(), "FieldgateReadingsLost".to_owned()]
    });
    SimFile::new(folder.path().join("bench.json")).set_fault("0x76", Some("nak"));
    wait_until("the third", SOON, || server.firing().iter().any(|alert| alert == "FieldgateSensorDown air"));
    // A curve ends where knowledge ends.
    let without = format!("fieldgate_sensor_up{{sensor=\"air\"}} unless on (sensor) {temperature}");
    wait_until("no temperature of a sensor that is down", SOON, || server.value(&without) == Some(0.0));
    wait_until("a target that is up", SOON, || server.value("up{job=\"fieldgate\"}") == Some(1.0));
    gateway.kill9();
    wait_until("a target that is down", SOON, || server.target().0 == "down");
    wait_until("the same in a query", SOON, || server.value("up{job=\"fieldgate\"}") == Some(0.0));
}
