//! Rows S: sensors that hang, fail, lie and are missing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::client::Message;
use crate::common::pace::slack;
use crate::common::quick::taken;
use crate::common::running::{PUMP, Running};
use crate::common::sim_file::SimFile;
use crate::common::{SOON, wait_for, wait_until};
use crate::suite::{chance, report, times};

/// Two looks of a simulated bus at its file, and what a message takes.
const NOTICE: Duration = Duration::from_millis(200);

const HANGING: &str = "buses:
  bench: { type: sim, state_file: bench.json }
  other: { type: sim, state_file: other.json }
  third: { type: sim, state_file: third.json }
sensors:
  air: { driver: bme280, bus: other, every: 1s, settings: { address: 0x76 } }
  beside: { driver: tmp102, bus: other, every: 1s, settings: { address: 0x49 } }
  sun: { driver: bh1750, bus: third, every: 200ms, settings: {} }
  n: { driver: waveform, every: 50ms, settings: { shape: counter } }
";

fn sim(running: &Running, name: &str) -> SimFile {
    SimFile::new(running.folder.path().join(name))
}

fn wait_status(running: &Running, sensor: &str, word: &str) -> Value {
    running.client.wait_json(&format!("b/sensors/{sensor}/status"), |status| status["status"] == word, SOON)
}

/// The newest word on a sensor, waited for.
fn wait_now(running: &Running, sensor: &str, word: &str, timeout: Duration) {
    wait_until(&format!("{sensor} to be {word}"), timeout, || {
        running.latest(&format!("b/sensors/{sensor}/status"))["status"] == word
    });
}

fn readings(running: &Running, sensor: &str) -> Vec<Message> {
    running.client.all(&format!("b/sensors/{sensor}"))
}

/// Seconds since 1970 at which a reading was taken.
fn taken_at(reading: &Value) -> f64 {
    let time = humantime::parse_rfc3339(reading["time"].as_str().unwrap()).unwrap();
    time.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64()
}

/// How late the latest of these readings was against the grid of its period.
fn lateness(readings: &[Message], every: f64) -> f64 {
    let off = |message: &Message| {
        let reading = message.json();
        taken_at(&reading) - every * reading["seq"].as_u64().unwrap() as f64
    };
    let offs: Vec<f64> = readings.iter().map(off).collect();
    offs.iter().copied().fold(f64::MIN, f64::max) - offs.iter().copied().fold(f64::MAX, f64::min)
}

fn threads(running: &Running) -> usize {
    std::fs::read_dir(format!("/proc/{}/task", running.gateway.pid())).unwrap().count()
}

/// The hang lasts, so if it made others late, it would do so in each of three looks; a busy machine does not, and what it held up
/// everybody does not count.
fn least_lateness(running: &Running, look: Duration) -> (f64, f64) {
    let mut best = (f64::MAX, f64::MAX);
    for _ in 0..3 {
        let count = |sensor| readings(running, sensor).len();
        let (before, since) = ((count("n"), count("sun")), Instant::now());
        wait_until("readings to be compared", look * 2, || since.elapsed() >= look);
        let n = lateness(&readings(running, "n")[before.0..], 0.05);
        let sun = lateness(&readings(running, "sun")[before.1..], 0.2);
        let held_up = slack(since).as_secs_f64();
        let [n, sun] = [n, sun].map(|late| (late - held_up).max(0.0));
        best = (best.0.min(n), best.1.min(sun));
        if best.0 <= 0.05 && best.1 <= 0.05 {
            break;
        }
    }
    best
}

#[test]
fn s1_a_hanging_sensor_delays_nobody_on_other_buses_and_recovers_when_its_transfer_returns() {
    let mut running = Running::with(&format!("{HANGING}{PUMP}"), &[]);
    for sensor in ["air", "beside", "sun"] {
        wait_status(&running, sensor, "ok");
    }
    let (other, before) = (sim(&running, "other.json"), threads(&running));
    let began = Instant::now();
    other.set_fault("0x76", Some("hang"));
    let status = wait_status(&running, "air", "down");
    // It hangs from the sampling on that follows the last reading.
    let last = running.client.all("b/sensors/air").last().map_or(began, |reading| reading.at);
    let noticed = last.elapsed().saturating_sub(Duration::from_secs(1));
    assert!(noticed <= Duration::from_secs(3) + slack(last), "three periods: {noticed:?}");
    assert!(status["error"].as_str().unwrap().contains("hangs"), "{status}");
    assert!(wait_status(&running, "beside", "down")["error"].as_str().unwrap().contains("hangs in air"));
    let (n, sun) =
        least_lateness(&running, times(Duration::from_millis(1500), Duration::from_secs(20), Duration::from_secs(90)));
    assert!(n <= 0.05 && sun <= 0.05, "n {n:.3} s late, sun {sun:.3} s late");
    for _ in 0..3 {
        running.reload(&running.config("", &format!("{HANGING}{PUMP}")));
    }
    assert!(threads(&running) <= before, "{} threads instead of {before}", threads(&running));
    wait_until("health to say so", SOON, || running.latest("b/health")["sensors"]["air"]["status"] == "down");
    other.set_fault("0x76", None);
    let mended = Instant::now();
    wait_now(&running, "air", "ok", SOON);
    wait_now(&running, "beside", "ok", SOON);
    let back = mended.elapsed();
    assert!(back <= Duration::from_secs(1) + NOTICE + slack(mended), "one period: {back:?}");
    wait_until("the next period", SOON, || mended.elapsed() >= Duration::from_secs(1));
    running.gateway.stop(SOON);
    let hung = began.elapsed();
    let account = running.wait_whole(taken(&running.gateway));
    assert!(account.lost.is_empty());
    running.account("air").check_whole();
    let after = running.client.all("b/sensors/air").into_iter().filter(|reading| reading.at >= mended);
    // The one that hung, one for all ticks that were missed, and the next tick.
    let at_once = after.take_while(|reading| reading.at - mended < Duration::from_millis(900)).count();
    assert!(at_once <= 3, "{at_once} readings at once after the hang: what was missed is not made up for");
    report(
        "S1",
        &format!("a transfer hangs for {} s", hung.as_secs()),
        &format!(
            "reported after {:.1} periods; others {:.0} and {:.0} ms late at most; {before} threads before and after; back {} ms after its return",
            noticed.as_secs_f64(),
            n * 1e3,
            sun * 1e3,
            back.as_millis()
        ),
    );
}

const COMING_AND_GOING: &str = "buses:
  bench: { type: sim, state_file: bench.json }
  other: { type: sim, state_file: other.json }
sensors:
  air: { driver: bme280, bus: other, every: 500ms, settings: { address: 0x76 } }
  beside: { driver: tmp102, bus: other, every: 100ms, settings: { address: 0x49 } }
  n: { driver: waveform, every: 50ms, settings: { shape: counter } }
";

/// Breaks the sensor in one way, or the whole bus.
fn break_it(other: &SimFile, how: &str) {
    match how {
        "gone" => other.write(&json!({"gone": true})),
        fault => other.set_fault("0x76", Some(fault)),
    }
}

fn mend_it(other: &SimFile, how: &str) {
    match how {
        "gone" => other.write(&json!({"gone": false})),
        _ => other.set_fault("0x76", None),
    }
}

/// Once broken and mended: how long after the mending the first reading was taken, without what the machine held up everybody.
fn once(running: &Running, other: &SimFile, how: &str, lasts: Duration) -> Duration {
    break_it(other, how);
    let since = Instant::now();
    wait_now(running, "air", "down", SOON);
    wait_until("the fault to last", lasts * 2, || since.elapsed() >= lasts);
    let before = readings(running, "air").len();
    mend_it(other, how);
    let back = Instant::now();
    let reading = wait_for("a reading again", SOON * 7, || readings(running, "air").into_iter().nth(before));
    assert!((reading.json()["temperature"].as_f64().unwrap() - 21.5).abs() < 0.1, "{}", reading.payload);
    wait_now(running, "air", "ok", SOON);
    back.elapsed().saturating_sub(slack(back))
}

#[test]
fn s2_a_sensor_that_comes_and_goes_is_back_within_a_period_and_fills_no_log() {
    let mut running = Running::with(&format!("{COMING_AND_GOING}{PUMP}"), &[]);
    wait_status(&running, "air", "ok");
    let (other, mut random, began) = (sim(&running, "other.json"), chance("S2"), Instant::now());
    let mut slowest = BTreeMap::new();
    for turn in 0..times(3, 20, 100) {
        let how = ["nak", "gone"][turn % 2];
        let lasts = Duration::from_millis(random.u64(800..times(1600, 2500, 5000)));
        let back = once(&running, &other, how, lasts);
        assert!(back <= Duration::from_millis(500) + NOTICE, "one period after {how}: {back:?}");
        let known = slowest.entry(how).or_insert(back);
        *known = back.max(*known);
    }
    running.gateway.stop(SOON);
    let minutes = began.elapsed().as_secs_f64() / 60.0;
    let log = running.gateway.log();
    let complaints = log.lines().filter(|line| line.contains("sensor=air") && line.contains("Sensor failed")).count();
    assert!(complaints as f64 <= minutes.ceil() + 1.0, "{complaints} in {minutes:.1} minutes: {log}");
    let account = running.wait_whole(taken(&running.gateway));
    assert!(account.lost.is_empty());
    let mut air = running.account("air");
    air.runs.truncate(1);
    air.check_whole();
    let happened = format!(
        "back after at most {slowest:?} of a period of 500 ms, {complaints} complaints in {minutes:.1} min, right values"
    );
    report("S2", "unplugged and plugged in again: chip and whole bus", &happened);
}

#[test]
fn s2_a_bus_that_times_out_leaves_its_neighbours_nine_tenths_of_the_time() {
    let mut running = Running::with(&format!("{COMING_AND_GOING}{PUMP}"), &[]);
    wait_status(&running, "air", "ok");
    wait_status(&running, "beside", "ok");
    let other = sim(&running, "other.json");
    other.set_fault("0x76", Some("time-out"));
    wait_status(&running, "air", "degraded");
    let lasts = times(Duration::from_secs(4), Duration::from_secs(30), Duration::from_secs(120));
    let (before, since) = (readings(&running, "beside").len(), Instant::now());
    wait_until("the time-outs to last", lasts * 2, || since.elapsed() >= lasts);
    let got = readings(&running, "beside").len() - before;
    let share = got as f64 / (since.elapsed().as_secs_f64() * 10.0);
    // Of each eleven seconds one is the time-out's; this window may hold one more.
    assert!(share >= 1.0 - (1.0 + lasts.as_secs_f64() / 10.0).ceil() / lasts.as_secs_f64(), "{share:.2}");
    let health = running.latest("b/sensors/air/status");
    assert!(health["error"].as_str().unwrap().contains("timed out"), "{health}");
    running.gateway.stop(SOON);
    running.wait_whole(taken(&running.gateway));
    report(
        "S2",
        &format!("each transfer times out after 1 s, {lasts:?}"),
        &format!("its neighbour keeps {:.0} % of its samplings", share * 100.0),
    );
}

/// Every chip that can be simulated, with what is around it.
const CHIPS: [(&str, &str, &str); 7] = [
    ("bme280", "0x76", r#"{"temperature":23.25,"humidity":41.5,"pressure":1001.5}"#),
    ("bmp280", "0x77", r#"{"temperature":19.75,"pressure":998.25}"#),
    ("sht3x", "0x44", r#"{"temperature":17.5,"humidity":63.0}"#),
    ("bh1750", "0x23", r#"{"illuminance":321.0}"#),
    ("ads1115", "0x48", r#"{"voltage_0":1.5}"#),
    ("tmp102", "0x49", r#"{"temperature":-11.25}"#),
    ("lm75", "0x4a", r#"{"temperature":31.5}"#),
];

/// Faults, and how many of these chips can show each. One that has measured before keeps its last result at `power-on`,
/// the ADS1115 aside.
const FAULTS: [(&str, usize); 5] = [("checksum", 1), ("stuck", 5), ("power-on", 1), ("not-ready", 4), ("nak", 7)];

fn liars() -> String {
    let sensor = |(driver, address, _): &(&str, &str, &str)| {
        let channels = if *driver == "ads1115" { ", channels: [0]" } else { "" };
        format!(
            "  {driver}: {{ driver: {driver}, bus: other, every: 50ms, settings: {{ address: {address}{channels} }} }}\n"
        )
    };
    let chips: String = CHIPS.iter().map(sensor).collect();
    format!("{}{chips}{PUMP}", COMING_AND_GOING.split_once("  air:").unwrap().0)
        .replace("sensors:\n", "sensors:\n  n: { driver: waveform, every: 50ms, settings: { shape: counter } }\n")
}

/// Every reading of a chip says what is around it.
fn check_truth(running: &Running, sensor: &str, world: &Value) -> usize {
    let all = readings(running, sensor);
    for message in &all {
        let reading = message.json();
        for (quantity, truth) in world.as_object().unwrap() {
            let (said, truth) = (reading[quantity].as_f64().unwrap(), truth.as_f64().unwrap());
            assert!((said - truth).abs() <= truth.abs() * 0.02 + 0.5, "{sensor} said {}", message.payload);
        }
    }
    all.len()
}

#[test]
fn s3_what_a_faulty_chip_says_is_never_published_as_good() {
    // Before its chips are there, so that every reading must be of this world.
    let mut chips = serde_json::Map::new();
    for (driver, address, world) in CHIPS {
        let mut entry: Value = serde_json::from_str(world).unwrap();
        entry["chip"] = json!(driver);
        chips.insert(address.to_owned(), entry);
    }
    let running = Running::prepared(&liars(), &[], |folder| {
        SimFile::new(folder.join("other.json")).write(&json!({ "chips": chips }));
    });
    let other = sim(&running, "other.json");
    let mut refused = 0;
    for _ in 0..times(1, 3, 20) {
        for (fault, chips) in FAULTS {
            lie(&running, &other, fault, chips);
            refused += chips;
        }
    }
    let mut reported = 0;
    for (driver, _, world) in CHIPS {
        reported += check_truth(&running, driver, &serde_json::from_str(world).unwrap());
    }
    assert!(reported > 100, "{reported}");
    let happened = format!("{refused} faults refused and reported in the status, all of {reported} readings were true");
    report("S3", "bad checksum, stuck data line, power-on values, never ready, off the bus; 7 chips", &happened);
}

/// Shows a fault on every chip that knows it, which are so many: none of those says a reading while it lasts.
fn lie(running: &Running, other: &SimFile, fault: &str, expected: usize) {
    // Beside other work, a bus may also be too slow for a moment, which costs no reading.
    let is_down = |driver: &&str| {
        let status = running.latest(&format!("b/sensors/{driver}/status"));
        status["status"] != "ok" && !status["error"].as_str().is_some_and(|error| error.contains("bus is too slow"))
    };
    let down = || CHIPS.iter().map(|chip| chip.0).filter(is_down).collect::<Vec<_>>();
    wait_until("all chips to be well", SOON, || down().is_empty());
    // These say 0 lx and 0 °C before their first measurement, which nobody can distinguish from darkness and ice: no register of
    // theirs says more.
    let dumb = |driver: &str| {
        matches!((driver, fault), ("bh1750", "power-on" | "not-ready") | ("tmp102" | "lm75", "power-on"))
    };
    let shows = |chip: &&(&str, &str, &str)| !dumb(chip.0);
    let entry = |chip: &(&str, &str, &str)| (chip.1.to_owned(), json!({ "fault": fault }));
    let chips: serde_json::Map<_, _> = CHIPS.iter().filter(shows).map(entry).collect();
    other.write(&json!({ "chips": chips }));
    wait_until(&format!("{expected} chips to show {fault}"), SOON, || down().len() >= expected);
    let down = down();
    assert_eq!(down.len(), expected, "{fault}: {down:?}");
    // A status overtakes the readings that wait in the spool; what `n` says from now on stands behind them.
    let since = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    wait_for_readings_of_n(running, since, 1);
    let counts = || down.iter().map(|driver| readings(running, driver).len()).sum::<usize>();
    let before = counts();
    wait_for_readings_of_n(running, since, 6);
    assert_eq!(counts(), before, "a reading in spite of {fault}");
    for (_, address, _) in CHIPS {
        other.set_fault(address, None);
    }
}

/// Waits until so many readings of `n` have come that were taken after this time.
fn wait_for_readings_of_n(running: &Running, since: f64, count: usize) {
    wait_until("readings of n", SOON, || {
        readings(running, "n").iter().filter(|message| taken_at(&message.json()) > since).count() >= count
    });
}

const HALF: &str = "buses:
  bench: { type: sim, state_file: bench.json }
  other: { type: sim, state_file: other.json }
  absent: { type: sim, state_file: absent/absent.json }
  cable: { type: i2c, device: cable/i2c-9 }
sensors:
  air: { driver: bme280, bus: other, every: 500ms, settings: { address: 0x76 } }
  sun: { driver: bh1750, bus: other, every: 200ms, settings: {} }
  soil: { driver: ads1115, bus: absent, every: 500ms, settings: { address: 0x48, channels: [0] } }
  door: { driver: gpio-input, bus: absent, every: 60s, settings: { line: GPIO17 } }
  never: { driver: tmp102, bus: cable, every: 500ms, settings: { address: 0x49 } }
  n: { driver: waveform, every: 50ms, settings: { shape: counter } }
";

#[test]
fn s4_half_of_the_sensors_missing_at_the_start_appear_when_they_are_plugged_in() {
    let started = Instant::now();
    let mut running = Running::prepared(&format!("{HALF}{PUMP}"), &[], |folder| {
        let missing = json!({"chips": {"0x76": {"chip": "bme280", "fault": "nak"}}});
        SimFile::new(folder.join("other.json")).write(&missing);
    });
    let ready = running.socket.wait("READY=1", 0, SOON);
    let ready = running.socket.all()[ready].0 - started;
    wait_now(&running, "sun", "ok", SOON);
    for sensor in ["air", "soil", "door", "never"] {
        wait_now(&running, sensor, if sensor == "door" { "degraded" } else { "down" }, SOON);
        assert!(readings(&running, sensor).is_empty(), "{sensor}");
    }
    let appear = |sensor: &str, plugged: Instant, limit: Duration| {
        wait_until(&format!("{sensor} to appear"), SOON * 7, || !readings(&running, sensor).is_empty());
        let took = plugged.elapsed().saturating_sub(slack(plugged));
        assert!(took <= limit + NOTICE, "{sensor} appeared after {took:?}");
        took.as_millis()
    };
    sim(&running, "other.json").set_fault("0x76", None);
    let air = appear("air", Instant::now(), Duration::from_millis(500));
    std::fs::create_dir(running.folder.path().join("absent")).unwrap();
    let plugged = Instant::now();
    // It listens from when its bus is there, although its heartbeat is a minute.
    let door = appear("door", plugged, Duration::from_secs(1));
    let soil = appear("soil", plugged, Duration::from_millis(500));
    wait_now(&running, "never", "down", SOON);
    running.gateway.stop(SOON);
    let account = running.wait_whole(taken(&running.gateway));
    assert!(account.lost.is_empty());
    let happened = format!(
        "ready {} ms after the broker; a chip appears after {air} ms, sensors of a bus after {soil} and {door} ms",
        ready.as_millis()
    );
    report("S4", "four of six sensors and two buses missing at the start", &happened);
}
