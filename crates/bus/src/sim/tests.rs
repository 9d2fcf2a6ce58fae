//! The whole simulated bus, seen through its state file.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use embedded_hal::i2c::I2c;
use embedded_hal::spi::{MODE_0, SpiDevice};
use serde_json::{Value, json};

use crate::sim::chips::stand_in;
use crate::sim::state::{STRAY_FOR, STRAY_LIMIT};
use crate::sim::{LOOK_EVERY, SimBus};
use crate::sysfs::DEVICE;
use crate::{
    Bias, Bus, BusError, Claim, InputRequest, OutputRequest, PwmPlace, PwmRequest, SpiRequest, UartRequest, spi, uart,
};
use fieldgate_clock::monotonic;

struct SimRig {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl SimRig {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bench.json");
        Self { _folder: folder, path }
    }

    fn open(&self) -> SimBus {
        SimBus::open(Some(self.path.clone()), stand_in::find).unwrap()
    }

    fn write(&self, content: &Value) {
        fs::write(&self.path, content.to_string()).unwrap();
    }

    fn read(&self) -> Value {
        read(&self.path)
    }
}

fn read(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn input(line: &str, bias: Bias) -> InputRequest {
    InputRequest { line: line.to_owned(), active_low: false, bias, debounce: Duration::ZERO }
}

fn output(line: &str, active_low: bool, active: bool) -> OutputRequest {
    OutputRequest { line: line.to_owned(), active_low, active }
}

#[test]
fn an_output_is_seen_in_the_file_as_its_electrical_level() {
    let rig = SimRig::new();
    let mut bus = rig.open();
    assert_eq!(rig.read(), json!({"lines": {}, "inputs": {}, "chips": {}, "pwm": {}}));
    let mut pump = bus.output(&output("GPIO27", true, false)).unwrap();
    assert_eq!(rig.read()["lines"], json!({"GPIO27": 1}));
    pump.set(true).unwrap();
    assert_eq!(rig.read()["lines"], json!({"GPIO27": 0}));
    assert!(pump.is_active().unwrap());
}

#[test]
fn an_input_set_from_outside_is_taken_over_within_one_refresh() {
    let rig = SimRig::new();
    let mut bus = rig.open();
    let mut door = bus.input(&input("GPIO17", Bias::PullDown)).unwrap();
    assert!(!door.is_active().unwrap());
    rig.write(&json!({"inputs": {"GPIO17": true}}));
    let before = monotonic();
    assert_eq!(bus.refresh().unwrap(), Some(LOOK_EVERY));
    assert!(door.is_active().unwrap());
    let edges = door.take_edges().unwrap();
    assert!(edges.len() == 1 && edges[0].active && edges[0].at.unwrap() >= before, "{edges:?}");
    assert!(door.take_edges().unwrap().is_empty() && door.descriptor().is_none());
}

#[test]
fn a_change_of_the_same_length_within_one_tick_of_the_clock_is_seen() {
    let rig = SimRig::new();
    let mut bus = rig.open();
    let mut door = bus.input(&input("GPIO17", Bias::AsIs)).unwrap();
    for n in 0..200 {
        rig.write(&json!({"inputs": {"GPIO17": (n + 1) % 2}}));
        bus.refresh().unwrap();
        assert_eq!(door.is_active().unwrap(), n % 2 == 0);
    }
}

#[test]
fn an_unset_input_follows_its_bias_and_a_set_one_the_file() {
    let rig = SimRig::new();
    rig.write(&json!({"inputs": {"GPIO5": 0}}));
    let mut bus = rig.open();
    let mut level = |line: &str, bias| bus.input(&input(line, bias)).unwrap().is_active().unwrap();
    assert!(level("GPIO17", Bias::PullUp));
    assert!(!level("GPIO22", Bias::PullDown) && !level("GPIO23", Bias::AsIs));
    assert!(!level("GPIO5", Bias::PullUp));
}

#[test]
fn a_debounced_change_is_reported_when_it_has_lasted() {
    let rig = SimRig::new();
    let mut bus = rig.open();
    let debounce = Duration::from_millis(20);
    let mut door = bus.input(&InputRequest { debounce, ..input("GPIO17", Bias::AsIs) }).unwrap();
    let start = monotonic() + Duration::from_secs(1);
    rig.write(&json!({"inputs": {"GPIO17": 1}}));
    assert_eq!(bus.refresh_at(start), Some(debounce));
    assert!(door.take_edges().unwrap().is_empty() && !door.is_active().unwrap());
    assert_eq!(bus.refresh_at(start + debounce), Some(LOOK_EVERY));
    assert_eq!(door.take_edges().unwrap()[0].at, Some(start + debounce));
}

#[test]
fn a_line_is_held_by_its_first_claim_until_that_is_dropped() {
    let mut bus = SimBus::open(None, stand_in::find).unwrap();
    let first = bus.output(&output("GPIO27", false, true)).unwrap();
    let error = bus.input(&input("GPIO27", Bias::AsIs)).err().unwrap();
    assert!(matches!(&error, BusError::LineClaimed { holder, .. } if holder == "fieldgate"), "{error}");
    drop(first);
    assert!(bus.output(&output("GPIO27", false, false)).is_ok());
}

#[test]
fn our_lines_return_to_a_file_whose_writer_left_them_out_or_changed_them() {
    let rig = SimRig::new();
    let mut bus = rig.open();
    let _pump = bus.output(&output("GPIO27", false, true)).unwrap();
    let _fan = bus
        .pwm(&PwmRequest { place: PwmPlace::Channel(0), period: LOOK_EVERY, percent: 40.0, inverted: false })
        .unwrap();
    rig.write(&json!({"inputs": {"GPIO17": 1}, "lines": {"GPIO27": 0, "GPIO4": 1}, "note": "mine"}));
    bus.refresh().unwrap();
    let file = rig.read();
    assert_eq!(file["lines"], json!({"GPIO27": 1, "GPIO4": 1}));
    assert_eq!((&file["inputs"], &file["note"]), (&json!({"GPIO17": 1}), &json!("mine")));
    assert_eq!(file["pwm"], json!({"0": 40.0}));
    rig.write(&json!({}));
    bus.refresh().unwrap();
    assert_eq!(rig.read()["lines"], json!({"GPIO27": 1, "GPIO4": 1}));
    assert_eq!(rig.read()["inputs"], json!({"GPIO17": 1}));
}

#[test]
fn a_second_process_writes_its_own_line_only() {
    let rig = SimRig::new();
    {
        let mut service = rig.open();
        let _pump = service.output(&output("GPIO27", false, true)).unwrap();
        let _valve = service.output(&output("GPIO22", false, true)).unwrap();
    }
    let mut safe_state = rig.open();
    drop(safe_state.output(&output("GPIO27", false, false)).unwrap());
    assert_eq!(rig.read()["lines"], json!({"GPIO27": 0, "GPIO22": 1}));
}

#[test]
fn the_last_change_waits_for_a_file_that_somebody_is_writing() {
    let rig = SimRig::new();
    let mut bus = rig.open();
    let mut pump = bus.output(&output("GPIO27", false, false)).unwrap();
    fs::write(&rig.path, r#"{"inputs":{"#).unwrap();
    pump.set(true).unwrap();
    bus.refresh().unwrap();
    assert_eq!(fs::read_to_string(&rig.path).unwrap(), r#"{"inputs":{"#);
    rig.write(&json!({"inputs": {"GPIO17": 1}}));
    drop((bus, pump));
    assert_eq!(rig.read()["lines"]["GPIO27"], 1);
    assert_eq!(rig.read()["inputs"]["GPIO17"], 1);
}

#[test]
fn an_empty_file_made_beforehand_is_filled() {
    let rig = SimRig::new();
    fs::write(&rig.path, "").unwrap();
    drop(rig.open());
    assert_eq!(rig.read()["lines"], json!({}));
}

#[test]
fn a_chip_is_shown_in_the_file_and_changed_from_there() {
    let rig = SimRig::new();
    rig.write(&json!({"chips": {"72": {"temperature": 25}}}));
    let mut bus = rig.open();
    bus.expect(stand_in::NAME, &[Claim::Address(0x48)]);
    let chip = rig.read()["chips"]["72"].clone();
    assert_eq!(
        (&chip["chip"], &chip["temperature"], &chip["fault"]),
        (&json!(stand_in::NAME), &json!(25), &Value::Null)
    );
    let mut i2c = bus.i2c().unwrap();
    let mut bytes = [0; 2];
    i2c.write_read(0x48, &[0], &mut bytes).unwrap();
    assert_eq!(bytes, [0x19, 0x00]);
    rig.write(&json!({"chips": {"0x48": {"fault": "nak"}}}));
    bus.refresh().unwrap();
    assert!(matches!(i2c.read(0x48, &mut bytes), Err(BusError::NoAcknowledge { address: 0x48 })));
    rig.write(&json!({"chips": {"0x48": {"fault": null, "temperature": 30.5}}}));
    bus.refresh().unwrap();
    i2c.write_read(0x48, &[0], &mut bytes).unwrap();
    assert_eq!(bytes, [0x1e, 0x80]);
    bus.refresh().unwrap();
    assert_eq!(rig.read()["chips"]["0x48"]["temperature"], 30.5);
}

#[test]
fn what_makes_no_sense_in_the_file_is_ignored_and_kept() {
    let rig = SimRig::new();
    let mut bus = rig.open();
    bus.expect(stand_in::NAME, &[Claim::Address(0x48)]);
    let odd = json!({"chip": "toaster", "temperature": "hot", "colour": 3, "fault": "rust"});
    rig.write(&json!({"chips": {"0x48": odd, "0x999": {}, "x": 1}, "inputs": {"GPIO17": 7}, "pwm": {"a": "b"}}));
    bus.refresh().unwrap();
    let mut bytes = [0; 2];
    assert!(bus.i2c().unwrap().write_read(0x48, &[0], &mut bytes).is_ok());
    assert_eq!(rig.read()["chips"]["0x48"]["chip"], "toaster");
}

/// What a bus gives, and a way to ask it.
type Asked = (&'static str, Box<dyn FnMut() -> Result<(), BusError>>);

#[test]
fn whatever_is_on_a_bus_that_has_gone_says_so_until_it_is_opened_again() {
    let rig = SimRig::new();
    let mut bus = rig.open();
    bus.expect(stand_in::NAME, &[Claim::Address(0x48)]);
    let (mut door, mut pump) =
        (bus.input(&input("GPIO17", Bias::AsIs)).unwrap(), bus.output(&output("GPIO27", false, false)).unwrap());
    let mut edges = bus.input(&input("GPIO18", Bias::AsIs)).unwrap();
    let mut relay = bus.output(&output("GPIO22", false, false)).unwrap();
    let pwm =
        |channel| PwmRequest { place: PwmPlace::Channel(channel), period: LOOK_EVERY, percent: 0.0, inverted: false };
    let (mut lamp, mut fan) = (bus.pwm(&pwm(0)).unwrap(), bus.pwm(&pwm(1)).unwrap());
    let (mut i2c, mut spi) = (bus.i2c().unwrap(), bus.spi(&SpiRequest { mode: MODE_0, max_hz: 1_000_000 }).unwrap());
    let (mut port, mut other) =
        (bus.uart(&UartRequest { baud: 9600 }).unwrap(), bus.uart(&UartRequest { baud: 9600 }).unwrap());
    let mut third = bus.uart(&UartRequest { baud: 9600 }).unwrap();
    let (files, more) = (bus.files().unwrap(), bus.files().unwrap());
    let disk = bus.files().unwrap();
    let mut asked: Vec<Asked> = vec![
        ("input", Box::new(move || door.is_active().map(drop))),
        ("edges", Box::new(move || edges.take_edges().map(drop))),
        ("output", Box::new(move || pump.set(true))),
        ("read back", Box::new(move || relay.is_active().map(drop))),
        ("PWM", Box::new(move || lamp.set(50.0))),
        ("percent", Box::new(move || fan.percent().map(drop))),
        ("I2C", Box::new(move || i2c.read(0x48, &mut [0]))),
        ("SPI", Box::new(move || spi.read(&mut [0]))),
        ("port, read", Box::new(move || port.read(&mut [0], Duration::ZERO).map(drop))),
        ("port, write", Box::new(move || other.write(&[0]))),
        ("port, discard", Box::new(move || third.discard())),
        ("file", Box::new(move || files.read("/sys/class/hwmon/hwmon0/name").map(drop))),
        ("folder", Box::new(move || more.list("/sys/class/hwmon").map(drop))),
        ("disk", Box::new(move || disk.disk_used("/").map(drop))),
    ];
    for (what, ask) in &mut asked {
        assert!(ask().is_ok(), "{what}");
    }
    let mut document = rig.read();
    document["gone"] = json!(true);
    rig.write(&document);
    assert!(bus.refresh().unwrap_err().is_gone());
    assert!(SimBus::open(Some(rig.path.clone()), stand_in::find).is_err_and(|error| error.is_gone()));
    document["gone"] = json!(false);
    rig.write(&document);
    assert!(bus.refresh().unwrap_err().is_gone(), "what is open stays dead");
    for (what, ask) in &mut asked {
        assert!(ask().is_err_and(|error| error.is_gone()), "{what}");
    }
    let claims = [
        bus.input(&input("GPIO5", Bias::AsIs)).err(),
        bus.output(&output("GPIO6", false, false)).err(),
        bus.pwm(&pwm(2)).err(),
    ];
    assert!(claims.iter().all(|error| error.as_ref().is_some_and(BusError::is_gone)), "{claims:?}");
    drop(asked);
    let mut again = rig.open();
    assert!(again.refresh().is_ok() && !again.input(&input("GPIO17", Bias::AsIs)).unwrap().is_active().unwrap());
}

#[test]
fn a_reader_who_hammers_the_file_never_sees_half_of_it() {
    let rig = SimRig::new();
    let mut bus = rig.open();
    let mut pump = bus.output(&output("GPIO27", false, false)).unwrap();
    let (done, reads) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (path, finished, counted) = (rig.path.clone(), Arc::clone(&done), Arc::clone(&reads));
    let reader = std::thread::spawn(move || {
        while !finished.load(Ordering::Relaxed) {
            assert!(read(&path)["lines"]["GPIO27"].is_u64());
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    // Its thread may begin late.
    let mut writes = 0;
    while !reader.is_finished() && (writes < 500 || reads.load(Ordering::Relaxed) < 100) {
        pump.set(writes % 2 == 0).unwrap();
        writes += 1;
    }
    done.store(true, Ordering::Relaxed);
    reader.join().unwrap();
}

#[test]
fn nothing_is_lost_when_two_write_at_once() {
    let rig = SimRig::new();
    let mut bus = rig.open();
    let mut pump = bus.output(&output("GPIO27", false, false)).unwrap();
    let mut door = bus.input(&input("GPIO17", Bias::AsIs)).unwrap();
    let path = rig.path.clone();
    let writer = std::thread::spawn(move || {
        for n in 1..=300_u64 {
            let temporary = path.with_extension("writer");
            fs::write(&temporary, json!({"inputs": {"GPIO17": n % 2, "GPIO4": n % 2}}).to_string()).unwrap();
            fs::rename(&temporary, &path).unwrap();
        }
    });
    let mut on = false;
    while !writer.is_finished() {
        on = !on;
        pump.set(on).unwrap();
    }
    writer.join().unwrap();
    bus.refresh().unwrap();
    assert!(!door.is_active().unwrap());
    let file = rig.read();
    assert_eq!((&file["inputs"]["GPIO4"], &file["lines"]["GPIO27"]), (&json!(0), &json!(u8::from(on))));
}

#[test]
fn what_is_written_in_place_is_taken_over_although_we_write_too() {
    let rig = SimRig::new();
    let mut bus = rig.open();
    let mut pump = bus.output(&output("GPIO27", false, false)).unwrap();
    let mut door = bus.input(&input("GPIO17", Bias::AsIs)).unwrap();
    let (mut on, mut in_time) = (false, 0);
    for n in 1..=100_u64 {
        let (path, began) = (rig.path.clone(), monotonic());
        let writer = std::thread::spawn(move || {
            fs::write(&path, json!({"inputs": {"GPIO17": n % 2}}).to_string()).unwrap();
        });
        let mut versions = 0;
        while !writer.is_finished() {
            // So many versions are remembered: a writer that the machine stops for more of them writes into one that is not.
            if versions < STRAY_LIMIT {
                on = !on;
                pump.set(on).unwrap();
                versions += 1;
            }
            std::thread::yield_now();
        }
        writer.join().unwrap();
        bus.refresh().unwrap();
        assert_eq!(rig.read()["lines"]["GPIO27"], u8::from(on));
        // What a writer that the machine stops for longer has put into a replaced version is not looked for.
        if monotonic() - began < STRAY_FOR {
            assert_eq!(door.is_active().unwrap(), n % 2 == 1, "after {n} writes");
            in_time += 1;
        }
    }
    assert!(in_time > 0);
}

#[test]
fn without_a_file_only_drifting_chips_ask_for_another_look() {
    let mut bus = SimBus::open(None, stand_in::find).unwrap();
    assert_eq!(bus.refresh().unwrap(), None);
    bus.expect("gpio-output", &[Claim::Line("GPIO27".to_owned()), Claim::Address(0x20)]);
    assert_eq!(bus.refresh().unwrap(), None);
    bus.expect(stand_in::NAME, &[Claim::Address(0x48)]);
    assert_eq!(bus.refresh().unwrap(), Some(Duration::from_secs(1)));
    let world = |bus: &SimBus| bus.world.borrow_mut().slots.get(0x48).unwrap().chip.world()[0].1;
    let first = world(&bus);
    bus.refresh_at(bus.opened + Duration::from_secs(20));
    assert!((world(&bus) - first).abs() > 0.1);
}

#[test]
fn a_pwm_channel_is_read_back_and_refuses_what_is_no_percentage() {
    let mut bus = SimBus::open(None, stand_in::find).unwrap();
    let request = PwmRequest { place: PwmPlace::Channel(1), period: LOOK_EVERY, percent: 12.5, inverted: true };
    let mut fan = bus.pwm(&request).unwrap();
    assert!(matches!(bus.pwm(&request), Err(BusError::LineClaimed { .. })));
    assert_eq!(fan.percent().unwrap(), 12.5);
    assert!(fan.set(f64::NAN).is_err() && fan.set(101.0).is_err());
    assert_eq!(fan.percent().unwrap(), 12.5);
}

#[test]
fn a_state_file_in_no_folder_cannot_be_opened() {
    let error = SimBus::open(Some(PathBuf::from("/nonexistent/bench.json")), stand_in::find).err().unwrap();
    assert!(matches!(error, BusError::Open { .. }));
}

#[test]
fn a_device_of_the_kernel_is_a_file_and_an_entry_of_the_state_file() {
    let rig = SimRig::new();
    let mut bus = rig.open();
    bus.expect(stand_in::NAME, &[DEVICE.claim("28-00000a1b2c3d"), uart::PORT.only(), spi::CHIP_SELECT.only()]);
    let mut places: Vec<_> = rig.read()["chips"].as_object().unwrap().keys().cloned().collect();
    places.sort();
    assert_eq!(places, ["28-00000a1b2c3d", "spi", "uart"]);
    rig.write(&json!({"chips": {"uart": {"fault": "time-out"}, "spi": {"fault": "nak"}}}));
    bus.refresh().unwrap();
    let mut port = bus.uart(&UartRequest { baud: 9600 }).unwrap();
    assert!(matches!(port.read(&mut [0], Duration::ZERO), Err(BusError::Wires { .. })));
    let mut bytes = [0; 2];
    bus.spi(&SpiRequest { mode: MODE_0, max_hz: 1 }).unwrap().read(&mut bytes).unwrap();
    assert_eq!(bytes, [0xFF; 2]);
}
