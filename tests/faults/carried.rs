//! K6: the program is killed while it stores, takes over, confirms or rolls back a configuration that a request carried.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::client::Client;
use crate::common::gateway::Gateway;
use crate::common::mosquitto::Mosquitto;
use crate::common::ports::free_port;
use crate::common::quick::{config, folder};
use crate::common::{SOON, wait_until};
use crate::suite::{chance, may, report, times};
use crate::tracer::wrapper;

/// The system calls that write such a configuration, by its files and their folder, and how many of them a life has.
const CALLS: [(&str, usize); 5] =
    [("openat", 3), ("write", 1), ("fsync", 3), ("rename,renameat,renameat2", 2), ("unlink,unlinkat", 2)];

/// What was in force before is the file's, or one that was stored earlier.
const FILE: &str = "of_file";
const EARLIER: &str = "of_earlier";
const NEW: &str = "of_new";

/// How a life ends.
#[derive(Clone, Copy, Debug)]
enum End {
    /// At the nth of these calls.
    Call(&'static str, usize),
    /// So long after it has begun to take over.
    Moment(Duration),
}

fn text(broker: &str, sensor: &str) -> String {
    let sensors = format!("sensors:\n  {sensor}: {{ driver: waveform, every: 1h, settings: {{ shape: counter }} }}\n");
    config(broker, "", "", &format!("requests: {{ allow: [config, info] }}\n{sensors}"))
}

struct Bench {
    broker: Mosquitto,
    client: Client,
    /// A stored configuration that is confirmed.
    earlier: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let broker = Mosquitto::start();
        let client = Client::subscribe(&broker.endpoint(), &["b/status", "b/response/#"]);
        let bench = Self { broker, client, earlier: folder() };
        let mut gateway = Gateway::start(bench.earlier.path(), &text(&bench.broker.url(), FILE));
        bench.client.wait_for("b/status", |payload| payload == "online", SOON);
        bench.send(&text(&bench.broker.url(), EARLIER), "1h");
        assert_eq!(bench.client.wait_json("b/response/config", |_| true, SOON)["status"], "ok");
        gateway.kill9();
        bench
    }

    fn send(&self, config: &str, confirm_within: &str) {
        let request = json!({ "config": config, "confirm_within": confirm_within });
        self.client.publish("b/request/config", &request.to_string(), false, 1);
    }

    /// One life that ends so, and the next, which must have one of the two configurations. Whether it came to the end.
    fn live(&self, end: End, is_stored: bool, is_good: bool) -> bool {
        let place = folder();
        if is_stored {
            fs::create_dir(place.path().join("spool")).unwrap();
            let name = "spool/configuration.yaml";
            fs::copy(self.earlier.path().join(name), place.path().join(name)).unwrap();
        }
        let (file, new) = (text(&self.broker.url(), FILE), text(&self.broker.url(), NEW));
        let new =
            if is_good { new } else { new.replace(&self.broker.url(), &format!("mqtt://127.0.0.1:{}", free_port())) };
        self.client.forget();
        let mut gateway = begin(place.path(), &file, end);
        let is_up = || self.client.all("b/status").iter().any(|status| status.payload == "online");
        wait_until("the gateway to be up, or killed at its start", SOON, || is_up() || !gateway.is_running());
        if gateway.is_running() {
            self.send(&new, if is_good { "1h" } else { "1s" });
        }
        let answered = self.until_killed(&mut gateway, end);
        let was_killed = !gateway.is_running();
        gateway.kill9();
        self.client.forget();
        let gateway = Gateway::start(place.path(), &file);
        let before = if is_stored { EARLIER } else { FILE };
        let sensor = self.sensor();
        match answered.as_ref().map(|answer| answer["status"] == "ok") {
            Some(true) => assert_eq!(sensor, NEW, "it was answered that this is in force: {}", gateway.log()),
            Some(false) => assert_eq!(sensor, before, "{answered:?}"),
            None => assert!(sensor == NEW && is_good || sensor == before, "{sensor} after {before}: {}", gateway.log()),
        }
        let left = |name: &str| place.path().join("spool").join(name).exists();
        wait_until("nothing to be left of the trial", SOON, || !left("configuration.trial.yaml"));
        was_killed
    }

    /// The answer, if there was one before the end.
    fn until_killed(&self, gateway: &mut Gateway, end: End) -> Option<Value> {
        if let End::Moment(after) = end {
            wait_until("the takeover", SOON, || {
                gateway.log().contains("Taking over a configuration") || !gateway.is_running()
            });
            std::thread::sleep(after);
            let answer = self.answer();
            gateway.kill9();
            return answer.or_else(|| self.answer());
        }
        // What it does behind the answer may be the last of these calls.
        let mut deadline = Instant::now() + SOON;
        let mut answer = None;
        while gateway.is_running() && Instant::now() < deadline {
            if answer.is_none() && self.answer().is_some() {
                answer = self.answer();
                deadline = Instant::now() + Duration::from_millis(300);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        answer
    }

    fn answer(&self) -> Option<Value> {
        self.client.all("b/response/config").first().map(|answer| answer.json())
    }

    /// The one sensor of the gateway, which must be up.
    fn sensor(&self) -> String {
        self.client.wait_for("b/status", |payload| payload == "online", SOON);
        self.client.publish("b/request/info", "", false, 1);
        let info = self.client.wait_json("b/response/info", |_| true, SOON);
        let sensors = info["data"]["sensors"].as_array().unwrap().clone();
        assert_eq!(sensors.len(), 1, "neither nothing nor a mixture: {info}");
        sensors[0].as_str().unwrap().to_owned()
    }
}

fn begin(folder: &Path, file: &str, end: End) -> Gateway {
    let End::Call(calls, n) = end else { return Gateway::start(folder, file) };
    let spool = folder.join("spool");
    // The confirmed one is also read at the start, which would be the first of the calls.
    let names = ["configuration.new", "configuration.trial.yaml"].map(|name| spool.join(name));
    let paths: Vec<String> = names.iter().chain([&spool]).map(|path| path.to_str().unwrap().to_owned()).collect();
    let (trace, inject) = (format!("trace={calls}"), format!("inject={calls}:signal=KILL:when={n}"));
    let log = folder.join("strace");
    let mut arguments: Vec<&str> = paths.iter().flat_map(|path| ["-P", path.as_str()]).collect();
    arguments.extend(["-e", &trace, "-e", &inject]);
    Gateway::under(&wrapper(&log, &arguments), folder, file, &[])
}

#[test]
fn k6_a_kill_at_any_call_that_stores_or_confirms_a_configuration_leaves_one_of_the_two_whole() {
    if !may("K6", &["strace"]) {
        return;
    }
    let mut chance = chance("K6");
    let calls = CALLS.iter().flat_map(|(calls, last)| (1..=*last).map(move |n| End::Call(calls, n)));
    let moments =
        (0..times(2, 6, 40)).map(|_| End::Moment(Duration::from_millis(chance.u64(..60)))).collect::<Vec<_>>();
    let mut cases: Vec<_> = calls.collect();
    chance.shuffle(&mut cases);
    cases.truncate(times(6, 14, cases.len()));
    cases.extend(moments);
    let bench = Bench::new();
    let (mut killed, mut missed) = (0, Vec::new());
    for end in &cases {
        for is_stored in [false, true] {
            // Only what is rolled back is removed.
            let is_good = !matches!(end, End::Call("unlink,unlinkat", _)) && chance.u8(..4) > 0;
            if bench.live(*end, is_stored, is_good) {
                killed += 1;
            } else {
                missed.push(format!("{end:?}"));
            }
        }
    }
    assert!(missed.len() * 2 < cases.len() * 2, "too few of the calls came: {missed:?}");
    let what = format!(
        "{killed} kills at an open, write, fsync, rename or removal of the file of such a configuration, or within 60 ms of its takeover"
    );
    let happened = format!(
        "started each time with the one before or the new one, whole, and with the new one where that was answered; did not come to: {missed:?}"
    );
    report("K6", &what, &happened);
}
