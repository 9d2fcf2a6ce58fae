//! Row H4: buses that fail in every way that can be simulated, with 16 outputs and 16 sensors on them, under the watchdog of the
//! real unit.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::common::pace::{self, slack};
use crate::common::running::{PUMP, Running};
use crate::common::sim_file::SimFile;
use crate::common::{SOON, wait_until};
use crate::suite::{report, times};

/// As the unit says: `WatchdogSec=10`.
const WATCHDOG: (&str, &str) = ("WATCHDOG_USEC", "10000000");
const HALF_A_PERIOD: Duration = Duration::from_secs(5);

/// What a transfer takes that times out.
const TIME_OUT: Duration = Duration::from_secs(1);

/// A look of a simulated bus at its file, and what an answer takes.
const NOTICE: Duration = Duration::from_millis(1500);

/// The chips of the failing wires: an expander with relays, one with contacts, a PWM chip, and sensors.
const CHIPS: [&str; 11] = ["0x20", "0x21", "0x40", "0x44", "0x45", "0x48", "0x49", "0x4a", "0x4b", "0x76", "0x77"];

const RELAYS: usize = 14;
const CONTACTS: usize = 8;

fn config() -> String {
    let buses = "buses:
  bench: { type: sim, state_file: bench.json }
  wires: { type: sim, state_file: wires.json }
  third: { type: sim, state_file: third.json }
  relays: { type: mcp23017, bus: wires, address: 0x20 }
  contacts: { type: mcp23017, bus: wires, address: 0x21 }
sensors:
  n: { driver: waveform, every: 50ms, settings: { shape: counter } }
  far: { driver: bh1750, bus: third, every: 200ms, settings: {} }
";
    let contact = |pin| {
        format!(
            "  c{pin}: {{ driver: gpio-input, bus: contacts, every: 1s, settings: {{ line: \"{pin}\", bias: pull-up }} }}\n"
        )
    };
    let chip = |(index, address): (usize, &&str)| {
        let driver = kind(address);
        format!("  s{index}: {{ driver: {driver}, bus: wires, every: 200ms, settings: {{ address: {address} }} }}\n")
    };
    let relay = |pin| {
        format!(
            "  r{pin}: {{ driver: gpio-output, bus: relays, settings: {{ line: \"{pin}\" }}, safe_state: \"off\" }}\n"
        )
    };
    let more = "  dimmer: { driver: pca9685, bus: wires, settings: { address: 0x40, channel: 0 }, safe_state: 0 }
  siren: { driver: gpio-output, bus: wires, settings: { line: GPIO5 }, safe_state: \"off\" }
";
    let sensors: String = (0..CONTACTS).map(contact).chain(CHIPS[3..].iter().enumerate().map(chip)).collect();
    let outputs: String = (0..RELAYS).map(relay).collect();
    format!("{buses}{sensors}{PUMP}{outputs}{more}")
}

fn outputs() -> Vec<String> {
    (0..RELAYS).map(|pin| format!("r{pin}")).chain(["dimmer".to_owned(), "siren".to_owned()]).collect()
}

fn wires(running: &Running) -> SimFile {
    SimFile::new(running.folder.path().join("wires.json"))
}

/// The levels of the relays, as the chip has them.
fn relays(wires: &SimFile) -> u64 {
    let chips = &wires.read()["chips"]["0x20"];
    let port = |name: &str| chips[name].as_u64().unwrap_or(0);
    (port("OLATA") | port("OLATB") << 8) & ((1 << RELAYS) - 1)
}

/// Every output on, waited for.
fn switch_on(running: &Running, wires: &SimFile) {
    for output in outputs() {
        let value = if output == "dimmer" { "70" } else { "on" };
        running.client.publish(&format!("b/actuators/{output}/set"), value, false, 1);
    }
    wait_until("all relays to be on", SOON * 2, || relays(wires) == (1 << RELAYS) - 1);
    wait_until("the dimmer and the siren to be on", SOON * 2, || {
        running.latest("b/actuators/dimmer/state")["value"] == 70.0
            && running.latest("b/actuators/siren/state")["value"] == "on"
    });
}

fn all_report_off(running: &Running) -> bool {
    let is_off = |output: String| {
        let state = running.latest(&format!("b/actuators/{output}/state"));
        state["value"] == "off" || state["value"] == 0.0
    };
    outputs().into_iter().all(is_off)
}

fn all_are_well(running: &Running) -> bool {
    let contacts = (0..CONTACTS).map(|pin| format!("c{pin}"));
    let chips = (0..CHIPS.len() - 3).map(|index| format!("s{index}"));
    contacts.chain(chips).all(|sensor| running.latest(&format!("b/sensors/{sensor}/status"))["status"] == "ok")
}

/// The longest time between two signs of life to systemd, until now; half a period at most.
fn longest_gap(running: &Running, since: Instant, how: &str) -> Duration {
    let fed = running.socket.all().into_iter().filter(|(_, text)| text.contains("WATCHDOG=1")).map(|(at, _)| at);
    let times: Vec<Instant> = [since].into_iter().chain(fed.filter(|at| *at > since)).chain([Instant::now()]).collect();
    pace::longest_gap(&times, HALF_A_PERIOD, &format!("{how}: the watchdog was not fed"))
}

fn set_fault(wires: &SimFile, fault: Option<&str>) {
    let chips: serde_json::Map<_, _> = CHIPS.iter().map(|chip| ((*chip).to_owned(), json!({"fault": fault}))).collect();
    wires.write(&json!({ "chips": chips }));
}

fn fail(running: &Running, how: &str) {
    match how {
        "gone" => wires(running).write(&json!({"gone": true})),
        "hang" => SimFile::new(running.folder.path().join("third.json")).set_fault("0x23", Some("hang")),
        fault => set_fault(&wires(running), Some(fault)),
    }
}

fn mend(running: &Running, how: &str) {
    match how {
        "gone" => wires(running).write(&json!({"gone": false})),
        "hang" => SimFile::new(running.folder.path().join("third.json")).set_fault("0x23", None),
        _ => set_fault(&wires(running), None),
    }
}

/// Commands to an output on another bus act meanwhile; the slowest, from the start of the publishing program, without what the
/// machine held up everybody.
fn command_others(running: &Running, lasts: Duration) -> Duration {
    let (since, mut slowest) = (Instant::now(), Duration::ZERO);
    while since.elapsed() < lasts {
        for (word, level) in [("off", 0), ("on", 1)] {
            let asked = Instant::now();
            running.client.publish("b/actuators/pump/set", word, false, 1);
            running.sim.wait_line("GPIO27", level, SOON);
            slowest = slowest.max(asked.elapsed().saturating_sub(slack(asked)));
        }
    }
    slowest
}

/// Breaks the wires in one way and mends them; how long afterwards its outputs were safe.
fn once(running: &Running, how: &str, lasts: Duration) -> (Duration, Duration, Duration) {
    let file = wires(running);
    switch_on(running, &file);
    let before = running.seq();
    let since = Instant::now();
    fail(running, how);
    // Nobody can carry these out now, so each output must be made safe as soon as that is possible.
    for output in outputs() {
        running.client.publish(
            &format!("b/actuators/{output}/set"),
            if output == "dimmer" { "0" } else { "off" },
            false,
            1,
        );
    }
    let command = command_others(running, lasts);
    let gap = longest_gap(running, since, how);
    assert!(command <= Duration::from_secs(1), "{how}: a command to another bus took {command:?}");
    let expected = since.elapsed().as_millis() as u64 / 50;
    wait_until("readings of others", SOON, || running.seq() >= before + expected * 3 / 4);
    mend(running, how);
    let mended = Instant::now();
    if how == "hang" {
        return (Duration::ZERO, gap, command);
    }
    wait_until("the outputs to be safe", SOON * 4, || relays(&file) == 0 && all_report_off(running));
    let took = mended.elapsed();
    // A transfer that is under way, the rest after it, and, for a chip that had not failed before, one more.
    assert!(took <= 3 * TIME_OUT + NOTICE + slack(mended), "{how}: safe {took:?} after the bus allowed it");
    wait_until("the sensors to be well", SOON * 4, || all_are_well(running));
    (took, gap, command)
}

#[test]
fn h4_a_bus_that_fails_starves_neither_the_watchdog_nor_other_buses_and_its_outputs_are_safe_as_soon_as_it_allows() {
    let mut running = Running::with(&config(), &[WATCHDOG]);
    wait_until("all sensors to be well", SOON * 2, || all_are_well(&running));
    let turns = times(1, 2, 5);
    for how in ["time-out", "nak", "gone", "hang"] {
        // Long enough for a thread that gives no sign of life to be noticed, and for more than half a period after that.
        let short = if how == "time-out" { 12_000 } else { 2000 };
        let lasts = times(Duration::from_millis(short), Duration::from_secs(20), Duration::from_secs(60));
        let mut worst = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
        for _ in 0..turns {
            let (safe, gap, command) = once(&running, how, lasts);
            worst = (worst.0.max(safe), worst.1.max(gap), worst.2.max(command));
        }
        report(
            "H4",
            &format!(
                "every transfer on the wires of 16 outputs and 16 sensors: {how}, {turns} × {lasts:?}, WatchdogSec=10"
            ),
            &format!(
                "watchdog fed every {} ms at most, commands to another bus within {} ms, its own outputs safe {} ms after its return",
                worst.1.as_millis(),
                worst.2.as_millis(),
                worst.0.as_millis()
            ),
        );
    }
    running.gateway.stop(SOON);
}

#[test]
fn h4_a_program_that_starts_and_stops_on_a_bus_that_times_out_feeds_the_watchdog_and_ends_in_time() {
    let prepare = |folder: &std::path::Path| {
        let chips: serde_json::Map<_, _> =
            CHIPS.iter().map(|chip| ((*chip).to_owned(), json!({"chip": kind(chip), "fault": "time-out"}))).collect();
        std::fs::write(folder.join("wires.json"), json!({ "chips": chips }).to_string()).unwrap();
    };
    let mut running = Running::untouched(&config(), &[WATCHDOG], prepare);
    let began = Instant::now();
    let lasts = times(Duration::from_secs(12), Duration::from_secs(30), Duration::from_secs(120));
    running.switch_on();
    command_others(&running, lasts);
    let gap = longest_gap(&running, began, "start");
    let asked = Instant::now();
    running.gateway.stop(Duration::from_secs(5));
    let took = asked.elapsed();
    assert_eq!(running.sim.line("GPIO27"), Some(0), "the output of another bus is safe");
    let log = running.gateway.log();
    assert!(log.contains("could not be made safe at the end") || log.contains("was abandoned"), "it says so: {log}");
    report(
        "H4",
        &format!("start and SIGTERM while every transfer times out after 1 s, {lasts:?}"),
        &format!("watchdog fed every {} ms at most, code 0 after {} ms", gap.as_millis(), took.as_millis()),
    );
}

fn kind(chip: &str) -> &'static str {
    match chip {
        "0x20" | "0x21" => "mcp23017",
        "0x40" => "pca9685",
        "0x44" | "0x45" => "sht3x",
        "0x76" | "0x77" => "bme280",
        _ => "tmp102",
    }
}
