//! A sound board, service and configuration, each part of which a test can break.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use fieldgate::cli::doctor::check::Verdict;
use fieldgate::cli::doctor::report::Report;
use fieldgate::cli::doctor::{self, Places};
use serde_json::Value;
use tempfile::TempDir;

use crate::common::gateway::{command, write_config};
use crate::common::mosquitto::Mosquitto;

/// Longer than the command may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// The number that the service's user has on the board.
const SERVICE: u32 = 64_990;

pub(crate) struct Bench {
    pub(crate) folder: TempDir,
    pub(crate) config: String,
    /// Gone with the bench.
    _broker: Option<Mosquitto>,
}

impl Bench {
    /// With a broker for everybody.
    pub(crate) fn new() -> Self {
        let broker = Mosquitto::start();
        let url = broker.url();
        Self { _broker: Some(broker), ..Self::at(&url) }
    }

    /// With a broker of this address.
    pub(crate) fn at(url: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bench = Self { config: config(url, "", ""), folder, _broker: None };
        bench
            .file("etc/passwd", &format!("root:x:0:0::/root:/bin/sh\nfieldgate:x:{SERVICE}:{SERVICE}::/:/bin/false\n"));
        // The group of what this test makes, so that no file need be given to another.
        let group = bench.folder.path().metadata().unwrap().gid();
        bench.file("etc/group", &format!("i2c:x:{group}:\nfieldgate:x:{SERVICE}:\n"));
        bench.file("proc/sys/kernel/osrelease", "6.6.31+rpt-rpi-v8\n");
        bench.file("proc/device-tree/model", "Raspberry Pi 4 Model B Rev 1.4\0");
        bench.file("boot/firmware/config.txt", "[all]\n");
        bench.file("run/systemd/timesync/synchronized", "");
        fs::create_dir_all(bench.root().join("run/systemd/system")).unwrap();
        let systemctl = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/doctor/systemctl.sh");
        symlink(systemctl, bench.folder.path().join("systemctl")).unwrap();
        bench.unit(&[]);
        bench
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    /// Writes a file of the board.
    pub(crate) fn file(&self, name: &str, text: &str) {
        let path = self.root().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A device file with these permissions.
    pub(crate) fn device(&self, name: &str, mode: u32) {
        self.file(name, "");
        fs::set_permissions(self.root().join(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// What systemctl shows of a service that runs, but for these properties.
    pub(crate) fn unit(&self, changed: &[(&str, &str)]) {
        let usual = [
            ("LoadState", "loaded"),
            ("ActiveState", "active"),
            ("SubState", "running"),
            ("UnitFileState", "enabled"),
            ("Result", "success"),
            ("ExecMainStatus", "0"),
            ("MainPID", "4711"),
            ("User", "fieldgate"),
            ("Group", "fieldgate"),
            ("SupplementaryGroups", "i2c"),
        ];
        let value = |name: &str, usual: &str| {
            changed
                .iter()
                .find(|(changed, _)| *changed == name)
                .map_or(usual.to_owned(), |(_, value)| (*value).to_owned())
        };
        let lines: String = usual.iter().map(|(name, usual)| format!("{name}={}\n", value(name, usual))).collect();
        self.systemctl(&lines);
    }

    /// What the program that stands in for systemctl prints; `hang` and `fail` for one that does so.
    pub(crate) fn systemctl(&self, text: &str) {
        fs::write(self.folder.path().join("properties"), text).unwrap();
    }

    /// A bus with a sensor on it.
    pub(crate) fn with_sensor(mut self, buses: &str, sensors: &str) -> Self {
        self.config += &format!("buses:\n{buses}\nsensors:\n{sensors}\n");
        self
    }

    /// Adds to the configuration.
    pub(crate) fn configured(mut self, from: &str, to: &str) -> Self {
        assert!(self.config.contains(from), "{from}");
        self.config = self.config.replace(from, to);
        self
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("fieldgate.yaml")
    }

    /// What the doctor says of the configuration as it is here.
    pub(crate) fn examine(&self) -> Report {
        write_config(self.folder.path(), &self.config);
        self.examine_as_it_is()
    }

    pub(crate) fn examine_as_it_is(&self) -> Report {
        let places = Places { root: self.root(), systemctl: self.folder.path().join("systemctl") };
        doctor::examine(&self.path(), &places).unwrap()
    }

    /// Expects this cause first, and these words in what is said of it.
    pub(crate) fn finds(&self, cause: &str, words: &str) -> Report {
        first(self.examine(), cause, words)
    }
}

/// Expects this cause first, these words in what is said of it, and a line that mends it.
pub(crate) fn first(report: Report, cause: &str, words: &str) -> Report {
    let text = report.text();
    let finding = report.findings().next().unwrap_or_else(|| panic!("nothing was found:\n{text}"));
    assert_eq!(finding.cause, cause, "\n{text}");
    assert!(finding.what.contains(words), "{words:?} is not in:\n{text}");
    assert!(!finding.remedy.is_empty() && !finding.remedy.contains('\n'), "{text}");
    report
}

/// What a check has come to.
pub(crate) fn verdict<'r>(report: &'r Report, id: &str) -> &'r Verdict {
    report.verdicts().find(|(check, _)| check.id == id).map(|(_, verdict)| verdict).unwrap()
}

pub(crate) fn config(url: &str, mqtt: &str, rest: &str) -> String {
    let quick = "reconnect: { min: 50ms, max: 150ms }";
    format!(
        "gateway: {{ name: t }}\nmqtt: {{ broker: \"{url}\", base_topic: b/t, {quick}{mqtt} }}\nspool: {{ path: spool }}\n{rest}"
    )
}

/// The command itself on this configuration, as JSON with its exit code.
pub(crate) fn ran(folder: &Path, config: &str) -> (i32, Value, String) {
    write_config(folder, config);
    let output = command(folder, &["doctor", "--json", "--config", "fieldgate.yaml"], PATIENCE);
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    let json = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}\n{err}"));
    (output.status.code().unwrap_or(-1), json, out + &err)
}
