//! The board: buses, groups, overlays, what the kernel holds, its release, the supply and the clock.

use std::fs;
use std::os::unix::fs::symlink;

use fieldgate::cli::doctor::check::Verdict;

use super::bench::{Bench, verdict};

const I2C: &str = "  wire: { type: i2c, device: /dev/i2c-1 }";
const AIR: &str = "  air: { driver: bme280, bus: wire, every: 10s, settings: { address: 0x76 } }";

/// A board with an adapter and a sensor on it.
fn bench() -> Bench {
    let bench = Bench::new().with_sensor(I2C, AIR);
    bench.device("dev/i2c-1", 0o660);
    bench.file("sys/class/i2c-dev/i2c-1/name", "bcm2835\n");
    bench
}

#[test]
fn nothing_is_wrong_with_a_sound_board() {
    let report = bench().examine();
    assert!(report.is_good(), "{}", report.text());
    let text = report.text();
    for words in ["Raspberry Pi 4", "Linux 6.6.31", "/dev/i2c-1", "active, process 4711", "nothing wrong was found"] {
        assert!(text.contains(words), "{words:?} is not in\n{text}");
    }
    assert!(matches!(verdict(&report, "broker-publish"), Verdict::Good(_)), "{text}");
    assert_eq!(report.json()["good"], true);
}

#[test]
fn a_bus_that_is_switched_off_is_named_with_the_line_for_config_txt() {
    let bench = Bench::new().with_sensor(I2C, AIR);
    let report = bench.finds("bus-off", "/dev/i2c-1, which bus wire needs, is not there");
    let remedy = "echo 'dtparam=i2c_arm=on' | sudo tee -a /boot/firmware/config.txt && sudo reboot";
    assert_eq!(report.findings().next().unwrap().remedy, remedy);
}

#[test]
fn a_bus_that_is_switched_on_counts_from_the_next_start() {
    let bench = Bench::new().with_sensor(I2C, AIR);
    bench.file("boot/firmware/config.txt", "dtparam=audio=on,i2c_arm=on\n");
    bench.finds("bus-restart", "has dtparam=i2c_arm=on");
}

#[test]
fn a_module_that_is_not_loaded_is_not_taken_for_a_bus_that_is_off() {
    let bench = Bench::new().with_sensor(I2C, AIR);
    bench.file("sys/bus/i2c/devices/i2c-1/name", "bcm2835\n");
    bench.finds("bus-module", "i2c-dev is not loaded");
}

#[test]
fn a_one_wire_overlay_that_is_off_is_named() {
    let bench = Bench::new().with_sensor(
        "  wire: { type: w1 }",
        "  water: { driver: ds18b20, bus: wire, every: 10s, settings: { id: 28-0316a2794bff } }",
    );
    let report = bench.finds("bus-off", "which bus wire needs");
    assert!(report.findings().next().unwrap().remedy.contains("dtoverlay=w1-gpio"));
}

#[test]
fn a_group_that_the_service_is_not_in_is_named() {
    let bench = bench();
    bench.unit(&[("SupplementaryGroups", "")]);
    let report = bench.finds("group-missing", "/dev/i2c-1 of bus wire is for the group i2c");
    assert!(report.findings().next().unwrap().remedy.starts_with("sudo usermod -aG i2c fieldgate"));
}

#[test]
fn a_device_of_root_alone_needs_the_rule_of_udev() {
    let bench = bench();
    bench.device("dev/i2c-1", 0o600);
    bench.finds("device-of-root", "mode 600");
}

#[test]
fn a_group_of_the_unit_that_does_not_exist_comes_before_the_service_that_does_not_start() {
    let bench = bench();
    bench.unit(&[("SupplementaryGroups", "i2c spi"), ("ActiveState", "failed"), ("ExecMainStatus", "216")]);
    let report = bench.finds("group-absent", "there is no group spi");
    assert!(report.findings().any(|finding| finding.cause == "unit-failed" && finding.what.contains("groups")));
}

#[test]
fn a_user_that_does_not_exist_is_named() {
    let bench = bench();
    bench.unit(&[("User", "nobody-of-this-name"), ("Group", "fieldgate")]);
    bench.finds("user-absent", "there is no user nobody-of-this-name");
}

#[test]
fn an_address_that_the_kernel_has_taken_is_named_with_its_driver() {
    let bench = bench();
    let driver = bench.root().join("sys/bus/i2c/drivers/bmp280");
    fs::create_dir_all(&driver).unwrap();
    symlink("../../../../devices/1-0076", driver.join("1-0076")).unwrap();
    let report =
        bench.finds("address-bound", "0x76 on /dev/i2c-1, the address of air, is taken by the kernel's driver bmp280");
    assert_eq!(report.findings().next().unwrap().remedy, "echo 1-0076 | sudo tee /sys/bus/i2c/drivers/bmp280/unbind");
}

#[test]
fn a_serial_port_with_a_login_prompt_is_named() {
    let bench = Bench::new()
        .with_sensor("  port: { type: uart, device: /dev/ttyAMA1 }", "  tide: { driver: waveform, every: 1s }");
    bench.device("dev/ttyAMA1", 0o660);
    let unit = bench.root().join("run/systemd/units");
    fs::create_dir_all(&unit).unwrap();
    symlink("0123", unit.join("invocation:serial-getty@ttyAMA1.service")).unwrap();
    bench.finds("port-in-use", "/dev/ttyAMA1 of bus port is used by the system");
}

#[test]
fn a_supply_that_was_too_low_is_reported() {
    let bench = bench();
    bench.file("sys/class/hwmon/hwmon1/name", "rpi_volt\n");
    bench.file("sys/class/hwmon/hwmon1/in0_lcrit_alarm", "1\n");
    bench.finds("under-voltage", "supply");
}

#[test]
fn a_kernel_without_the_interface_for_lines_is_reported() {
    let bench = bench();
    bench.file("proc/sys/kernel/osrelease", "4.19.118-v7l+\n");
    bench.finds("kernel-too-old", "Linux 4.19.118");
}

#[test]
fn a_clock_that_nobody_has_set_is_reported() {
    let bench = bench();
    fs::remove_file(bench.root().join("run/systemd/timesync/synchronized")).unwrap();
    bench.finds("clock-unset", "nobody has set the clock");
}
