//! The life of one program: random steps, each awaited and compared with the model.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use fastrand::Rng;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::model::{BUSES, METER, Model, OUTPUTS, Output, Setup};
use crate::common::client::{Client, publish};
use crate::common::gateway::{self, Gateway};
use crate::common::mosquitto::{Mosquitto, Options};
use crate::common::quick::{LONG, start};
use crate::common::relay::Relay;
use crate::common::sim_file::SimFile;
use crate::common::{wait_for, wait_until};
use crate::lives::Life;

/// A kill may take with it that an id was seen; docs/reliability.md says how long that is.
const ID_IS_SAFE_AFTER: Duration = Duration::from_secs(1);

/// Where the total of the meter is set.
const TOTAL: &str = "b/sensors/meter/total";

/// Between two looks at what is awaited.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// An answered command.
struct Answered {
    /// An output, or nothing for the meter.
    output: Option<&'static str>,
    payload: String,
    reply: String,
    at: Instant,
}

/// How often each step was made, and what was taken.
#[derive(Default)]
pub(super) struct Tally {
    steps: BTreeMap<&'static str, u32>,
    pub(super) taken: u64,
}

impl Tally {
    pub(super) fn add(&mut self, other: Self) {
        for (step, times) in other.steps {
            *self.steps.entry(step).or_default() += times;
        }
        self.taken += other.taken;
    }

    pub(super) fn steps(&self) -> String {
        let each: Vec<_> = self.steps.iter().map(|(step, times)| format!("{times} {step}")).collect();
        each.join(", ")
    }
}

/// A broker behind a cable, somebody who hears everything, the program, and what is expected of it.
pub(super) struct Story {
    gateway: Gateway,
    client: Client,
    relay: Relay,
    broker: Mosquitto,
    sims: BTreeMap<&'static str, SimFile>,
    folder: TempDir,
    model: Model,
    answered: Vec<Answered>,
    /// Lives that were ended from outside, and those that ended in order.
    killed: Vec<Life>,
    ended: Vec<Life>,
    /// Retained topics of what was configured before a restart: a reload clears what it removes, a start does not.
    left: BTreeSet<String>,
    commands: u32,
    probes: u32,
    tally: Tally,
}

impl Story {
    pub(super) fn begin(chance: &mut Rng) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let broker = Mosquitto::with(Options { extra: "max_queued_messages 0".to_owned(), ..Options::default() });
        let client = Client::subscribe(&broker.endpoint(), &["b/#"]);
        let relay = Relay::to(broker.port, Duration::ZERO);
        let sims = BUSES.map(|bus| (bus, SimFile::new(folder.path().join(format!("{bus}.json"))))).into();
        let model = Model::started(Setup::random(chance), 0);
        let gateway = start(folder.path(), &model.setup.text(&relay.url()));
        let (answered, killed, ended) = (Vec::new(), Vec::new(), Vec::new());
        let (left, commands, probes, tally) = (BTreeSet::new(), 0, 0, Tally::default());
        let mut story = Self {
            gateway,
            client,
            relay,
            broker,
            sims,
            folder,
            model,
            answered,
            killed,
            ended,
            left,
            commands,
            probes,
            tally,
        };
        story.obeys();
        story.compare("the start");
        story
    }

    pub(super) fn step(&mut self, chance: &mut Rng) {
        let name = match chance.u8(..36) {
            0..12 => self.command(chance),
            12..15 => self.repeat(chance),
            15..20 => self.reload(chance),
            20..22 => self.refused_reload(chance),
            22..24 => self.input(chance),
            24..26 => self.cut(),
            26 => self.silence(),
            27..29 => self.kill(chance),
            29 => self.stop_and_start(chance),
            30..33 => self.set_total(chance),
            _ => self.pulse(),
        };
        *self.tally.steps.entry(name).or_default() += 1;
        self.compare(name);
    }

    /// Waits until a command is answered, and not as one that may be old. Without outputs only those to totals are heard.
    fn obeys(&mut self) {
        let hears_outputs = !self.model.setup.outputs.is_empty();
        let nobody = if hears_outputs { "b/actuators/nobody" } else { "b/sensors/nobody/total" };
        wait_until("a fresh command to be answered", LONG, || {
            self.probes += 1;
            let id = format!("probe-{}", self.probes);
            let reply = self.ask_at(nobody, &format!(r#"{{"value":"on","id":"{id}"}}"#), &id, Duration::from_secs(1));
            reply.is_some_and(|reply| !reply.contains("expired"))
        });
    }

    /// The reply with this id to a command sent now.
    fn ask(&self, output: &str, payload: &str, id: &str, patience: Duration) -> Option<String> {
        self.ask_at(&format!("b/actuators/{output}"), payload, id, patience)
    }

    fn ask_at(&self, base: &str, payload: &str, id: &str, patience: Duration) -> Option<String> {
        let topic = format!("{base}/reply");
        let named = format!("\"id\":\"{id}\"");
        let replies = || {
            let all = self.client.all(&topic).into_iter().filter(|message| message.payload.contains(&named));
            all.map(|message| message.payload).collect::<Vec<_>>()
        };
        let before = replies().len();
        publish(&self.broker.endpoint(), &format!("{base}/set"), payload, false, 1);
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if let Some(reply) = replies().into_iter().nth(before) {
                return Some(reply);
            }
            std::thread::sleep(LOOK_EVERY);
        }
        None
    }

    fn send(&self, output: &str, payload: &str) {
        publish(&self.broker.endpoint(), &format!("b/actuators/{output}/set"), payload, false, 1);
    }

    fn command(&mut self, chance: &mut Rng) -> &'static str {
        if self.model.setup.outputs.is_empty() {
            return "nothing";
        }
        let (output, on) = (OUTPUTS[chance.usize(..OUTPUTS.len())], chance.bool());
        self.commands += 1;
        let id = format!("c{}", self.commands);
        let payload = format!(r#"{{"value":"{}","id":"{id}"}}"#, word(on));
        let expected = self.model.command(output, on);
        let reply =
            self.ask(output, &payload, &id, LONG).unwrap_or_else(|| panic!("no reply to {payload} of {output}"));
        assert!(reply.contains(expected), "{output} {payload}: {reply}; {:?}", self.model);
        self.answered.push(Answered { output: Some(output), payload, reply, at: Instant::now() });
        "commands"
    }

    /// The meter was replaced.
    fn set_total(&mut self, chance: &mut Rng) -> &'static str {
        self.commands += 1;
        let (total, id) = (chance.u64(..100_000), format!("c{}", self.commands));
        let payload = format!(r#"{{"value":{total},"id":"{id}"}}"#);
        let reply = self.ask_at(TOTAL, &payload, &id, LONG).unwrap_or_else(|| panic!("no reply to {payload}"));
        let answer: Value = serde_json::from_str(&reply).unwrap();
        assert_eq!((&answer["outcome"], &answer["value"]), (&"done".into(), &total.into()), "{payload}: {reply}");
        self.model.total = total;
        self.answered.push(Answered { output: None, payload, reply, at: Instant::now() });
        "totals"
    }

    /// Both edges count, so that each is seen to have been noticed before the next.
    fn pulse(&mut self) -> &'static str {
        let (bus, line) = METER;
        let was = self.sims[bus].read()["inputs"][line] == 1;
        self.sims[bus].set_input(line, u8::from(!was));
        self.model.total += 1;
        "pulses"
    }

    /// The first reply again, word for word, and nothing moves.
    fn repeat(&mut self, chance: &mut Rng) -> &'static str {
        let Some(one) = chance.choice(self.answered.iter()) else { return "nothing" };
        if one.output.is_some_and(|output| !self.model.setup.outputs.contains_key(output)) {
            return "nothing";
        }
        let id = one.payload.rsplit('"').nth(1).expect("an id");
        let base = one.output.map_or_else(|| TOTAL.to_owned(), |output| format!("b/actuators/{output}"));
        let reply =
            self.ask_at(&base, &one.payload, id, LONG).unwrap_or_else(|| panic!("no reply to a repeat of {id}"));
        assert_eq!(reply, one.reply, "a repeat gets the first reply");
        "repeats"
    }

    fn reload(&mut self, chance: &mut Rng) -> &'static str {
        let setup = self.model.setup.varied(chance);
        self.hang_up(&setup.text(&self.relay.url()), "Configuration reloaded.");
        self.model = self.model.reloaded(setup);
        self.obeys();
        "reloads"
    }

    fn refused_reload(&mut self, chance: &mut Rng) -> &'static str {
        let text = Setup::random(chance).text(&self.relay.url()).replace("driver: waveform", "driver: wavefrom");
        self.hang_up(&text, "the old one stays");
        gateway::write_config(self.folder.path(), &self.text());
        "refused reloads"
    }

    fn hang_up(&self, text: &str, words: &str) {
        let count = || self.gateway.log().matches(words).count();
        let before = count();
        gateway::write_config(self.folder.path(), text);
        self.gateway.signal(Signal::HUP);
        wait_until(words, LONG, || count() > before);
    }

    fn input(&self, chance: &mut Rng) -> &'static str {
        let Some((name, (bus, line))) = chance.choice(self.model.setup.inputs.iter()) else { return "nothing" };
        let topic = format!("b/sensors/{name}");
        let seen = || self.client.all(&topic).last().map(|reading| reading.json()["active"] == true);
        let was = wait_for("a first reading", LONG, seen);
        self.sims[bus].set_input(line, u8::from(!was));
        wait_until(&format!("{name} to change"), LONG, || seen() == Some(!was));
        "edges"
    }

    /// The link is cut and comes back.
    fn cut(&mut self) -> &'static str {
        self.relay.tear();
        self.obeys();
        "cuts"
    }

    /// The broker is silent for longer than some outputs bear.
    fn silence(&mut self) -> &'static str {
        self.broker.freeze();
        let watching: Vec<_> = self.model.setup.outputs.iter().filter(|(_, output)| output.watches_link).collect();
        let moved = watching.iter().any(|(name, output)| self.model.on[*name] != output.safe_on);
        self.model.link_lost();
        if moved {
            self.wait_lines("the link is lost");
        }
        self.broker.thaw();
        self.obeys();
        "silences"
    }

    /// kill -9, `safe-state` as systemd would run it, and a new start.
    fn kill(&mut self, chance: &mut Rng) -> &'static str {
        self.gateway.kill9();
        self.killed.extend(Life::of(&self.gateway));
        self.answered.retain(|one| one.at.elapsed() > ID_IS_SAFE_AFTER);
        if chance.bool() {
            gateway::write_config(self.folder.path(), "sensors: [ broken");
        }
        self.safe_state();
        self.model = Model::started(self.model.setup.clone(), self.model.total);
        self.wait_lines("safe-state after a kill");
        self.start_again();
        "kills"
    }

    fn safe_state(&self) {
        let done = gateway::command(self.folder.path(), &["safe-state", "--config", "fieldgate.yaml"], LONG);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    /// An orderly stop, with a command or a reload on its way: whatever it finds done, every output ends safe.
    fn stop_and_start(&mut self, chance: &mut Rng) -> &'static str {
        let mut next = self.model.setup.clone();
        match chance.u8(..3) {
            0 => self.send(OUTPUTS[chance.usize(..OUTPUTS.len())], "on"),
            1 => {
                next = next.varied(chance);
                gateway::write_config(self.folder.path(), &next.text(&self.relay.url()));
                self.gateway.signal(Signal::HUP);
            }
            _ => {}
        }
        self.gateway.stop(LONG);
        self.ended.extend(Life::of(&self.gateway));
        // A line that goes to another output may have been taken over or not.
        let before = self.model.topics();
        self.model
            .setup
            .outputs
            .retain(|name, output| next.outputs.get(name) == Some(output) || !next.uses(output.line));
        self.model = Model::started(self.model.setup.clone(), self.model.total);
        self.wait_lines("an orderly stop");
        wait_until("offline", LONG, || {
            self.client.all("b/status").last().is_some_and(|word| word.payload == "offline")
        });
        self.model = Model::started(next, self.model.total);
        // Whether the reload came first or the stop, nobody knows.
        self.left.extend(before.difference(&self.model.topics()).cloned());
        if chance.bool() {
            self.safe_state();
        }
        self.start_again();
        "orderly stops"
    }

    fn start_again(&mut self) {
        self.gateway = start(self.folder.path(), &self.text());
        self.obeys();
    }

    fn text(&self) -> String {
        self.model.setup.text(&self.relay.url())
    }

    /// Lines, states and the total are as in the model.
    fn compare(&self, after: &str) {
        self.wait_lines(after);
        let total = || self.client.all("b/sensors/meter").last().map(|reading| reading.json()["total"].clone());
        let wanted = self.model.total;
        wait_until(&format!("a total of {wanted} after {after}"), LONG, || total() == Some(wanted.into()));
        for (name, on) in &self.model.on {
            let topic = format!("b/actuators/{name}/state");
            let newest = || self.client.all(&topic).last().map(|state| state.payload.clone());
            let says = format!("{{\"value\":\"{}\"", word(*on));
            let is_so = || newest().is_some_and(|state| state.starts_with(&says));
            let deadline = Instant::now() + LONG;
            while !is_so() {
                assert!(Instant::now() < deadline, "{topic} says {:?} after {after}: {:?}", newest(), self.model);
                std::thread::sleep(LOOK_EVERY);
            }
        }
    }

    fn wait_lines(&self, after: &str) {
        for (name, output) in &self.model.setup.outputs {
            let Output { line: (bus, line), .. } = output;
            let level = output.level(self.model.on[name]);
            wait_until(&format!("{name} ({bus} {line}) at {level} after {after}: {:?}", self.model), LONG, || {
                self.sims[bus].line(line) == Some(level)
            });
        }
    }

    /// What is retained is exactly what the configuration has, but for what a restart left.
    fn compare_retained(&self) {
        let (expected, deadline) = (self.model.topics(), Instant::now() + LONG);
        loop {
            let newcomer = Client::subscribe(&self.broker.endpoint(), &["b/#"]);
            let found = || -> BTreeSet<String> {
                let retained = newcomer.everything().into_iter().filter(|message| message.retain);
                retained.map(|message| message.topic).collect()
            };
            let give_up = Instant::now() + Duration::from_secs(1);
            let wrong = || -> Vec<String> {
                found()
                    .symmetric_difference(&expected)
                    .filter(|topic| expected.contains(*topic) || !self.left.contains(*topic))
                    .cloned()
                    .collect()
            };
            while !wrong().is_empty() && Instant::now() < give_up {
                std::thread::sleep(LOOK_EVERY);
            }
            let differ = wrong();
            if differ.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "retained or configured, but not both: {differ:?}; {:?}", self.model);
        }
    }

    /// Ends in order, and settles the account of all lives.
    pub(super) fn end(mut self) -> Tally {
        self.compare_retained();
        self.gateway.stop(LONG);
        self.ended.extend(Life::of(&self.gateway));
        let account = || {
            let messages = self.client.everything().into_iter().map(|message| (message.topic, message.payload));
            crate::common::account::Account::of("n", messages)
        };
        for Life { run, last } in &self.ended {
            wait_until(&format!("{last} readings of run {run}"), LONG, || account().missing(run, *last).is_empty());
            self.tally.taken += last;
        }
        let account = account();
        account.check_whole();
        self.tally
    }
}

fn word(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}
