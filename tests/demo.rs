//! `fieldgate demo` as a newcomer meets it: the lines it prints are copied and run.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::print_stderr, reason = "a failing test shows what the program said")]

use crate::common;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::common::client::{Client, Endpoint};
use crate::common::gateway::{program, program_path};
use crate::common::mosquitto::{Mosquitto, Options};
use crate::common::ports::free_neighbours;
use crate::common::unread::stopped_terminal;
use crate::common::{SOON, free_port, pace, send_signal, wait_for, wait_until};
use rustix::process::Signal;
use tempfile::TempDir;

/// A running program and everything that it has said.
struct Running {
    child: Child,
    said: Arc<Mutex<String>>,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        listen(child.stdout.take().unwrap(), &said);
        listen(child.stderr.take().unwrap(), &said);
        Self { child, said }
    }

    /// A line of shell that replaces the shell, so that it is the one that ends.
    fn shell(line: &str) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("exec {line}")]);
        Self::start(command)
    }

    fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    fn wait_said(&self, text: &str) {
        wait_until(&format!("{text:?} in what it says"), SOON, || self.said().contains(text));
    }

    /// Waits for its end; −1 when a signal ended it.
    fn wait_exit(&mut self, timeout: Duration) -> i32 {
        wait_for("the program to end", timeout, || self.child.try_wait().unwrap()).code().unwrap_or(-1)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself, which is no reason to fail here.
        self.child.kill().ok();
        self.child.wait().ok();
        if std::thread::panicking() {
            eprintln!("it said:\n{}", self.said());
        }
    }
}

fn listen(mut pipe: impl Read + Send + 'static, said: &Arc<Mutex<String>>) {
    let said = Arc::clone(said);
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = pipe.read(&mut bytes) {
            said.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
    });
}

/// A demo into a pipe, with a temporary folder of its own.
struct Demo {
    running: Running,
    temporary: TempDir,
}

impl Demo {
    /// Returns when it has introduced itself.
    fn start(port: u16) -> Self {
        let mut command = program();
        command.args(["demo", "--port", &port.to_string()]);
        Self::with(command)
    }

    /// On a broker that is there already.
    fn on(broker: &str, more: &[&str]) -> Self {
        let mut command = program();
        command.args(["demo", "--home-assistant", broker]).args(more);
        Self::with(command)
    }

    fn with(mut command: Command) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        command.env("TMPDIR", temporary.path());
        let demo = Self { running: Running::start(command), temporary };
        demo.running.wait_said("/fan/set -m 40\n");
        demo
    }

    /// The introduction's lines that begin with a word, without it.
    fn lines(&self, word: &str) -> Vec<String> {
        let said = self.running.said();
        said.lines().filter_map(|line| line.strip_prefix(word)).map(|line| line.trim().to_owned()).collect()
    }

    /// Ends it by Ctrl-C, and expects that nothing is left.
    fn interrupt(mut self) {
        let asked = Instant::now();
        send_signal(&self.running.child, Signal::INT);
        assert_eq!(self.running.wait_exit(SOON), 0);
        assert!(asked.elapsed() < Duration::from_secs(2) + pace::slack(asked), "{:?}", asked.elapsed());
        let left: Vec<_> = fs::read_dir(self.temporary.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(left.is_empty(), "{left:?}");
        self.running.wait_said("demo ended; every output is in its safe state");
    }
}

#[test]
fn the_lines_it_prints_show_readings_and_switch_the_pump() {
    let port = free_port();
    let demo = Demo::start(port);
    let (watch, commands) = (demo.lines("watch "), demo.lines("command "));
    assert_eq!(watch, [format!("mosquitto_sub -p {port} -t 'fieldgate/greenhouse/#' -v")]);
    let pump = format!("mosquitto_pub -p {port} -t fieldgate/greenhouse/actuators/pump/set -m on");
    let fan = format!("mosquitto_pub -p {port} -t fieldgate/greenhouse/actuators/fan/set -m 40");
    assert_eq!(commands, [pump.as_str(), &fan]);
    // Into a pipe mosquitto_sub would hold back what it hears.
    let watching = Running::shell(&format!("stdbuf -oL {}", watch[0]));
    for sensor in ["air", "soil", "light", "shade", "tank", "door"] {
        watching.wait_said(&format!("fieldgate/greenhouse/sensors/{sensor} {{\"time\":"));
    }
    for line in &commands {
        assert_eq!(Running::shell(line).wait_exit(SOON), 0);
    }
    for (output, value) in [("pump", "\"on\""), ("fan", "40")] {
        watching.wait_said(&format!("fieldgate/greenhouse/actuators/{output}/state {{\"value\":{value}"));
        watching
            .wait_said(&format!("fieldgate/greenhouse/actuators/{output}/reply {{\"id\":null,\"outcome\":\"done\""));
    }
    demo.running.wait_said("  pump  on  command\n");
    assert!(!demo.running.said().contains('\x1b'), "no escapes into a pipe");
    demo.interrupt();
    watching.wait_said("fieldgate/greenhouse/actuators/pump/state {\"value\":\"off\"");
    watching.wait_said("fieldgate/greenhouse/status offline");
}

#[test]
fn filters_make_the_values_of_the_greenhouse_calm() {
    let demo = Demo::start(free_port());
    demo.running.wait_said("  air  ");
    demo.running.wait_said(" hPa\n");
    let said = demo.running.said();
    let air = said.lines().find_map(|line| line.split_once("  air  ")).unwrap().1;
    let temperature = air.split_once(" °C").unwrap().0;
    let decimals = temperature.split_once('.').map_or(0, |(_, behind)| behind.len());
    assert!(decimals <= 1, "the chip means two decimals, the filter one: {air}");
    demo.interrupt();
}

#[test]
fn a_taken_port_is_reported_and_the_next_free_one_is_used() {
    let [port, free] = free_neighbours();
    let _taken = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let demo = Demo::start(port);
    let reported = format!("port {port} is taken, so the demo's broker listens on ");
    demo.running.wait_said(&reported);
    let said = demo.running.said();
    let next: u16 = said[said.find(&reported).unwrap() + reported.len()..].lines().next().unwrap().parse().unwrap();
    assert_eq!(next, free);
    demo.running.wait_said(&format!("broker mqtt://127.0.0.1:{next} (embedded)"));
    assert!(demo.lines("watch ")[0].contains(&format!("-p {next} ")));
    demo.interrupt();
}

#[test]
fn two_demos_run_side_by_side() {
    let [port, _] = free_neighbours();
    let demos = [Demo::start(port), Demo::start(port)];
    for demo in demos {
        demo.interrupt();
    }
}

const ANNOUNCED: &str = "homeassistant/device/fieldgate_greenhouse/config";

#[test]
fn on_a_given_broker_it_is_announced_and_leaves_nothing_there() {
    let broker = Mosquitto::start();
    let everything = ["#"];
    let client = Client::subscribe(&broker.endpoint(), &everything);
    let demo = Demo::on(&broker.url(), &[]);
    let payload = client.wait_json(ANNOUNCED, |payload| payload["components"].is_object(), SOON);
    assert_eq!(
        payload["components"]["switch.greenhouse_pump"]["command_topic"],
        "fieldgate/greenhouse/actuators/pump/set"
    );
    client.wait_json("fieldgate/greenhouse/sensors/tank", |_| true, SOON);
    demo.running.wait_said("link     up: ");
    let commands = demo.lines("command ");
    assert_eq!(
        commands[0],
        format!("mosquitto_pub -h 127.0.0.1 -p {} -t fieldgate/greenhouse/actuators/pump/set -m on", broker.port)
    );
    assert_eq!(Running::shell(&commands[0]).wait_exit(SOON), 0);
    demo.running.wait_said("  pump  on  command\n");
    demo.interrupt();
    // It is taken away while its states are there, and an end that is not orderly would have said `offline`.
    client.wait_for(ANNOUNCED, str::is_empty, SOON);
    assert!(client.all("fieldgate/greenhouse/status").iter().all(|message| message.payload != "offline"));
    client.publish("end", "of the demo", true, 1);
    let later = Client::subscribe(&broker.endpoint(), &everything);
    later.wait_for("end", |text| text == "of the demo", SOON);
    let retained: Vec<_> = later.everything().into_iter().map(|message| message.topic).collect();
    assert_eq!(retained, ["end"]);
}

#[test]
fn a_given_broker_may_want_a_password_and_may_come_late() {
    let user = Some(("pi".to_owned(), "s3cret".to_owned()));
    let mut broker = Mosquitto::with(Options { user, ..Options::default() });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    common::write_secret(&file, "s3cret");
    broker.stop();
    let demo = Demo::on(&broker.url(), &["--username", "pi", "--password-file", &file.to_string_lossy()]);
    demo.running.wait_said("link     down: ");
    broker.start_again();
    demo.running.wait_said("link     up: ");
    assert!(demo.lines("watch ")[0].contains(" -u pi -P \"$(cat /"), "{:?}", demo.lines("watch "));
    assert!(!demo.running.said().contains("s3cret"));
    demo.interrupt();
}

#[test]
fn a_reader_who_leaves_ends_it() {
    let temporary = tempfile::tempdir().unwrap();
    let mut command = program();
    command.args(["demo", "--port", &free_port().to_string()]).env("TMPDIR", temporary.path());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut running = Running { child, said: Arc::default() };
    let mut first = [0; 9];
    running.child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    assert_eq!(&first, b"fieldgate");
    running.wait_exit(SOON);
    assert!(fs::read_dir(temporary.path()).unwrap().next().is_none());
}

/// What one frame on a terminal of this width looks like, escapes included, and what the demo said in all.
fn frame_on_terminal(terminal: &str) -> (String, String) {
    let temporary = tempfile::tempdir().unwrap();
    let line = format!("{terminal}exec {} demo --port {}", program_path(), free_port());
    let mut command = Command::new("script");
    command.args(["-qec", &line, "/dev/null"]).env("TMPDIR", temporary.path()).env("TERM", "xterm");
    let mut running = Running::start(command);
    // Past the first frames every sensor has been sampled.
    wait_until("five frames", SOON, || running.said().matches("SENSOR ").count() >= 5);
    let said = running.said();
    let frames: Vec<_> = said.split("fieldgate demo ").collect();
    let frame = frames[frames.len() - 2].to_owned();
    let asked = Instant::now();
    running.child.stdin.take().unwrap().write_all(b"\x03").unwrap();
    assert_eq!(running.wait_exit(SOON), 0);
    assert!(asked.elapsed() < Duration::from_secs(2) + pace::slack(asked), "{:?}", asked.elapsed());
    assert!(fs::read_dir(temporary.path()).unwrap().next().is_none());
    (frame, said)
}

#[test]
fn on_a_terminal_the_table_is_redrawn_in_place() {
    let (frame, said) = frame_on_terminal("stty cols 120; ");
    let rows = |names: &[&str]| {
        for name in names {
            let row = frame.lines().find(|line| line.starts_with(&format!("{name} ")));
            assert!(row.is_some_and(|row| row.split_whitespace().count() >= 4), "{name}: {frame}");
        }
    };
    rows(&["air", "soil", "light", "shade", "tank", "door", "pump", "fan"]);
    assert!(frame.contains("°C") && frame.contains("start"), "{frame}");
    assert!(frame.contains("watch    mosquitto_sub -p ") && frame.contains("/pump/set -m on"), "{frame}");
    let lines = frame.matches('\n').count();
    assert!(frame.ends_with(&format!("\x1b[{lines}A\x1b[J")), "up by as many lines as the frame has: {frame:?}");
    assert_eq!(said.matches("\x1b[J").count() + 1, said.matches("SENSOR ").count(), "nothing is drawn below");
}

#[test]
fn a_narrow_terminal_cuts_lines_and_one_of_unknown_width_does_not() {
    let (frame, _) = frame_on_terminal("stty cols 40; ");
    let widest = frame.lines().skip(1).map(|line| line.trim_end().chars().count()).max();
    assert_eq!(widest, Some(40), "{frame}");
    let (frame, _) = frame_on_terminal("stty cols 0; ");
    assert!(frame.contains("watch    mosquitto_sub -p ") && frame.contains("/pump/set -m on"), "{frame}");
}

#[test]
fn a_stopped_terminal_delays_neither_outputs_nor_the_end() {
    let temporary = tempfile::tempdir().unwrap();
    let (terminal, _person) = stopped_terminal();
    let port = free_port();
    let endpoint = Endpoint::on(port);
    let mut command = program();
    command.args(["demo", "--port", &port.to_string()]).env("TMPDIR", temporary.path());
    command.stdin(Stdio::null()).stderr(terminal.try_clone().unwrap()).stdout(terminal);
    let mut running = Running { child: command.spawn().unwrap(), said: Arc::default() };
    wait_until("the demo's broker", SOON, || TcpListener::bind(("127.0.0.1", port)).is_err());
    let client = Client::subscribe(&endpoint, &["fieldgate/greenhouse/#"]);
    client.wait_for("fieldgate/greenhouse/status", |word| word == "online", SOON);
    for value in ["on", "off", "on"] {
        client.forget();
        client.publish("fieldgate/greenhouse/actuators/pump/set", value, false, 1);
        client.wait_json("fieldgate/greenhouse/actuators/pump/state", |state| state["value"] == value, SOON);
        // So that the table is drawn meanwhile.
        client.wait_json("fieldgate/greenhouse/sensors/air", |_| true, SOON);
    }
    send_signal(&running.child, Signal::TERM);
    assert_eq!(running.wait_exit(SOON), 0);
    assert!(fs::read_dir(temporary.path()).unwrap().next().is_none());
}
