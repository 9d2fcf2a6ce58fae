//! The thermometers on a tree of files and on the simulated kernel.

use std::fs;

use super::*;
use crate::transcript::{KernelChip, check};
use fieldgate_bus::Bus;
use fieldgate_bus::sysfs::HostBus;

const ID: &str = "28-00000a1b2c3d";

/// A scratchpad with this temperature word and byte 6, and its checksum.
fn pad(raw: i16, byte_6: u8) -> [u8; 9] {
    let [low, high] = raw.to_le_bytes();
    let mut pad = [low, high, 0x4B, 0x46, 0x7F, 0xFF, byte_6, 0x10, 0];
    pad[8] = crc8_of_maxim(&pad[..8]);
    pad
}

fn w1_slave(pad: &[u8]) -> String {
    let bytes: String = pad.iter().map(|byte| format!("{byte:02x} ")).collect();
    format!("{bytes}: crc={:02x} YES\n{bytes}t=0\n", pad[8])
}

/// A tree with these devices beside the master.
fn wire(ids: &[&str]) -> (tempfile::TempDir, Rc<dyn Files>) {
    let root = tempfile::tempdir().unwrap();
    for id in ids.iter().chain(&["w1_bus_master1", "3b-00000a1b2c3d"]) {
        fs::create_dir_all(root.path().join("sys/bus/w1/devices").join(id)).unwrap();
    }
    let files = HostBus::at(root.path()).files().unwrap();
    (root, files)
}

/// What a thermometer makes of these files, one after the other.
fn sampled(id: &str, texts: &[String]) -> Vec<Result<f64, DriverError>> {
    let (root, files) = wire(&[id]);
    let mut sensor = Thermometer::find(files, None).unwrap();
    let mut outcomes = Vec::new();
    for text in texts {
        fs::write(root.path().join(format!("sys/bus/w1/devices/{id}/w1_slave")), text).unwrap();
        outcomes.push(sensor.sample().map(|all| crate::transcript::number(&all, "temperature")));
    }
    outcomes
}

#[test]
fn the_worked_numbers_of_the_datasheet_come_out() {
    // Table 1.
    for (raw, celsius) in [
        (0x07D0_u16, 125.0),
        (0x0550, 85.0),
        (0x0191, 25.0625),
        (0x00A2, 10.125),
        (0x0008, 0.5),
        (0x0000, 0.0),
        (0xFFF8, -0.5),
        (0xFF5E, -10.125),
        (0xFE6F, -25.0625),
        (0xFC90, -55.0),
    ] {
        assert_eq!(Family::Sixteenths.celsius(&pad(raw.cast_signed(), 0x10)), Some(celsius));
    }
    // The scratchpad at power-on, as every DS18B20 of the maker sends it, with its checksum.
    assert_eq!(pad(0x0550, 0x0C), [0x50, 0x05, 0x4B, 0x46, 0x7F, 0xFF, 0x0C, 0x10, 0x1C]);
}

#[test]
fn bits_that_the_resolution_leaves_undefined_do_not_count() {
    let mut nine_bits = pad(0x0197, 0x10);
    nine_bits[4] = 0x1F;
    assert_eq!(Family::Sixteenths.celsius(&nine_bits), Some(25.0));
}

#[test]
fn halves_are_refined_by_the_counter() {
    // 25 °C in halves; twelve of sixteen counts left are a quarter of a degree, less the quarter that is taken off.
    for (raw, left, celsius) in [(50, 0x0C, 25.0), (50, 0x04, 25.5), (-50, 0x0C, -25.0), (0x00AA, 0x0C, 85.0)] {
        assert_eq!(Family::Halves.celsius(&pad(raw, left)), Some(celsius));
    }
    assert_eq!(Family::Halves.celsius(&[0; 9]), None);
}

#[test]
fn the_value_of_power_on_is_refused_by_its_mark_and_a_real_one_is_not() {
    let outcomes =
        sampled(ID, &[w1_slave(&pad(0x0550, 0x0C)), w1_slave(&pad(0x0550, 0x10)), w1_slave(&pad(0x0550, 0x0C))]);
    assert!(matches!(outcomes[0], Err(DriverError::NotReady(_))), "{outcomes:?}");
    assert!(matches!(outcomes[1], Ok(85.0)), "{outcomes:?}");
    assert!(matches!(outcomes[2], Err(DriverError::NotReady(_))), "whatever was before: {outcomes:?}");
}

#[test]
fn without_a_mark_85_degrees_are_believed_only_beside_the_reading_before() {
    let [cold, warm, at] = [(320, 0xFF), (84 * 16, 0xFF), (0x0550, 0xFF)].map(|(raw, mark)| w1_slave(&pad(raw, mark)));
    let outcomes = sampled(ID, &[at.clone(), cold, at.clone(), warm, at.clone(), at]);
    let good: Vec<bool> = outcomes.iter().map(Result::is_ok).collect();
    assert_eq!(good, [false, true, false, true, true, true], "{outcomes:?}");
    // The counter of a DS18S20 at 85 °C is that of power-on.
    let outcomes = sampled(
        "10-00000a1b2c3d",
        &[w1_slave(&pad(0x00AA, 0x0C)), w1_slave(&pad(168, 0x0C)), w1_slave(&pad(0x00AA, 0x0C))],
    );
    assert!(outcomes[0].is_err() && outcomes[1].is_ok() && outcomes[2].is_ok(), "{outcomes:?}");
}

#[test]
fn damage_in_all_its_forms_is_refused_and_passes() {
    let mut damaged = pad(320, 0x10);
    damaged[0] ^= 0x01;
    let zeros = w1_slave(&[0; 9]);
    let garbage =
        ["".to_owned(), w1_slave(&damaged), zeros, "72 01 4b".to_owned(), "YES".to_owned(), "t=20000".to_owned()];
    for (text, outcome) in garbage.iter().zip(sampled(ID, &garbage)) {
        assert!(outcome.as_ref().is_err_and(DriverError::is_transient), "{text:?}: {outcome:?}");
    }
    assert!(matches!(sampled(ID, &[w1_slave(&damaged)])[0], Err(DriverError::BadChecksum { .. })));
    // 127.94 °C is the other value that a faulty chip reports.
    assert!(matches!(sampled(ID, &[w1_slave(&pad(0x07FF, 0x0C))])[0], Err(DriverError::OutOfRange { .. })));
}

#[test]
fn the_only_one_is_found_and_of_several_the_one_with_the_id() {
    let found = |ids: &[&str], wanted| {
        let (_root, files) = wire(ids);
        Thermometer::find(files, wanted).map(|sensor| sensor.id).map_err(|error| error.to_string())
    };
    assert_eq!(found(&[ID], None).unwrap(), ID);
    assert_eq!(found(&[ID, "22-000000000001"], Some("22-000000000001")).unwrap(), "22-000000000001");
    assert!(found(&[ID, "22-000000000001"], None).unwrap_err().contains("set id to one of them; there are 22-0"));
    assert!(found(&[], None).unwrap_err().contains("4.7 kΩ"));
    assert!(found(&[ID], Some("28-00000a1b2c3e")).unwrap_err().contains(&format!("there are {ID}")));
    assert!(found(&[ID], Some("../28-00000a1b2c3d")).unwrap_err().contains("is not the id of a thermometer"));
}

#[test]
fn one_that_the_kernel_has_dropped_is_looked_for_again() {
    let (root, files) = wire(&[ID]);
    let mut sensor = Thermometer::find(files, None).unwrap();
    fs::remove_dir_all(root.path().join("sys/bus/w1/devices").join(ID)).unwrap();
    let error = sensor.sample().unwrap_err();
    assert!(matches!(error, DriverError::NoDevice { .. }) && !error.is_transient(), "{error}");
}

#[test]
fn the_simulated_thermometer_is_read_as_its_world_is() {
    let mut chip = KernelChip::with(&SPEC, &[("id", ID)]);
    let mut sensor = chip.build();
    for celsius in [21.5, -55.0, 0.0, 85.0, 124.9375] {
        chip.set("temperature", celsius);
        check(&sensor.sample().unwrap(), "temperature", celsius, 0.0);
    }
    chip.set("temperature", 20.0);
    for (fault, ready) in [("power-on", true), ("checksum", false), ("nak", false), ("stuck", false)] {
        chip.fault(Some(fault));
        let refused = sensor.sample();
        assert_eq!(matches!(refused, Err(DriverError::NotReady(_))), ready, "{fault}: {refused:?}");
        assert!(refused.is_err_and(|error| error.is_transient()), "{fault}");
    }
    chip.fault(None);
    check(&sensor.sample().unwrap(), "temperature", 20.0, 0.0);
    assert!(KernelChip::with(&SPEC, &[]).build().sample().is_ok(), "the only one");
}

#[test]
fn an_id_that_no_thermometer_has_is_refused_with_what_to_write() {
    for id in ["28-00000a1b2c3d", "10-000801b5a7a6", "22-0000001bd3f5", "42-000000000001"] {
        assert_eq!(wrong_id(id), None, "{id}");
    }
    let problem = |id: &str| wrong_id(id).map(|Wrong { what, hint }| format!("{what}; {hint}")).unwrap();
    assert!(problem("28-00000A1B2C3D").ends_with("write 28-00000a1b2c3d"));
    assert!(problem("3b-00000a1b2c3d").contains("family 3b"));
    assert!(problem("28-0a1b2c3d").contains("is not the id"));
    assert!(problem("28:00000a1b2c3d").contains("is not the id") && problem("").contains("is not the id"));
    // The bytes of the wire with their checksum, as other libraries write them.
    let rom = [0x28, 0x3D, 0x2C, 0x1B, 0x0A, 0x00, 0x00];
    let all: String = rom.iter().chain([&crc8_of_maxim(&rom)]).map(|byte| format!("{byte:02X}")).collect();
    assert!(problem(&all).ends_with("the kernel calls it 28-00000a1b2c3d"), "{}", problem(&all));
    assert!(problem("283D2C1B0A0000FF").contains("checksum"));
    assert!(problem("\u{e9}83D2C1B0A0000F").contains("is not the id"), "no panic within a character");
}
