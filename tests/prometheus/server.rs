//! A real Prometheus on a port of the kernel's choice, with its data in a temporary folder, and what it is asked.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::common::http::Site;
use crate::common::{SOON, pace, wait_for};

/// How often it reads and looks at the alerts. A scrape that is late on a busy machine is one more that is waited for.
const GLOBAL: &str = "global: { scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 250ms }\n";

/// What it writes when it listens.
const LISTENING: &str = "msg=\"Listening on\" address=";

/// The server.
pub(crate) struct Prometheus {
    child: Child,
    folder: TempDir,
    api: Site,
}

impl Prometheus {
    /// With this `scrape_configs:` and these alerts.
    pub(crate) fn start(scrape_config: &str, alerts: Option<&Path>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let rules = alerts.map(|path| format!("rule_files: [\"{}\"]\n", path.display())).unwrap_or_default();
        let file = folder.path().join("prometheus.yml");
        fs::write(&file, format!("{GLOBAL}{rules}{scrape_config}")).unwrap();
        let log = folder.path().join("log");
        pace::watch();
        let mut child = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg("--web.listen-address=127.0.0.1:0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let address = wait_for("Prometheus to listen", SOON, || {
            let said = fs::read_to_string(&log).unwrap();
            assert!(child.try_wait().unwrap().is_none(), "Prometheus ended:\n{said}");
            let line = said.rsplit_once('\n')?.0.lines().find_map(|line| line.split_once(LISTENING))?.1;
            Some(line.split_whitespace().next()?.to_owned())
        });
        Self { child, folder, api: Site { address, fields: String::new() } }
    }

    /// `data` of an answer of its interface; nothing while it is not ready.
    fn ask(&self, path: &str) -> Option<Value> {
        // HTTP/1.0 has no chunks.
        let answer = self.api.send(format!("GET /api/v1/{path} HTTP/1.0\r\n\r\n").as_bytes());
        if answer.status == 503 {
            return None;
        }
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        let mut json: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}: {text}"));
        assert_eq!(json["status"], "success", "{path}: {text}");
        Some(json["data"].take())
    }

    /// What it knows of the one gateway that it reads: `up`, `down` or, before the first scrape, `unknown`; and the last error.
    pub(crate) fn target(&self) -> (String, String) {
        let data = self.ask("targets").unwrap_or_default();
        let target = &data["activeTargets"][0];
        let text = |key: &str| target[key].as_str().unwrap_or_default().to_owned();
        (text("health"), text("lastError"))
    }

    /// What an expression gives now: the value of each series.
    pub(crate) fn query(&self, expression: &str) -> Vec<f64> {
        let coded: String = expression.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let data = self.ask(&format!("query?query={coded}")).unwrap_or_default();
        let series = data["result"].as_array().into_iter().flatten();
        series.map(|one| one["value"][1].as_str().unwrap().parse().unwrap()).collect()
    }

    /// The same of an expression that gives one series at most.
    pub(crate) fn value(&self, expression: &str) -> Option<f64> {
        let values = self.query(expression);
        assert!(values.len() <= 1, "{expression}: {values:?}");
        values.first().copied()
    }

    /// The alerts that fire, in the order of the alphabet, each with its sensor if it has one.
    pub(crate) fn firing(&self) -> Vec<String> {
        let data = self.ask("alerts").unwrap_or_default();
        let alerts = data["alerts"].as_array().into_iter().flatten().filter(|alert| alert["state"] == "firing");
        let name = |labels: &Value| match labels["sensor"].as_str() {
            Some(sensor) => format!("{} {sensor}", labels["alertname"].as_str().unwrap()),
            None => labels["alertname"].as_str().unwrap().to_owned(),
        };
        let mut names: Vec<_> = alerts.map(|alert| name(&alert["labels"])).collect();
        names.sort();
        names
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended by itself, which is no reason to fail here.
        self.child.kill().ok();
        self.child.wait().ok();
        if std::thread::panicking() {
            eprintln!("Prometheus said:\n{}", fs::read_to_string(self.folder.path().join("log")).unwrap_or_default());
        }
    }
}
