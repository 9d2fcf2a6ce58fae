//! Independent clients: `mosquitto_sub` and `mosquitto_pub`, so that the program is not tested by its own library.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::certificates::Certificates;
use super::late::Late;
use super::{LOOK_EVERY, SOON, missing, wait_for, wait_until};

/// Where a broker is, and who asks.
#[derive(Clone, Debug, Default)]
pub struct Endpoint {
    pub port: u16,
    pub user: Option<(String, String)>,
    /// Speaks TLS and shows the client's certificate.
    pub certificates: Option<Certificates>,
    /// Speaks MQTT 5, and then properties are seen.
    pub v5: bool,
}

impl Endpoint {
    /// A broker without users on this port.
    pub fn on(port: u16) -> Self {
        Self { port, ..Self::default() }
    }

    /// The same, by MQTT 5.
    pub fn v5(self) -> Self {
        Self { v5: true, ..self }
    }

    fn command(&self, mut command: Command) -> Command {
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string()]);
        command.args(["-V", if self.v5 { "mqttv5" } else { "mqttv311" }]);
        if let Some((user, password)) = &self.user {
            command.args(["-u", user, "-P", password]);
        }
        if let Some(files) = &self.certificates {
            command.arg("--cafile").arg(&files.ca).arg("--cert").arg(&files.client_cert);
            command.arg("--key").arg(&files.client_key);
        }
        command
    }
}

/// A message as `mosquitto_sub` saw it.
#[derive(Clone, Debug)]
pub struct Message {
    pub topic: String,
    pub payload: String,
    pub retain: bool,
    pub qos: u64,
    /// MQTT 5 properties as an object; null without.
    pub properties: Value,
    pub at: Instant,
}

impl Message {
    /// The payload as JSON; null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.payload).unwrap_or(Value::Null)
    }

    fn parse(line: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(line).ok()?;
        Some(Self {
            topic: value["topic"].as_str()?.to_owned(),
            payload: value["payload"].as_str().unwrap_or_default().to_owned(),
            retain: value["retain"] == 1,
            qos: value["qos"].as_u64()?,
            properties: value["properties"].clone(),
            at: Instant::now(),
        })
    }
}

#[derive(Default)]
struct Heard {
    messages: Vec<Message>,
    late: Late<Message>,
    subscriptions: usize,
    fences: usize,
    /// What else it said; the last words explain a failure.
    words: Vec<String>,
}

/// How the topics begin that only say that what came before them has come.
const FENCE: &str = "fence/";

impl Heard {
    fn messages(&mut self) -> &mut Vec<Message> {
        self.messages.append(&mut self.late.seen());
        &mut self.messages
    }
}

/// A running `mosquitto_sub`. It connects again by itself, about a second after a broker is back.
pub struct Client {
    endpoint: Endpoint,
    /// A topic of its own.
    fence: String,
    child: Child,
    heard: Arc<Mutex<Heard>>,
}

impl Client {
    /// Subscribes at QoS 2 and returns when the broker has granted it.
    pub fn subscribe(endpoint: &Endpoint, topics: &[&str]) -> Self {
        Self::with(endpoint, topics, &[])
    }

    /// The same, with more arguments for `mosquitto_sub`.
    pub fn with(endpoint: &Endpoint, topics: &[&str], arguments: &[&str]) -> Self {
        // Into a pipe mosquitto_sub would print its subscription only with the first message. stdbuf becomes it.
        let mut command = Command::new("stdbuf");
        command.args(["-oL", "mosquitto_sub"]);
        let mut command = endpoint.command(command);
        static NTH: AtomicUsize = AtomicUsize::new(0);
        let fence = format!("{FENCE}{}-{}", std::process::id(), NTH.fetch_add(1, Ordering::Relaxed));
        command.args(["-d", "-q", "2", "-F", "%j"]).args(arguments);
        for topic in topics.iter().chain([&fence.as_str()]) {
            command.args(["-t", topic]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(missing("stdbuf mosquitto_sub", "coreutils mosquitto-clients"));
        let heard = Arc::new(Mutex::new(Heard::default()));
        listen(child.stdout.take().unwrap(), &heard);
        listen(child.stderr.take().unwrap(), &heard);
        let mut client = Self { endpoint: endpoint.clone(), fence, child, heard };
        client.wait_subscribed(1);
        client
    }

    /// Waits until the broker has granted its subscriptions this often; after a restart of the broker, once more.
    pub fn wait_subscribed(&mut self, times: usize) {
        wait_until("mosquitto_sub to be subscribed", SOON, || {
            if let Some(status) = self.child.try_wait().unwrap() {
                // Its last words may still be in the pipe.
                std::thread::sleep(LOOK_EVERY * 20);
                panic!("mosquitto_sub ended with {status}: {:?}", self.heard.lock().unwrap().words);
            }
            self.heard.lock().unwrap().subscriptions >= times
        });
    }

    /// The first message on a topic that fits, waited for if need be.
    pub fn wait_for(&self, topic: &str, fits: impl Fn(&str) -> bool, timeout: Duration) -> String {
        self.wait_message(topic, |message| fits(&message.payload), timeout).payload
    }

    /// The same as JSON.
    pub fn wait_json(&self, topic: &str, fits: impl Fn(&Value) -> bool, timeout: Duration) -> Value {
        self.wait_message(topic, |message| fits(&message.json()), timeout).json()
    }

    /// The whole message.
    pub fn wait_message(&self, topic: &str, fits: impl Fn(&Message) -> bool, timeout: Duration) -> Message {
        wait_for(&format!("a message on {topic}"), timeout, || self.all(topic).into_iter().find(&fits))
    }

    /// Everything on a topic since the start or the last `forget`, in order.
    pub fn all(&self, topic: &str) -> Vec<Message> {
        self.everything().into_iter().filter(|message| message.topic == topic).collect()
    }

    /// How many those are.
    pub fn count(&self, topic: &str) -> usize {
        self.heard.lock().unwrap().messages().iter().filter(|message| message.topic == topic).count()
    }

    /// Everything on every topic.
    pub fn everything(&self) -> Vec<Message> {
        self.heard.lock().unwrap().messages().clone()
    }

    /// Waits until everything is here that the broker had for us before now. At the greatest quality of service: a broker that has
    /// much for us holds that back behind what came before.
    pub fn fence(&self) {
        let fences = || self.heard.lock().unwrap().fences;
        let before = fences();
        self.publish(&self.fence, "", false, 2);
        wait_until("what the broker had", SOON, || fences() > before);
    }

    /// Forgets what the broker has had, so that only what is new is found.
    pub fn forget(&self) {
        self.fence();
        self.forget_seen();
    }

    /// The same without asking the broker, which may be away: what it had for us can still come.
    pub fn forget_seen(&self) {
        self.heard.lock().unwrap().messages().clear();
    }

    /// Publishes and returns when the broker has it.
    pub fn publish(&self, topic: &str, payload: &str, retain: bool, qos: u8) {
        publish(&self.endpoint, topic, payload, retain, qos);
    }
}

/// Ends with the pipe, and so with the child.
fn listen(pipe: impl Read + Send + 'static, heard: &Arc<Mutex<Heard>>) {
    let heard = Arc::clone(heard);
    std::thread::spawn(move || {
        // A payload need not be text.
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            hear(&heard, String::from_utf8_lossy(&line).into_owned());
        }
    });
}

fn hear(heard: &Mutex<Heard>, line: String) {
    let mut heard = heard.lock().unwrap();
    match Message::parse(&line) {
        Some(message) if message.topic.starts_with(FENCE) => {
            heard.fences += 1;
            let rest = heard.late.rest();
            heard.messages.extend(rest);
        }
        Some(message) => {
            let seen = heard.late.take(stream(&message.topic), message);
            heard.messages.extend(seen);
        }
        None => {
            heard.subscriptions += usize::from(line.starts_with("Subscribed"));
            heard.words.push(line);
        }
    }
}

/// What keeps its order: readings and what became of others go through one queue of the gateway, a state through one of its own.
fn stream(topic: &str) -> String {
    let mut words = topic.split('/').skip(1);
    let is_queued = match words.next() {
        Some("sensors") => words.count() == 1,
        first => matches!(first, Some("late" | "loss" | "events")),
    };
    if is_queued { "readings".to_owned() } else { topic.to_owned() }
}

impl Drop for Client {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let (now, heard) = (Instant::now(), self.heard.lock().unwrap_or_else(PoisonError::into_inner));
            eprintln!("the last that came to a client of port {}:", self.endpoint.port);
            for Message { topic, payload, at, .. } in &heard.messages[heard.messages.len().saturating_sub(20)..] {
                eprintln!("{} ms ago: {topic} {payload}", (now - *at).as_millis());
            }
        }
        // It may have ended by itself, which is no reason to fail here.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Publishes and returns when the broker has it.
pub fn publish(endpoint: &Endpoint, topic: &str, payload: &str, retain: bool, qos: u8) {
    let mut arguments = vec!["-q".to_owned(), qos.to_string()];
    arguments.extend(retain.then(|| "-r".to_owned()));
    publish_with(endpoint, topic, payload, &arguments).unwrap();
}

/// Publishes by MQTT 5 with properties such as `("response-topic", "a/b")`.
pub fn publish_v5(endpoint: &Endpoint, topic: &str, payload: &str, properties: &[(&str, &str)]) {
    let each = |(name, value): &(&str, &str)| ["-D", "publish", name, value].map(str::to_owned);
    let mut arguments: Vec<String> = properties.iter().flat_map(each).collect();
    arguments.extend(["-q", "1"].map(str::to_owned));
    publish_with(&endpoint.clone().v5(), topic, payload, &arguments).unwrap();
}

/// Publishes with more arguments for `mosquitto_pub`; an error is what it said.
pub fn publish_with(endpoint: &Endpoint, topic: &str, payload: &str, arguments: &[String]) -> Result<(), String> {
    Publisher::start(endpoint, topic, payload, arguments).wait(SOON)
}

/// Publishes bytes that no argument can carry, at QoS 1.
pub fn publish_bytes(endpoint: &Endpoint, topic: &str, payload: &[u8]) {
    feed(endpoint, &["-t", topic, "-q", "1", "-s"], payload);
}

/// The same, retained.
pub fn publish_bytes_retained(endpoint: &Endpoint, topic: &str, payload: &[u8]) {
    feed(endpoint, &["-t", topic, "-q", "1", "-r", "-s"], payload);
}

/// Publishes each line as a message of its own, as fast as the broker takes them at QoS 1.
pub fn publish_lines(endpoint: &Endpoint, topic: &str, lines: &[String]) {
    feed(endpoint, &["-t", topic, "-q", "1", "-l"], format!("{}\n", lines.join("\n")).as_bytes());
}

fn feed(endpoint: &Endpoint, arguments: &[&str], input: &[u8]) {
    let mut command = endpoint.command(Command::new("mosquitto_pub"));
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(missing("mosquitto_pub", "mosquitto-clients"));
    child.stdin.take().unwrap().write_all(input).unwrap();
    Publisher(child).wait(SOON).unwrap();
}

/// A running `mosquitto_pub`, for a broker that may not answer.
pub struct Publisher(Child);

impl Publisher {
    /// Starts publishing.
    pub fn start(endpoint: &Endpoint, topic: &str, payload: &str, arguments: &[String]) -> Self {
        let mut command = endpoint.command(Command::new("mosquitto_pub"));
        command.args(["-t", topic, "-m", payload]).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        Self(command.spawn().unwrap_or_else(missing("mosquitto_pub", "mosquitto-clients")))
    }

    /// Whether it has ended.
    pub fn is_finished(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }

    /// Waits for its end; an error is what it said, which is little and fits into the pipe.
    pub fn wait(mut self, timeout: Duration) -> Result<(), String> {
        let status = wait_for("mosquitto_pub to end", timeout, || self.0.try_wait().unwrap());
        let mut said = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        if status.success() { Ok(()) } else { Err(format!("mosquitto_pub: {status}: {said}")) }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        // Usually it has ended by itself.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
