//! Row L1: nobody reads the log, or what is reported to systemd, while an output is on.
//!
//! Each reader that does not read is tried beside one that does, at the same time on the same machine: what the first may take
//! longer is what the row allows.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::common::client::{Client, publish, publish_lines};
use crate::common::gateway::{Gateway, Start, program_in, wrapped, write_config};
use crate::common::mosquitto::Mosquitto;
use crate::common::quick::{LONG, config, folder};
use crate::common::sim_file::SimFile;
use crate::common::unread::{full_socket, full_stream, stopped_terminal};
use crate::common::watch::Watch;
use crate::common::{SOON, wait_for, wait_until};
use crate::suite::{may, report, times};

const MAX_ON: Duration = Duration::from_secs(1);
/// How far a limit may be off beside the same limit of a program whose log is read.
const TOLERANCE: Duration = Duration::from_millis(50);
const ATTEMPTS: usize = 5;
const STOP: Duration = Duration::from_secs(2);
const SAFE_STATE: Duration = Duration::from_millis(500);

/// As many as block a program that writes its log itself, with a few lines each.
const FLOOD: usize = 900;

/// Puts the socket of a folder where journald would listen, for one program alone.
const OWN_JOURNAL: &str = "mount -t tmpfs none /run && mkdir -p /run/systemd/journal && \
                           mount --bind \"$1\" /run/systemd/journal && shift && exec \"$@\"";

/// Who reads the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reader {
    /// Somebody does.
    Good,
    /// The same, by way of what puts a journal in front of the program.
    GoodBesideJournal,
    /// A pipe or socket of a supervisor that reads nothing.
    Pipe,
    /// A terminal after Ctrl-S.
    Terminal,
    /// journald, whose socket is full from the start on.
    FullJournal,
    /// journald, which reads nothing any more, as when its disk hangs: the socket takes a few lines.
    HangingJournal,
}

/// Where the log goes, and what must stay open meanwhile.
struct Place {
    wrapper: Vec<String>,
    environment: Vec<(&'static str, String)>,
    stderr: Stdio,
    _open: Vec<OwnedFd>,
}

impl Reader {
    fn place(self, folder: &Path) -> Place {
        let mut place =
            Place { wrapper: Vec::new(), environment: Vec::new(), stderr: Stdio::null(), _open: Vec::new() };
        if self != Self::Good && self != Self::GoodBesideJournal {
            place.environment.push(("NOTIFY_SOCKET", path_in(folder, "notify")));
            place._open.push(full_socket(&folder.join("notify")).into());
        }
        match self {
            Self::Good => {}
            Self::Pipe => {
                let (ours, theirs) = full_stream();
                place.stderr = ours.into();
                place._open.push(theirs.into());
            }
            Self::Terminal => {
                let (terminal, person) = stopped_terminal();
                place.stderr = terminal.into();
                place._open.push(person.into());
            }
            Self::GoodBesideJournal | Self::FullJournal | Self::HangingJournal => self.journal(folder, &mut place),
        }
        place
    }

    fn journal(self, folder: &Path, place: &mut Place) {
        let words = ["unshare", "--mount", "sh", "-c", OWN_JOURNAL, "sh"];
        place.wrapper = words.map(str::to_owned).into_iter().chain([path_in(folder, "journal")]).collect();
        std::fs::create_dir(folder.join("journal")).unwrap();
        let socket = folder.join("journal/socket");
        match self {
            Self::FullJournal => place._open.push(full_socket(&socket).into()),
            Self::HangingJournal => place._open.push(UnixDatagram::bind(socket).unwrap().into()),
            _ => return,
        }
        let (ours, theirs) = full_stream();
        let stat = rustix::fs::fstat(ours.as_fd()).unwrap();
        place.environment.push(("JOURNAL_STREAM", format!("{}:{}", stat.st_dev, stat.st_ino)));
        place.stderr = ours.into();
        place._open.push(theirs.into());
    }
}

fn path_in(folder: &Path, name: &str) -> String {
    folder.join(name).to_str().unwrap().to_owned()
}

/// A pump that may be on for a second, and a lamp that commands are for.
fn rest() -> String {
    "buses: { bench: { type: sim, state_file: bench.json } }
sensors:
  n: { driver: waveform, every: 20ms, settings: { shape: counter } }
actuators:
  pump: { driver: gpio-output, bus: bench, settings: { line: GPIO1 }, safe_state: \"off\", max_on: 1s, safe_after: never }
  lamp: { driver: gpio-output, bus: bench, settings: { line: GPIO2 }, safe_state: \"off\", safe_after: never }
"
    .into()
}

struct Stage {
    broker: Mosquitto,
    client: Client,
    bus: SimFile,
    folder: TempDir,
}

/// What one reader cost.
#[derive(Clone, Copy, Debug)]
struct Seen {
    ready: Duration,
    /// How far `max_on` was off.
    off_by: Duration,
    stop: Duration,
    /// From the call of `safe-state` until the output was driven, and until its end.
    driven: Duration,
    ended: Duration,
}

impl Stage {
    fn new() -> Self {
        let (broker, folder) = (Mosquitto::start(), folder());
        let client = Client::subscribe(&broker.endpoint(), &["b/#"]);
        let bus = SimFile::new(folder.path().join("bench.json"));
        Self { broker, client, bus, folder }
    }

    /// Starts the program and waits until it takes commands; returns how long that took.
    fn start(&self, rest: &str, place: Place) -> (Gateway, Vec<OwnedFd>, Duration) {
        let environment: Vec<(&str, &str)> = place.environment.iter().map(|(name, value)| (*name, &**value)).collect();
        let environment = [environment, vec![("RUST_LOG", "trace")]].concat();
        let start = Start { wrapper: &place.wrapper, environment: &environment, stderr: place.stderr };
        self.client.forget();
        let began = Instant::now();
        let text = config(&self.broker.url(), "", "", rest);
        let gateway = Gateway::starting(self.folder.path(), &text, start);
        self.client.wait_for("b/status", |word| word == "online", SOON);
        (gateway, place._open, began.elapsed())
    }

    /// Asks until it is on: a command right after a flood is counted and not carried out.
    fn on(&self) {
        let mut asked: Option<Instant> = None;
        wait_until("the pump to go on", SOON, || {
            if asked.is_none_or(|asked| asked.elapsed() > MAX_ON / 2) {
                publish(&self.broker.endpoint(), "b/actuators/pump/set", "on", false, 1);
                asked = Some(Instant::now());
            }
            self.bus.line("GPIO1") == Some(1)
        });
    }

    fn flood(&self) {
        let command = |nth: usize| format!(r#"{{"value":"{}","id":"{nth}"}}"#, ["on", "off"][nth % 2]);
        let commands: Vec<_> = (0..FLOOD).map(command).collect();
        publish_lines(&self.broker.endpoint(), "b/actuators/lamp/set", &commands);
    }

    /// How far from a second the pump was on, during a flood of commands.
    fn off_by(&self) -> Duration {
        let watch = Watch::over(&[(&self.bus, "GPIO1")]);
        self.on();
        self.flood();
        self.bus.wait_line("GPIO1", 0, SOON);
        watch.end().on(0)[0].lasted().unwrap().abs_diff(MAX_ON)
    }

    fn seq(&self) -> u64 {
        self.client.all("b/sensors/n").last().map_or(0, |reading| reading.json()["seq"].as_u64().unwrap())
    }

    /// Everything for one reader.
    fn measure(&self, reader: Reader) -> Seen {
        let place = folder();
        let (mut gateway, _open, ready) = self.start(&rest(), reader.place(place.path()));
        // A limit that is wrong is so each time; a busy machine is late now and then.
        let mut off_by = self.off_by();
        for _ in 1..ATTEMPTS {
            if off_by > TOLERANCE {
                off_by = off_by.min(self.off_by());
            }
        }
        let seq = self.seq();
        wait_until("readings to go on", SOON, || self.seq() > seq + 5);
        self.on();
        let asked = Instant::now();
        gateway.stop(SOON);
        let stop = asked.elapsed();
        assert_eq!(self.bus.line("GPIO1"), Some(0), "{reader:?}: safe after a stop");
        let (mut driven, mut ended) = self.killed(reader);
        for _ in 1..ATTEMPTS {
            if ended > SAFE_STATE {
                let again = self.killed(reader);
                (driven, ended) = (driven.min(again.0), ended.min(again.1));
            }
        }
        Seen { ready, off_by, stop, driven, ended }
    }

    /// Kills the program while the pump is on and runs `safe-state`.
    fn killed(&self, reader: Reader) -> (Duration, Duration) {
        let (before, after) = (folder(), folder());
        let (mut gateway, _open, _) = self.start(&rest(), reader.place(before.path()));
        self.on();
        gateway.kill9();
        self.safe_state(reader.place(after.path()))
    }

    /// Runs `safe-state` while the pump is on.
    fn safe_state(&self, place: Place) -> (Duration, Duration) {
        let mut command = wrapped(&place.wrapper, program_in(self.folder.path()));
        let file = write_config(self.folder.path(), &config(&self.broker.url(), "", "", &rest()));
        command.arg("safe-state").arg("--config").arg(file).envs(place.environment);
        let (called, began) = (SystemTime::now(), Instant::now());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(place.stderr).spawn().unwrap();
        // It drives whatever the log does, so this file is the last that it writes.
        self.bus.wait_line("GPIO1", 0, SOON);
        let driven = self.bus.written_after(called);
        let status = wait_for("safe-state to end", SOON, || child.try_wait().unwrap());
        assert!(status.success(), "{status}");
        (driven, began.elapsed())
    }
}

/// The readers beside a good one, and what is allowed.
fn check(control: Reader, readers: &[Reader]) {
    let tried = times(1, 2, 10);
    for _ in 0..tried {
        let all: Vec<_> = [&[control], readers].concat();
        let seen: Vec<Seen> = std::thread::scope(|scope| {
            let running: Vec<_> = all.iter().map(|reader| scope.spawn(|| Stage::new().measure(*reader))).collect();
            running.into_iter().map(|one| one.join().unwrap()).collect()
        });
        let good = seen[0];
        for (reader, seen) in all.into_iter().zip(seen) {
            report("L1", &format!("{reader:?}"), &describe(&seen));
            assert!(seen.off_by <= good.off_by + TOLERANCE, "{reader:?}: {seen:?} beside {good:?}");
            assert!(seen.ready <= good.ready + STOP && seen.stop <= good.stop + STOP, "{reader:?}: {seen:?} {good:?}");
            assert!(seen.driven <= good.driven + SAFE_STATE, "{reader:?}: {seen:?} beside {good:?}");
            assert!(seen.ended <= good.ended + SAFE_STATE, "{reader:?}: {seen:?} beside {good:?}");
        }
    }
}

fn describe(seen: &Seen) -> String {
    let Seen { ready, off_by, stop, driven, ended } = *seen;
    let [ready, off_by, stop, driven, ended] = [ready, off_by, stop, driven, ended].map(|time| time.as_millis());
    format!(
        "takes commands after {ready} ms; `max_on: 1s` off by {off_by} ms in a flood of {FLOOD} commands; SIGTERM {stop} ms; \
         `safe-state` drove after {driven} ms and ended after {ended} ms"
    )
}

#[test]
fn l1_a_pipe_or_a_terminal_that_nobody_reads_stops_nothing() {
    check(Reader::Good, &[Reader::Pipe, Reader::Terminal]);
}

#[test]
fn l1_a_journal_that_reads_nothing_stops_nothing() {
    if may("a journal that reads nothing", &["unshare", "mount"]) {
        check(Reader::GoodBesideJournal, &[Reader::FullJournal, Reader::HangingJournal]);
    }
}

#[test]
fn l1_what_did_not_fit_is_counted_and_reported_when_the_log_is_read_again() {
    let stage = Stage::new();
    let (ours, theirs) = full_stream();
    let place = Place { wrapper: Vec::new(), environment: Vec::new(), stderr: ours.into(), _open: Vec::new() };
    let quick = rest().replace("every: 20ms", "every: 1ms");
    let (mut gateway, _, _) = stage.start(&quick, place);
    // With a line for each reading, one for its way to the broker and one for the answer: more than wait in the queue and the socket.
    wait_until("readings that nobody reads of", LONG, || stage.seq() > 2000);
    let bytes = Arc::new(Mutex::new(Vec::new()));
    let read = Arc::clone(&bytes);
    let reader = std::thread::spawn(move || {
        let (mut from, mut some) = (File::from(OwnedFd::from(theirs)), [0; 4096]);
        loop {
            match from.read(&mut some).unwrap() {
                0 => return,
                count => read.lock().unwrap().extend_from_slice(&some[..count]),
            }
        }
    });
    let text = || String::from_utf8_lossy(&bytes.lock().unwrap()).into_owned();
    // Behind the gap the log has caught up, so that its end need not be given up by a stop, which waits for no slow reader.
    wait_until("the gap to be reported", LONG, || text().contains("did not fit"));
    let seq = stage.seq();
    wait_until("readings to go on", SOON, || stage.seq() > seq + 20);
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait_exit(SOON), 0);
    reader.join().unwrap();
    let text = text();
    let (before, after) = text.split_once(" log lines did not fit").expect("the gap is reported");
    let count: usize = before.rsplit(' ').next().unwrap().parse().unwrap();
    assert!(count > 0);
    assert!(!after.contains("did not fit") && after.contains("Gateway stopped."), "the log goes on: {after}");
    let lines = text.lines().filter(|line| !line.is_empty() && *line != "filling").count();
    report("L1", "a pipe is read again", &format!("{lines} lines in the log, and {count} reported as lost"));
}
