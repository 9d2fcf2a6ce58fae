//! The announcer, a broker and a plain model of Home Assistant's discovery, by random steps: whatever happens on the way, in the end
//! Home Assistant has the entities that are configured and no others, and the broker keeps nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value as Json;

use super::config;
use crate::home_assistant::{Announcer, Device, Messages};

const TICK: Duration = Duration::from_secs(1);

/// Where Home Assistant has something from: topic and key.
type Place = (String, String);

/// As `homeassistant.components.mqtt.discovery` does it: what was discovered in this run can be updated and taken away; what an
/// earlier run left in the registry stays there.
#[derive(Default)]
struct HomeAssistant {
    is_running: bool,
    /// When it says `online`.
    says: Option<Duration>,
    discovered: BTreeMap<Place, String>,
    registry: BTreeSet<String>,
    complaints: Vec<String>,
    /// Topics that were cleared where there was nothing, of which Home Assistant warns.
    idle: usize,
}

impl HomeAssistant {
    fn receive(&mut self, topic: &str, payload: &[u8]) {
        let components: BTreeMap<String, Json> = match payload {
            // Everything that was discovered on this topic goes.
            [] => {
                let here: Vec<_> = self.discovered.keys().filter(|(at, _)| at == topic).cloned().collect();
                self.idle += usize::from(here.is_empty());
                let here = here.iter();
                here.map(|(_, key)| (key.clone(), serde_json::json!({ "platform": "any" }))).collect()
            }
            payload => {
                let json: Json = serde_json::from_slice(payload).unwrap();
                json["components"].as_object().unwrap().clone().into_iter().collect()
            }
        };
        for (key, component) in components {
            let place = (topic.to_owned(), key.clone());
            let Some(unique) = component["unique_id"].as_str() else {
                if self.discovered.remove(&place).is_some() {
                    self.registry.remove(&key);
                }
                continue;
            };
            let elsewhere = self.discovered.iter().any(|(at, known)| known == unique && *at != place && at.1 == key);
            if elsewhere {
                self.complaints.push(format!("{unique} is announced twice"));
                continue;
            }
            self.discovered.insert(place, unique.to_owned());
            self.registry.insert(key);
        }
    }
}

struct World {
    now: Duration,
    home_assistant: HomeAssistant,
    /// What the broker keeps.
    retained: BTreeMap<String, Vec<u8>>,
    is_linked: bool,
    /// What the running gateway wants to have published.
    pending: BTreeMap<String, Vec<u8>>,
    gateway: Option<Announcer>,
    disk: BTreeMap<String, Vec<u8>>,
    configured: Vec<Device>,
}

impl World {
    fn new(configured: Vec<Device>) -> Self {
        Self {
            now: Duration::ZERO,
            home_assistant: HomeAssistant::default(),
            retained: BTreeMap::new(),
            is_linked: true,
            pending: BTreeMap::new(),
            gateway: None,
            disk: BTreeMap::new(),
            configured,
        }
    }

    fn set(&mut self, messages: Messages) {
        self.pending.extend(messages);
        self.disk = self.gateway.as_ref().map_or_else(BTreeMap::new, Announcer::stored);
    }

    fn start(&mut self) {
        let mut announcer = Announcer::default();
        announcer.recall(&self.disk);
        let messages = announcer.announce(&self.configured);
        self.gateway = Some(announcer);
        self.set(messages);
    }

    fn kill(&mut self) {
        self.gateway = None;
        self.pending.clear();
    }

    /// Another file, and a reload if the gateway runs.
    fn configure(&mut self, devices: Vec<Device>) {
        self.configured = devices;
        if let Some(mut announcer) = self.gateway.take() {
            let messages = announcer.announce(&self.configured);
            self.gateway = Some(announcer);
            self.set(messages);
        }
    }

    fn hear(&mut self, is_online: bool, chance: f64) {
        if let Some(announcer) = self.gateway.as_mut().filter(|_| self.is_linked) {
            let messages = announcer.hear(is_online, self.now, chance);
            self.set(messages);
        }
    }

    fn start_home_assistant(&mut self) {
        self.home_assistant.is_running = true;
        self.home_assistant.says = Some(self.now + Duration::from_secs(5));
        for (topic, payload) in &self.retained {
            self.home_assistant.receive(topic, payload);
        }
    }

    fn stop_home_assistant(&mut self) {
        self.home_assistant.is_running = false;
        self.home_assistant.says = None;
        self.home_assistant.discovered.clear();
        self.hear(false, 0.0);
    }

    fn deliver(&mut self) {
        for (topic, payload) in std::mem::take(&mut self.pending) {
            if self.home_assistant.is_running {
                self.home_assistant.receive(&topic, &payload);
            }
            if payload.is_empty() {
                self.retained.remove(&topic);
            } else {
                self.retained.insert(topic, payload);
            }
        }
    }

    /// A second passes.
    fn tick(&mut self, chance: f64) {
        self.now += TICK;
        if self.home_assistant.says.take_if(|at| *at <= self.now).is_some() {
            self.hear(true, chance);
        }
        if !self.is_linked {
            return;
        }
        self.deliver();
        let Some(mut announcer) = self.gateway.take() else { return };
        let configured = self.configured.clone();
        let due = announcer.step(self.now, true, |_| true, || configured);
        self.gateway = Some(announcer);
        if due.is_changed || !due.messages.is_empty() {
            self.set(due.messages);
        }
    }

    fn settle(&mut self) {
        (0..30).for_each(|_| self.tick(0.5));
    }

    fn check(&self, seed: u64) {
        let expected: BTreeSet<_> =
            self.configured.iter().flat_map(|device| &device.entities).map(|entity| entity.entity_id.clone()).collect();
        assert_eq!(self.home_assistant.registry, expected, "seed {seed}");
        let topics: BTreeSet<_> = self.configured.iter().map(|device| &device.topic).collect();
        assert_eq!(self.retained.keys().collect::<BTreeSet<_>>(), topics, "seed {seed}");
        assert_eq!(self.home_assistant.complaints, [""; 0], "seed {seed}");
        let kept: usize =
            self.disk.values().map(|body| String::from_utf8_lossy(body).matches("unique_id").count()).sum();
        assert_eq!(kept, expected.len(), "seed {seed}: something is still remembered");
    }
}

/// Some of these sensors, each alone or in a device, below one of two prefixes; or nothing at all.
fn chosen(chance: &mut fastrand::Rng) -> Vec<Device> {
    if chance.u8(..8) == 0 {
        return Vec::new();
    }
    let prefix = if chance.u8(..4) == 0 { "ha" } else { "homeassistant" };
    let mut sensors = String::new();
    for name in ["a", "b", "c", "d"].iter().filter(|_| chance.bool()).collect::<Vec<_>>() {
        let place =
            ["", ", home_assistant: { device: House }", ", home_assistant: { device: Barn }"][chance.usize(..3)];
        sensors += &format!("  {name}: {{ driver: waveform, every: 1s{place} }}\n");
    }
    let sensors = if sensors.is_empty() { sensors } else { format!("sensors:\n{sensors}") };
    config(&format!("home_assistant: {{ prefix: {prefix} }}\n{sensors}")).shown_devices()
}

#[test]
fn in_the_end_home_assistant_has_what_is_configured_whatever_happened() {
    for seed in 0..100 {
        let mut chance = fastrand::Rng::with_seed(seed);
        let mut world = World::new(chosen(&mut chance));
        for _ in 0..chance.usize(5..40) {
            match chance.u8(..10) {
                0 | 1 => {
                    let devices = chosen(&mut chance);
                    world.configure(devices);
                }
                2 if world.gateway.is_some() => world.kill(),
                2 | 3 if world.gateway.is_none() => world.start(),
                4 if world.home_assistant.is_running => world.stop_home_assistant(),
                4 | 5 if !world.home_assistant.is_running => world.start_home_assistant(),
                6 => world.is_linked = !world.is_linked,
                _ => (0..chance.u8(1..8)).for_each(|_| world.tick(chance.f64())),
            }
        }
        world.is_linked = true;
        if world.gateway.is_none() {
            world.start();
        }
        world.settle();
        if world.home_assistant.is_running {
            world.stop_home_assistant();
        }
        world.start_home_assistant();
        world.settle();
        world.check(seed);
    }
}

#[test]
fn while_home_assistant_runs_no_start_of_it_is_needed() {
    for seed in 0..30 {
        let mut chance = fastrand::Rng::with_seed(seed);
        let mut world = World::new(chosen(&mut chance));
        world.start_home_assistant();
        for _ in 0..8 {
            world.kill();
            world.configured = chosen(&mut chance);
            world.start();
            world.settle();
            let expected: usize = world.configured.iter().map(|device| device.entities.len()).sum();
            assert_eq!(world.home_assistant.registry.len(), expected, "seed {seed}");
            assert_eq!(world.home_assistant.complaints, [""; 0], "seed {seed}");
            assert_eq!(world.retained.len(), world.configured.len(), "seed {seed}");
            assert_eq!(world.home_assistant.idle, 0, "seed {seed}");
        }
    }
}

#[test]
fn what_went_while_all_others_were_away_is_shown_once_more_and_then_taken_away() {
    let with = config("home_assistant:\nsensors: { a: { driver: waveform, every: 1s } }\n").shown_devices();
    let mut world = World::new(with);
    world.start_home_assistant();
    world.start();
    world.settle();
    world.stop_home_assistant();
    world.kill();
    world.configured = config("home_assistant:\n").shown_devices();
    world.start();
    world.settle();
    world.start_home_assistant();
    assert!(world.home_assistant.registry.contains("sensor.shed_a_value"), "nobody has taken it away yet");
    world.settle();
    world.check(0);
}

#[test]
fn several_starts_in_a_burst_are_answered_once() {
    let mut announcer = Announcer::default();
    let devices = config("home_assistant:\n").shown_devices();
    announcer.announce(&devices);
    let (mut again, mut readings) = (0, 0);
    for second in 0..30 {
        let now = Duration::from_secs(second);
        if second < 4 {
            announcer.hear(true, now, 1.0);
        }
        let due = announcer.step(now, true, |_| true, Vec::new);
        again += due.again.len();
        readings += usize::from(due.readings);
    }
    assert_eq!((again, readings), (1, 1));
}

#[test]
fn another_gateway_of_the_name_keeps_what_it_has_on_the_topic() {
    let one = config("home_assistant:\nsensors: { a: { driver: waveform, every: 1s } }\n").shown_devices();
    let other = config("home_assistant:\nsensors: { b: { driver: waveform, every: 1s } }\n").shown_devices();
    let (mut home_assistant, mut mine, mut others) =
        (HomeAssistant::default(), Announcer::default(), Announcer::default());
    let receive = |to: &mut HomeAssistant, messages: Messages| {
        messages.iter().for_each(|(topic, payload)| to.receive(topic, payload));
    };
    receive(&mut home_assistant, mine.announce(&one));
    receive(&mut home_assistant, others.announce(&other));
    receive(&mut home_assistant, mine.announce(&[]));
    for second in 0..20 {
        if second == 5 {
            receive(&mut home_assistant, mine.hear(true, Duration::from_secs(5), 0.0));
        }
        let due = mine.step(Duration::from_secs(second), false, |_| true, Vec::new);
        receive(&mut home_assistant, due.messages);
    }
    assert!(home_assistant.registry.contains("sensor.shed_b_value"));
    assert!(!home_assistant.registry.contains("sensor.shed_a_value"));
}
