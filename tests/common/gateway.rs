//! The compiled program, run as a service or as a command.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::Signal;

use super::late::Late;
use super::namespace::Namespace;
use super::{pace, send_signal, wait_for, wait_until};

/// Where the compiled program is; `FIELDGATE_PROGRAM` puts another build under test.
pub fn program_path() -> String {
    std::env::var("FIELDGATE_PROGRAM").unwrap_or_else(|_| env!("CARGO_BIN_EXE_fieldgate").to_owned())
}

/// `fieldgate run` with its own configuration file.
pub struct Gateway {
    child: Child,
    status: Option<ExitStatus>,
    log: Arc<Mutex<Log>>,
    /// Ends when everything it said is in the log.
    ear: Option<JoinHandle<()>>,
}

/// How the program is started otherwise.
pub struct Start<'a> {
    /// A program that becomes it, with its arguments; or none.
    pub wrapper: &'a [String],
    pub environment: &'a [(&'a str, &'a str)],
    /// Where its log goes; [`Gateway::log`] stays empty.
    pub stderr: Stdio,
}

impl Gateway {
    /// Writes `fieldgate.yaml` into a folder and runs it. Relative paths in the text start there.
    pub fn start(folder: &Path, config: &str) -> Self {
        Self::run(&write_config(folder, config), &[])
    }

    /// Runs an existing file, with more arguments.
    pub fn run(config: &Path, arguments: &[&str]) -> Self {
        Self::spawn(program_in(config.parent().unwrap()), config, arguments, &[])
    }

    /// The same as `start`, with more of an environment.
    pub fn with_env(folder: &Path, config: &str, environment: &[(&str, &str)]) -> Self {
        Self::spawn(program_in(folder), &write_config(folder, config), &[], environment)
    }

    /// The same by way of a program that becomes it, such as `strace -D`.
    pub fn under(wrapper: &[&str], folder: &Path, config: &str, environment: &[(&str, &str)]) -> Self {
        let wrapper: Vec<String> = wrapper.iter().copied().map(str::to_owned).collect();
        let command = wrapped(&wrapper, program_in(folder));
        Self::spawn(command, &write_config(folder, config), &[], environment)
    }

    /// The same as `with_env`, in a network of its own.
    pub fn inside(namespace: &Namespace, folder: &Path, config: &str, environment: &[(&str, &str)]) -> Self {
        let command = in_folder(folder, clean(namespace.command(&program_path())));
        Self::spawn(command, &write_config(folder, config), &[], environment)
    }

    /// The same with a log that goes elsewhere.
    pub fn starting(folder: &Path, config: &str, start: Start<'_>) -> Self {
        let mut command = wrapped(start.wrapper, program_in(folder));
        command.arg("run").arg("--config").arg(write_config(folder, config));
        command.envs(start.environment.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(start.stderr);
        pace::watch();
        Self { child: command.spawn().unwrap(), status: None, log: Arc::default(), ear: None }
    }

    fn spawn(mut command: Command, config: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        command.arg("run").arg("--config").arg(config).args(arguments);
        command.envs(environment.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        pace::watch();
        let mut child = command.spawn().unwrap();
        let log = Arc::new(Mutex::new(Log::default()));
        let (output, ear) = (child.stderr.take().unwrap(), Arc::clone(&log));
        let ear = std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                ear.lock().unwrap().hear(line);
            }
        });
        Self { child, status: None, log, ear: Some(ear) }
    }

    /// Everything it has said so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().text().clone()
    }

    /// Waits until it has said this; its whole log explains a failure.
    pub fn wait_log(&self, text: &str, timeout: Duration) {
        wait_until(&format!("{text:?} in the log"), timeout, || self.log().contains(text));
    }

    /// Waits until it has said this so often, which is how often it has said it then. Its words reach us behind what it publishes.
    pub fn wait_said(&self, text: &str, times: usize, timeout: Duration) {
        let said = || self.log().matches(text).count();
        wait_until(&format!("{text:?} in the log, {times} times"), timeout, || said() >= times);
        assert_eq!(said(), times, "{text:?} in {}", self.log());
    }

    /// Waits for a line with all of these words, which it returns.
    pub fn wait_line(&self, words: &[&str], timeout: Duration) -> String {
        let has_all = |line: &&str| words.iter().all(|word| line.contains(word));
        wait_for(&format!("a line with {words:?}"), timeout, || self.log().lines().find(has_all).map(str::to_owned))
    }

    /// Waits until it has said something behind something else; both may stand in the log more often.
    pub fn wait_behind(&self, first: &str, then: &str, timeout: Duration) {
        wait_until(&format!("{then:?} behind {first:?}"), timeout, || {
            self.log().split_once(first).is_some_and(|(_, rest)| rest.contains(then))
        });
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory in bytes.
    pub fn memory(&self) -> u64 {
        self.status_bytes("VmRSS:")
    }

    /// Resident memory without the pages of the program's own file, which the kernel drops at will, and which are many in a
    /// build for debugging.
    pub fn own_memory(&self) -> u64 {
        self.status_bytes("RssAnon:")
    }

    fn status_bytes(&self, what: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(what)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Time on a processor so far, in user and kernel mode.
    pub fn processor_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        // After the name in parentheses; proc(5) counts from 1 and the name is 2.
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks: u64 = fields[11..=12].iter().map(|field| field.parse::<u64>().unwrap()).sum();
        Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
    }

    /// For how long its main thread was ready to work and had no processor, so far: others had them. Kernels that do not count it say
    /// nothing.
    pub fn waited_for_processor(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{0}/task/{0}/schedstat", self.pid())).unwrap_or_default();
        // Nanoseconds on a processor, nanoseconds waiting for one, and how often it had one.
        Duration::from_nanos(stat.split_whitespace().nth(1).map_or(0, |waited| waited.parse().unwrap()))
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        send_signal(&self.child, signal);
    }

    /// As a power cut ends it.
    pub fn kill9(&mut self) {
        self.child.kill().unwrap();
        self.status = Some(self.child.wait().unwrap());
        self.hear_all();
    }

    /// Its end is known; what it said last may still be on the way.
    fn hear_all(&mut self) {
        if let Some(ear) = self.ear.take() {
            ear.join().unwrap();
            self.log.lock().unwrap().end();
        }
    }

    /// Waits for its end and returns its exit code; −1 when a signal ended it.
    pub fn wait_exit(&mut self, timeout: Duration) -> i32 {
        let status = match self.status {
            Some(status) => status,
            None => wait_for("the program to end", timeout, || self.child.try_wait().unwrap()),
        };
        self.status = Some(status);
        self.hear_all();
        status.code().unwrap_or(-1)
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.status.is_none() && self.child.try_wait().unwrap().is_none()
    }

    /// Asks it to stop and expects exit code 0.
    pub fn stop(&mut self, timeout: Duration) {
        self.signal(Signal::TERM);
        assert_eq!(self.wait_exit(timeout), 0, "{}", self.log());
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // The log explains a failure, whatever failed.
        drop(LogOnPanic(Arc::clone(&self.log)));
        if self.status.is_none() {
            // It may have ended by itself, which is no reason to fail here.
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}

/// What a program has said.
#[derive(Debug, Default)]
struct Log {
    text: String,
    late: Late<String>,
}

impl Log {
    fn hear(&mut self, line: String) {
        let seen = self.late.take("log", line);
        self.add(seen);
    }

    fn text(&mut self) -> &String {
        let seen = self.late.seen();
        self.add(seen);
        &self.text
    }

    /// Nothing more comes: all of it is seen.
    fn end(&mut self) {
        let rest = self.late.rest();
        self.add(rest);
    }

    fn add(&mut self, lines: impl IntoIterator<Item = String>) {
        for line in lines {
            self.text.push_str(&line);
            self.text.push('\n');
        }
    }
}

struct LogOnPanic(Arc<Mutex<Log>>);

impl Drop for LogOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the program said:\n{}", self.0.lock().unwrap().text());
        }
    }
}

/// Writes a configuration into a folder.
pub fn write_config(folder: &Path, config: &str) -> PathBuf {
    let path = folder.join("fieldgate.yaml");
    fs::write(&path, config).unwrap();
    path
}

/// Runs a command that ends by itself, such as `check`; `folder` is where it runs.
pub fn command(folder: &Path, arguments: &[&str], timeout: Duration) -> Output {
    command_under(&[], folder, arguments, timeout)
}

/// The same by way of a program that becomes it.
pub fn command_under(wrapper: &[&str], folder: &Path, arguments: &[&str], timeout: Duration) -> Output {
    let wrapper: Vec<String> = wrapper.iter().copied().map(str::to_owned).collect();
    let mut command = wrapped(&wrapper, program_in(folder));
    command.args(arguments).current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    pace::watch();
    let mut child = command.spawn().unwrap();
    let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let reader = std::thread::spawn(move || read_all(&mut err));
    let other = std::thread::spawn(move || read_all(&mut out));
    let began = std::time::Instant::now();
    let deadline = began + timeout;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if std::time::Instant::now() > deadline + pace::taken_since(began) {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("fieldgate {arguments:?} did not end within {timeout:?}");
        }
        std::thread::sleep(super::LOOK_EVERY);
    };
    Output { status, stdout: other.join().unwrap(), stderr: reader.join().unwrap() }
}

fn read_all(pipe: &mut impl std::io::Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    pipe.read_to_end(&mut bytes).unwrap();
    bytes
}

/// The compiled program, without anything that the machine's own environment would pass to it.
pub fn program() -> Command {
    clean(Command::new(program_path()))
}

/// The same by way of a program that becomes it, or as it is.
pub fn wrapped(wrapper: &[String], program: Command) -> Command {
    let Some((first, arguments)) = wrapper.split_first() else { return program };
    let mut command = Command::new(first);
    command.args(arguments).arg(program.get_program());
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

fn clean(mut command: Command) -> Command {
    command.env("NO_COLOR", "1");
    let foreign = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "JOURNAL_STREAM", "CREDENTIALS_DIRECTORY", "RUST_LOG"];
    for variable in foreign.into_iter().chain(["RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"]) {
        command.env_remove(variable);
    }
    command
}

/// The program with a runtime directory of its own in the folder, so that no test sees another's outputs.
pub fn program_in(folder: &Path) -> Command {
    in_folder(folder, program())
}

fn in_folder(folder: &Path, mut command: Command) -> Command {
    command.env("RUNTIME_DIRECTORY", folder.join("run"));
    command
}
