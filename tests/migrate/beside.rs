//! `fieldgate run` with what `migrate` printed, beside mqtt-io itself.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::{MQTT_IO, folder, migrated};
use crate::common::client::{self, Client, Endpoint};
use crate::common::gateway::Gateway;
use crate::common::mosquitto::Mosquitto;
use crate::common::sim_file::SimFile;
use crate::common::{SOON, python, wait_for};

/// A running mqtt-io.
struct MqttIo(Child);

impl MqttIo {
    fn start(folder: &Path, config: &str) -> Self {
        fs::write(folder.join("mqtt-io.yml"), config).unwrap();
        let python = python::environment("mqtt-io-venv", &MQTT_IO);
        let log = fs::File::create(folder.join("mqtt-io.log")).unwrap();
        let mut run = Command::new(python);
        run.args(["-m", "mqtt_io", "mqtt-io.yml"]).current_dir(folder).stdin(Stdio::null());
        Self(run.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap())
    }
}

impl Drop for MqttIo {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// What is printed says which topic stands for which; this is that list, without what stands for nothing.
fn counterparts(out: &str) -> Vec<(String, String)> {
    let listed = out.lines().filter_map(|line| line.strip_prefix("#   ")?.split_once(" -> "));
    listed.filter(|(_, new)| *new != "nothing").map(|(old, new)| (old.to_owned(), new.replace("B/", "ours/"))).collect()
}

/// A value of mqtt-io as it is in bare text here.
fn translated(old: &str, topic: &str) -> String {
    match (old, topic.ends_with("/active")) {
        ("ON", true) => "true".to_owned(),
        ("OFF", true) => "false".to_owned(),
        ("ON" | "OFF", false) => old.to_lowercase(),
        (number, _) => number.parse::<f64>().unwrap().to_string(),
    }
}

/// On simulated chips: mqtt-io's own mock modules, whose pins are all high and whose sensor says 1.
#[test]
fn beside_mqtt_io_itself_each_topic_says_the_same_as_its_counterpart() {
    let text = fs::read_to_string(folder().join("plain-mock.yml")).unwrap();
    let (broker, place) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let text = text.replace("port: 1883", &format!("port: {}", broker.port));
    let out = migrated(&text, true).unwrap();
    let listed = counterparts(&out);
    let endpoint = Endpoint::on(broker.port);
    let heard = Client::subscribe(&endpoint, &["#"]);
    let sim = SimFile::new(place.path().join("bench.json"));
    ["GPIO1", "GPIO2"].iter().for_each(|line| sim.set_input(line, 1));
    let config = out
        .replace("type: sim", "type: sim\n    state_file: bench.json")
        // Beside each other they need topics of their own.
        .replace("base_topic: \"bench\"", "base_topic: ours");
    let gateway = Gateway::start(place.path(), &format!("{config}\nspool: {{ path: spool }}\n"));
    let theirs = format!("{text}\noptions: {{ install_requirements: no }}\n");
    let _mqtt_io = MqttIo::start(place.path(), &theirs);
    gateway.wait_log("Connected.", SOON);
    let values: Vec<_> = listed.iter().filter(|(old, _)| old.split('/').count() == 3).collect();
    assert_eq!(values.len(), 5, "{listed:?}");
    for (old, new) in values.iter().filter(|(old, _)| !old.contains("/output/")) {
        // It imports a library for MQTT and one for YAML before it connects.
        let said = heard.wait_for(old, |_| true, SOON * 6);
        heard.wait_for(new, |ours| ours == translated(&said, new), SOON);
    }
    for lamp in ["lamp", "inverted_lamp"] {
        let output = format!("bench/output/{lamp}");
        let new = |old: &str| listed.iter().find(|(known, _)| known == old).unwrap().1.clone();
        for value in ["ON", "OFF"] {
            heard.forget();
            for topic in [format!("{output}/set"), new(&format!("{output}/set"))] {
                client::publish(&endpoint, &topic, value, false, 1);
            }
            assert_eq!(heard.wait_for(&output, |_| true, SOON), value);
            heard.wait_for(&new(&output), |ours| ours == translated(value, "output"), SOON);
        }
        heard.forget();
        let timed = format!("{output}/set_on_ms");
        let (topic, command) = new(&timed).split_once(" with ").map(|(t, c)| (t.to_owned(), c.to_owned())).unwrap();
        client::publish(&endpoint, &timed, "500", false, 1);
        client::publish(&endpoint, &topic, &command, false, 1);
        for (topic, values) in [(output.clone(), ["ON", "OFF"]), (new(&output), ["on", "off"])] {
            let said = wait_for("both values", SOON, || {
                let said: Vec<_> = heard.all(&topic).into_iter().map(|message| message.payload).collect();
                (said.len() >= 2).then_some(said)
            });
            assert_eq!(said, values, "{topic}");
        }
    }
}
