//! Rows P: a program that is stopped, panics, stalls, is reloaded and started twice. For one that is killed see `killed.rs`.

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::common::gateway::Gateway;
use crate::common::pace::{self, slack};
use crate::common::quick::taken;
use crate::common::running::{DEVICES, PUMP, Running, devices};
use crate::common::sim_file::SimFile;
use crate::common::{SOON, beside, wait_for, wait_until};
use crate::suite::{may, report, times};

const TWO_SECONDS: Duration = Duration::from_secs(2);
const FIVE_SECONDS: Duration = Duration::from_secs(5);

/// A disk on which every `fdatasync` takes a minute, from now on until this is dropped. The program's tables are elsewhere.
struct DeadDisk(Child);

impl DeadDisk {
    fn under(gateway: &Gateway) -> Self {
        let inject = "inject=fdatasync,fsync:delay_enter=60000000";
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-e", "trace=fdatasync,fsync", "-e", inject, "-o", "/dev/null"]);
        command
            .args(["-p", &gateway.pid().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let disk = Self(command.spawn().unwrap());
        let spool = wait_for("the spool's thread", SOON, || thread(gateway, "spool"));
        wait_until("strace to be attached", SOON, || traced(gateway.pid(), &spool));
        disk
    }
}

impl Drop for DeadDisk {
    fn drop(&mut self) {
        // Killed, for an orderly end would wait for what it delays; the kernel then lets go of the program. It may have ended.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// The number of the thread of that name.
fn thread(gateway: &Gateway, name: &str) -> Option<String> {
    let all = std::fs::read_dir(format!("/proc/{}/task", gateway.pid())).ok()?;
    let mut numbers = all.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let is_it = |number: &String| {
        let text = std::fs::read_to_string(format!("/proc/{}/task/{number}/comm", gateway.pid()));
        text.is_ok_and(|text| text.trim() == name)
    };
    numbers.find(is_it)
}

fn traced(pid: u32, thread: &str) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/task/{thread}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0"))
}

/// Whether the main thread has ended.
fn has_ended(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:\tZ"))
}

/// Stops the program, expects code 0 in time and a safe output, and returns how long it took.
fn stop(running: &mut Running, grace: Duration) -> Duration {
    let asked = Instant::now();
    running.gateway.stop(grace);
    let took = asked.elapsed();
    assert!(took < grace + slack(asked), "{took:?}");
    assert_eq!(running.sim.line("GPIO27"), Some(0), "the output is safe");
    took
}

fn millis(took: Duration) -> String {
    format!("{} ms", took.as_millis())
}

#[test]
fn p3_sigterm_makes_outputs_safe_delivers_everything_and_says_offline_within_two_seconds() {
    let mut slowest = Duration::ZERO;
    let tried = times(1, 10, 50);
    for _ in 0..tried {
        let mut running = Running::start();
        running.wait_seq(5);
        slowest = slowest.max(stop(&mut running, TWO_SECONDS));
        running.client.wait_for("b/status", |word| word == "offline", SOON);
        let state = running.client.wait_json("b/actuators/pump/state", |state| state["cause"] == "stop", SOON);
        assert_eq!(state["value"], "off");
        let account = running.wait_whole(taken(&running.gateway));
        assert!(account.lost.is_empty());
    }
    let happened = format!("outputs safe, all delivered, offline published, code 0 after {} at most", millis(slowest));
    report("P3", &format!("SIGTERM {tried} ×"), &happened);
}

#[test]
fn p3_sigterm_before_a_frozen_broker_ends_within_five_seconds_and_keeps_the_rest() {
    let mut running = Running::start();
    running.broker.freeze();
    let then = taken(&running.gateway);
    wait_until("readings to wait", SOON, || taken(&running.gateway) >= then + 20);
    let took = stop(&mut running, FIVE_SECONDS);
    let last = taken(&running.gateway);
    running.broker.thaw();
    running.client.wait_for("b/status", |word| word == "offline", SOON);
    running.restart();
    let account = running.wait_whole(last);
    running.gateway.stop(SOON);
    assert!(account.lost.is_empty());
    let kept = account.late[&account.runs[0]].len();
    report(
        "P3",
        "SIGTERM with a frozen broker",
        &format!("code 0 after {}, {last} taken, {kept} of them committed and delivered by the next run", millis(took)),
    );
}

#[test]
fn p3_sigterm_with_hanging_sensors_ends_within_two_seconds() {
    let third = DEVICES
        .replace("buses:\n", "buses:\n  third: { type: sim, state_file: third.json }\n")
        .replace("sensors:\n", "sensors:\n  sun: { driver: bh1750, bus: third, every: 100ms, settings: {} }\n");
    let mut running = Running::with(&format!("{third}{PUMP}"), &[]);
    for (sensor, file, address) in [("air", "other.json", "0x76"), ("sun", "third.json", "0x23")] {
        let status = format!("b/sensors/{sensor}/status");
        running.client.wait_json(&status, |status| status["status"] == "ok", SOON);
        SimFile::new(running.folder.path().join(file)).set_fault(address, Some("hang"));
        running.client.wait_json(&status, |status| status["status"] == "down", SOON);
    }
    let took = stop(&mut running, TWO_SECONDS);
    running.client.wait_for("b/status", |word| word == "offline", SOON);
    let account = running.wait_whole(taken(&running.gateway));
    assert!(account.lost.is_empty());
    report(
        "P3",
        "SIGTERM with two hanging buses",
        &format!("outputs safe, all delivered, code 0 after {}", millis(took)),
    );
}

#[test]
fn p3_sigterm_with_a_dead_disk_makes_outputs_safe_and_ends_within_five_seconds() {
    if !may("SIGTERM with a dead disk", &["strace"]) {
        return;
    }
    let mut running = Running::start();
    let kept = running.config("", &devices()).replace("path: spool", "path: spool, commit_every: 0s");
    running.reload(&kept);
    let disk = DeadDisk::under(&running.gateway);
    let then = running.seq();
    wait_until("readings that the disk does not take", SOON, || taken(&running.gateway) > then + 20);
    let asked = Instant::now();
    running.gateway.signal(Signal::TERM);
    // A thread that hangs in the kernel holds back the process's last trace, whatever the program does; its main thread ends.
    wait_until("the program's own end", FIVE_SECONDS, || has_ended(running.gateway.pid()));
    let took = asked.elapsed();
    drop(disk);
    assert_eq!(running.gateway.wait_exit(SOON), 0);
    assert_eq!(running.sim.line("GPIO27"), Some(0), "the output is safe");
    running.client.wait_for("b/status", |word| word == "offline", SOON);
    let log = running.gateway.log();
    assert!(log.contains("spool") && log.contains("did not end in time"), "it says what was left behind: {log}");
    report("P3", "SIGTERM with a disk that hangs", &format!("outputs safe, code 0 after {}", millis(took)));
}

#[test]
fn p4_a_driver_that_panics_is_built_again_with_back_off_and_the_others_miss_nothing() {
    let with_sun = DEVICES
        .replace("sensors:\n", "sensors:\n  sun: { driver: bh1750, bus: other, every: 200ms, settings: {} }\n")
        .replace("every: 50ms", "every: 100ms");
    let mut running = Running::with(&format!("{with_sun}{PUMP}"), &[]);
    let status = |word: &str| running.client.wait_json("b/sensors/air/status", |status| status["status"] == word, SOON);
    status("ok");
    running.client.wait_json("b/sensors/sun/status", |status| status["status"] == "ok", SOON);
    let other = SimFile::new(running.folder.path().join("other.json"));
    let began = Instant::now();
    other.set_fault("0x76", Some("panic"));
    let words = status("degraded");
    assert!(words["error"].as_str().is_some_and(|words| words.contains("panicked")), "{words}");
    let lasts = times(Duration::from_millis(3500), Duration::from_secs(20), Duration::from_secs(120));
    wait_until("the panics to last", lasts * 2, || began.elapsed() >= lasts);
    let panics = running.gateway.log().matches("a simulated defect of the driver at").count();
    running.client.forget();
    other.set_fault("0x76", None);
    let back = Instant::now();
    wait_for("a reading again", Duration::from_secs(61), || running.client.all("b/sensors/air").pop());
    let back = back.elapsed();
    running.reload(&running.config("", &format!("{with_sun}{PUMP}")));
    let health = running.client.wait_json("b/health", |health| health["sensors"]["sun"]["taken"].is_u64(), SOON);
    running.gateway.stop(SOON);
    for sensor in ["n", "sun"] {
        assert_eq!(health["sensors"][sensor]["failed"], 0, "{health}");
        running.account(sensor).check_order();
    }
    // 1 s, 2 s, 4 s … 60 s: with the first, six panics in half a minute; each also stands in the warnings at most.
    let expected = 2 + lasts.as_secs().ilog2() as usize;
    assert!((2..=2 * expected).contains(&panics), "{panics} panics in {lasts:?}");
    let happened = format!("{panics} attempts, back {} after its end, no failure of the others", millis(back));
    report("P4", &format!("a driver panics for {lasts:?}"), &happened);
}

fn fed(running: &Running) -> Vec<Instant> {
    let all = running.socket.all().into_iter();
    all.filter(|(_, text)| text.contains("WATCHDOG=1")).map(|(at, _)| at).collect()
}

/// The longest time between two signs of life.
fn longest_gap(running: &Running, limit: Duration) -> Duration {
    pace::longest_gap(&fed(running), limit, "the watchdog was not fed")
}

/// How many messages wait in memory for a disk that does not answer: `QUEUE` of the spool's thread.
const MEMORY: u64 = 4096;

/// What systemd is configured here to expect; the unit says 10 s.
const WATCHDOG: [(&str, &str); 1] = [("WATCHDOG_USEC", "2000000")];

#[test]
fn p5_a_hanging_bus_with_outputs_stops_the_watchdog_within_a_period_and_a_healthy_one_feeds_it_twice() {
    let same = format!("{}{PUMP}", DEVICES.replace("bus: other", "bus: bench"));
    let running = Running::with(&same, &WATCHDOG);
    wait_until("the watchdog to be fed", SOON, || fed(&running).len() >= 5);
    let slowest = longest_gap(&running, TWO_SECONDS / 2);
    let began = Instant::now();
    running.sim.set_fault("0x76", Some("hang"));
    running.gateway.wait_log("the watchdog is no longer fed", SOON);
    let (before, seq) = (fed(&running), running.seq());
    running.wait_seq(seq + 25);
    assert_eq!(fed(&running), before, "and it stays so");
    let last = before[before.len() - 1].saturating_duration_since(began);
    // A quarter of a second until the simulated bus has seen its file and the next look.
    assert!(last <= TWO_SECONDS + Duration::from_millis(250) + slack(began), "{last:?}");
    running.sim.set_fault("0x76", None);
    wait_until("the watchdog to be fed again", SOON, || fed(&running).len() > before.len());
    let happened = format!("fed every {} at most, for the last time {} after the hang", millis(slowest), millis(last));
    report("P5", "a bus with outputs hangs, WatchdogSec=2", &happened);
}

#[test]
fn p5_a_hanging_disk_is_reported_and_the_watchdog_is_fed_all_the_time() {
    if !may("a disk that hangs under a running gateway", &["strace"]) {
        return;
    }
    let many = DEVICES
        .replace("every: 50ms", "every: 1ms")
        .replace("sensors:\n", "sensors:\n  m: { driver: waveform, every: 1ms, settings: { shape: counter } }\n");
    let many = format!("{many}{PUMP}");
    let mut running = Running::with(&many, &WATCHDOG);
    running.reload(&running.config("", &many).replace("path: spool", "path: spool, commit_every: 100ms"));
    running.broker.freeze();
    let disk = DeadDisk::under(&running.gateway);
    let (began, waited) = (Instant::now(), running.gateway.waited_for_processor());
    // Less than `safe_after`, 30 s, for the broker is silent meanwhile.
    let lasts = times(Duration::from_secs(6), Duration::from_secs(15), Duration::from_secs(25));
    // Of `m` as many were taken, and where memory is full nothing more is.
    let mut newest = (0, Instant::now());
    wait_until("memory to be full", Duration::from_secs(25), || {
        let now = taken(&running.gateway);
        newest = if now == newest.0 { newest } else { (now, Instant::now()) };
        began.elapsed() >= lasts && now > MEMORY / 2 && newest.1.elapsed() > Duration::from_millis(500)
    });
    running.broker.thaw();
    running.client.wait_json(
        "b/health",
        |health| health["spool"]["error"].as_str().is_some_and(|words| words.contains("the disk has not answered")),
        SOON,
    );
    assert_eq!(running.sim.line("GPIO27"), Some(1), "the output does what it did");
    let command = slowest_command(&running);
    assert!(command < Duration::from_secs(1), "a command took {command:?} while the disk hung");
    drop(disk);
    // With longer ones systemd would have killed it. A thousand readings a second are work, for which it may have had no processor.
    let slowest = longest_gap(&running, TWO_SECONDS + running.gateway.waited_for_processor().saturating_sub(waited));
    running.gateway.stop(FIVE_SECONDS);
    let seen = running.account("n");
    let last = seen.last(&seen.runs[0]).max(taken(&running.gateway));
    // What could not be delivered so quickly is in the spool.
    running.restart();
    let account = running.wait_whole(last);
    let reported_lost = account.reported(&account.runs[0]);
    assert!(reported_lost > 0, "more than memory holds: {last} taken");
    let happened = format!(
        "in health, watchdog fed every {} at most, of 101 commands the slowest acted within {}; {last} taken, \
         {reported_lost} reported as lost, the rest received",
        millis(slowest),
        millis(command)
    );
    report("P5", &format!("the disk hangs for {lasts:?} at 2,000 readings/s"), &happened);
}

/// Switches the output off and on, more often than answers find room beside a disk that hangs; the longest time from the
/// start of the publishing program to the line's new level, without what the machine held up everybody. The last state must be
/// reported, too.
fn slowest_command(running: &Running) -> Duration {
    let orders = [("off", 0), ("on", 1)];
    let switch = |(word, level)| {
        let asked = Instant::now();
        running.client.publish("b/actuators/pump/set", word, false, 1);
        running.sim.wait_line("GPIO27", level, SOON);
        asked.elapsed().saturating_sub(slack(asked))
    };
    let slowest = orders.into_iter().cycle().take(101).map(switch).max().unwrap();
    let states = || running.client.all("b/actuators/pump/state");
    wait_until("the last state", SOON, || states().last().is_some_and(|state| state.json()["value"] == "off"));
    slowest
}

/// Looks at the output as often as it can until it has to end; how often, and how often it was not on.
fn watch_pump(bench: &SimFile, is_over: &AtomicBool, looks: &AtomicUsize) -> usize {
    let mut off = 0;
    while !is_over.load(Ordering::Relaxed) {
        off += usize::from(bench.line("GPIO27") != Some(1));
        looks.fetch_add(1, Ordering::Relaxed);
        std::thread::yield_now();
    }
    off
}

/// Good and bad files in turn; every good one changes two sensors and leaves `n` and the pump alone.
fn nth_file(running: &Running, n: usize) -> String {
    let good = devices().replace("every: 100ms", if n.is_multiple_of(4) { "every: 110ms" } else { "every: 90ms" });
    let fresh = "sensors:\n  fresh: { driver: waveform, every: 100ms, settings: { shape: sine } }\n";
    let good = if n.is_multiple_of(4) { good } else { good.replace("sensors:\n", fresh) };
    let bad = [
        ("bme280", "bme208"),
        ("every: 50ms", "every: 50"),
        ("bus: bench", "bus: bank"),
        ("actuators:", "actuators: ["),
    ];
    let (right, wrong) = bad[n / 2 % bad.len()];
    running.config("", &if n.is_multiple_of(2) { good } else { good.replace(right, wrong) })
}

#[test]
fn p6_good_and_bad_reloads_in_turn_lose_nothing_and_leave_the_output_alone() {
    let mut running = Running::start();
    let tried = times(100, 300, 1000);
    running.client.wait_json("b/actuators/pump/state", |state| state["value"] == "on", SOON);
    let states = running.client.all("b/actuators/pump/state").len();
    let looks = AtomicUsize::new(0);
    let (off, ()) = beside(
        |is_over| watch_pump(&running.sim, is_over, &looks),
        || {
            wait_until("the first look", SOON, || looks.load(Ordering::Relaxed) > 0);
            for n in 0..tried {
                running.reload(&nth_file(&running, n));
            }
        },
    );
    let looks = looks.load(Ordering::Relaxed);
    assert_eq!(off, 0, "the pump flickered: of {looks} looks");
    assert_eq!(running.client.all("b/actuators/pump/state").len(), states, "nothing happened to the pump");
    running.gateway.wait_said("Configuration reloaded.", tried.div_ceil(2), SOON);
    running.gateway.wait_said("the old one stays", tried / 2, SOON);
    let log = running.gateway.log();
    for words in ["no driver is called \"bme208\"", "bank"] {
        assert!(log.contains(words), "{words}");
    }
    stop(&mut running, TWO_SECONDS);
    let last = taken(&running.gateway);
    let account = running.wait_whole(last);
    assert!(account.lost.is_empty());
    let values = running.client.all("b/sensors/n").into_iter().map(|message| message.json());
    for reading in values {
        assert_eq!(reading["value"], reading["seq"], "the sensor itself was left alone");
    }
    let happened =
        format!("{last} taken, {last} received, output on in {looks} of {looks} looks, every problem in the log");
    report("P6", &format!("SIGHUP {tried} ×, good and bad in turn"), &happened);
}

#[test]
fn p7_a_second_instance_ends_within_a_second_says_why_and_touches_nothing() {
    let mut running = Running::start();
    let place = running.folder.path().join("second.yaml");
    std::fs::write(&place, running.config("", &devices())).unwrap();
    let tried = times(5, 20, 200);
    let mut slowest = Duration::ZERO;
    for _ in 0..tried {
        let started = Instant::now();
        let mut second = Gateway::run(&place, &[]);
        assert_eq!(second.wait_exit(SOON), 1);
        slowest = slowest.max(started.elapsed().saturating_sub(slack(started)));
        let spool = running.folder.path().join("spool");
        wait_until("its reason", SOON, || second.log().contains(spool.to_str().unwrap()));
        assert!(second.log().contains("in use by another running instance"), "{}", second.log());
    }
    assert!(slowest <= Duration::from_secs(1), "{slowest:?}");
    let seq = running.seq();
    running.wait_seq(seq + 5);
    assert_eq!(running.sim.line("GPIO27"), Some(1), "{}", running.gateway.log());
    assert!(running.client.all("b/status").iter().all(|message| message.payload == "online"));
    assert!(running.client.all("b/actuators/pump/state").iter().all(|state| state.json()["cause"] != "stop"));
    stop(&mut running, TWO_SECONDS);
    running.wait_whole(taken(&running.gateway));
    report(
        "P7",
        &format!("started twice on one spool, {tried} ×"),
        &format!("refused in {} at most, the first went on", millis(slowest)),
    );
}
