//! `fieldgate scan`: what this board has, and a configuration for it to paste.
//!
//! Everything is looked at and nothing is changed: see [`fieldgate_bus::survey`] and [`fieldgate_drivers::likely`]. What cannot
//! be looked at, or is switched off, is reported with its remedy.

mod yaml;

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value as Json, json};

use crate::cli;
use fieldgate_bus::survey::{self, Adapter, GpioChip, KernelDevice, Node, Survey};
use fieldgate_bus::{self as bus, BusSpec, header};
use fieldgate_drivers::likely::{self, Likely};
use fieldgate_drivers::{self as drivers, DriverError};
use fieldgate_model::describe_error;

/// How the result is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For people.
    Text,
    /// For programs.
    Json,
    /// A configuration.
    Yaml,
}

/// What a scan found.
struct Found {
    survey: Survey,
    /// For each adapter of the survey, who is at the addresses that answered; a bound one has no likely chips.
    chips: Vec<Vec<(u8, Who)>>,
}

enum Who {
    Bound(String),
    Likely(Likely),
}

/// Looks at this board and prints what it has.
pub fn run(form: Form) -> ExitCode {
    let found = match look() {
        Ok(found) => found,
        Err(error) => return cli::fail(&describe_error(&error)),
    };
    let text = match form {
        Form::Text => text(&found),
        Form::Json => format!("{:#}\n", as_json(&found)),
        Form::Yaml => yaml::configuration(&found),
    };
    cli::put(&text, ExitCode::SUCCESS)
}

fn look() -> Result<Found, DriverError> {
    let files = bus::open(&bus::Settings::Host, None, drivers::chip)?.files()?;
    let survey = survey::take(files.as_ref());
    let chips = survey.i2c.iter().map(chips).collect();
    Ok(Found { survey, chips })
}

/// Who is at the addresses of an adapter that answered.
fn chips(adapter: &Adapter) -> Vec<(u8, Who)> {
    let Ok(taken) = &adapter.taken else { return Vec::new() };
    let settings = bus::i2c::at(&adapter.device);
    let mut i2c = bus::open(&settings, None, drivers::chip).and_then(|mut bus| bus.i2c()).ok();
    let mut who = |answer: &survey::TakenAddress| match (&answer.bound, &mut i2c) {
        (Some(driver), _) => Some((answer.address, Who::Bound(driver.clone()))),
        (None, Some(i2c)) => Some((answer.address, Who::Likely(likely::at(i2c, answer.address)))),
        // It was there a moment ago and has been unplugged.
        (None, None) => None,
    };
    taken.iter().filter_map(&mut who).collect()
}

fn text(found: &Found) -> String {
    let survey = &found.survey;
    let mut out = String::new();
    if let Some(model) = &survey.model {
        line(&mut out, model);
    }
    section(
        &mut out,
        "I2C",
        i2c(found),
        &format!("none; {}; elsewhere try modprobe {}", switch_on(&bus::i2c::SPEC), bus::i2c::SPEC.module),
    );
    section(&mut out, "GPIO", gpio(survey), "this machine shows no GPIO chip");
    let none = if survey.one_wire_master {
        "nothing on the wire; check the wiring and its pull-up resistor of 4.7 kΩ".to_owned()
    } else {
        format!("switched off; {}, which makes GPIO4 a 1-Wire bus", switch_on(&bus::w1::SPEC))
    };
    section(&mut out, "1-WIRE", survey.one_wire.clone(), &none);
    section(
        &mut out,
        "IIO",
        survey.iio.iter().map(kernel_device).collect(),
        "no driver of the kernel shows sensors here",
    );
    section(
        &mut out,
        "HWMON",
        survey.hwmon.iter().map(kernel_device).collect(),
        "no driver of the kernel shows sensors here",
    );
    section(&mut out, "SPI", nodes(&survey.spi, "spi"), &format!("switched off; {}", switch_on(&bus::spi::SPEC)));
    section(&mut out, "SERIAL", nodes(&survey.serial, "dialout"), &format!("none; {}", switch_on(&bus::uart::SPEC)));
    let pwm = survey.pwm.iter().map(|(number, channels)| format!("chip {number}  {channels} channels")).collect();
    section(&mut out, "PWM", pwm, &format!("switched off; {}", switch_on(&bus::pwm::SPEC)));
    out
}

/// How this kind of bus is switched on.
fn switch_on(spec: &BusSpec) -> String {
    format!("on a Raspberry Pi write {} into config.txt and restart", spec.switched_on_by)
}

fn line(out: &mut String, text: &str) {
    writeln!(out, "{text}").expect("a String takes all");
}

/// A heading with its lines, or with why there are none.
fn section(out: &mut String, title: &str, lines: Vec<String>, none: &str) {
    if lines.is_empty() {
        return line(out, &format!("{title:<8}{none}"));
    }
    for (index, text) in lines.iter().enumerate() {
        line(out, &format!("{:<8}{text}", if index == 0 { title } else { "" }));
    }
}

fn i2c(found: &Found) -> Vec<String> {
    let mut lines = Vec::new();
    for (adapter, chips) in found.survey.i2c.iter().zip(&found.chips) {
        let state = match (&adapter.taken, adapter.left_alone) {
            (_, Some(why)) => format!("  left alone: {why}"),
            (Err(error), _) => format!("  {}", describe_error(error)),
            (Ok(_), None) if chips.is_empty() => "  nobody answers".to_owned(),
            (Ok(_), None) => String::new(),
        };
        lines.push(format!("{}  {}{state}", adapter.device.display(), adapter.name));
        lines.extend(chips.iter().map(|(address, who)| format!("  {address:#04x}  {}", describe(who))));
    }
    lines
}

fn describe(who: &Who) -> String {
    match who {
        Who::Bound(driver) => format!("in use by the kernel's driver {driver}; linux-hwmon or linux-iio may read it"),
        Who::Likely(Likely::Confirmed(spec)) => format!("{}, as it says itself", spec.name),
        Who::Likely(Likely::Possible { drivers, others }) => {
            let all: Vec<_> = drivers.iter().map(|spec| spec.name).chain(others.iter().copied()).collect();
            if all.is_empty() { "unknown".into() } else { format!("perhaps {}", all.join(", ")) }
        }
    }
}

fn gpio(survey: &Survey) -> Vec<String> {
    let chips = match &survey.gpio {
        Ok(chips) => chips,
        Err(error) => return vec![describe_error(error)],
    };
    let mut lines = Vec::new();
    for chip in chips {
        lines.push(format!("{}  {}  {} lines", chip.path.display(), chip.label, chip.lines.len()));
        let used =
            chip.lines.iter().enumerate().filter_map(|(number, line)| Some((number, line, line.holder.as_ref()?)));
        lines.extend(used.map(|(number, line, holder)| {
            let name = if line.name.is_empty() { "without a name" } else { &line.name };
            format!("  {number:<3} {name}  in use by {holder}")
        }));
        let free = chip.lines.iter().enumerate().filter(|(_, line)| line.holder.is_none());
        lines.extend(free.filter_map(|(number, line)| {
            let (pin, device) = pin(survey, chip, number, &line.name)?;
            Some(format!("  {number:<3} {}  {pin} of {}, so no line for anything else", line.name, device.display()))
        }));
    }
    lines
}

/// Which pin of which bus of this board a line is, if it is one.
fn pin<'s>(survey: &'s Survey, chip: &GpioChip, number: usize, name: &str) -> Option<(&'static str, &'s Path)> {
    let line = match header::number(name) {
        Some(line) => line,
        None if header::is_header(&chip.label) => u32::try_from(number).ok()?,
        None => return None,
    };
    let buses = survey.i2c.iter().map(|adapter| &adapter.device);
    let nodes = survey.spi.iter().chain(&survey.serial).map(|node| &node.path);
    buses.chain(nodes).find_map(|device| Some((header::pin_of(line, device)?, device.as_path())))
}

fn kernel_device(device: &KernelDevice) -> String {
    format!("{}  {}", device.name, device.attributes.join(" "))
}

fn nodes(nodes: &[Node], group: &str) -> Vec<String> {
    let describe = |node: &Node| {
        let path = node.path.display();
        if node.allowed {
            path.to_string()
        } else {
            format!("{path}  not for this user, who must be in the group {group}")
        }
    };
    nodes.iter().map(describe).collect()
}

fn as_json(found: &Found) -> Json {
    let survey = &found.survey;
    let adapters = survey.i2c.iter().zip(&found.chips).map(|(adapter, chips)| {
        json!({
            "device": path(&adapter.device),
            "name": adapter.name,
            "left_alone": adapter.left_alone,
            "error": adapter.taken.as_ref().err().map(|error| describe_error(error)),
            "chips": chips.iter().map(|(address, who)| chip_json(*address, who)).collect::<Vec<_>>(),
        })
    });
    let gpio = survey.gpio.as_ref().map(|chips| chips.iter().map(gpio_json).collect::<Vec<_>>()).unwrap_or_default();
    let kernel = |all: &[KernelDevice]| {
        all.iter().map(|device| json!({ "name": device.name, "attributes": device.attributes })).collect::<Vec<_>>()
    };
    let nodes = |all: &[Node]| {
        all.iter().map(|node| json!({ "path": path(&node.path), "allowed": node.allowed })).collect::<Vec<_>>()
    };
    json!({
        "model": survey.model,
        "i2c": adapters.collect::<Vec<_>>(),
        "gpio": gpio,
        "gpio_error": survey.gpio.as_ref().err().map(|error| describe_error(error)),
        "one_wire_master": survey.one_wire_master,
        "one_wire": survey.one_wire,
        "iio": kernel(&survey.iio),
        "hwmon": kernel(&survey.hwmon),
        "spi": nodes(&survey.spi),
        "serial": nodes(&survey.serial),
        "pwm": survey.pwm.iter().map(|(chip, channels)| json!({ "chip": chip, "channels": channels })).collect::<Vec<_>>(),
    })
}

fn path(path: &Path) -> Json {
    json!(path.display().to_string())
}

fn chip_json(address: u8, who: &Who) -> Json {
    let (bound, confirmed, possible, others) = match who {
        Who::Bound(driver) => (Some(driver), None, Vec::new(), Vec::new()),
        Who::Likely(Likely::Confirmed(spec)) => (None, Some(spec.name), Vec::new(), Vec::new()),
        Who::Likely(Likely::Possible { drivers, others }) => {
            (None, None, drivers.iter().map(|spec| spec.name).collect(), others.clone())
        }
    };
    json!({ "address": format!("{address:#04x}"), "kernel_driver": bound, "driver": confirmed, "possible": possible, "others": others })
}

fn gpio_json(chip: &GpioChip) -> Json {
    let lines = chip.lines.iter().map(|line| json!({ "name": line.name, "holder": line.holder })).collect::<Vec<_>>();
    json!({ "path": path(&chip.path), "label": chip.label, "lines": lines })
}

#[cfg(test)]
mod tests {
    use super::*;
    use fieldgate_bus::BusError;
    use fieldgate_bus::survey::{GpioLine, TakenAddress};
    use fieldgate_drivers as drivers;

    fn adapter(device: &str, taken: Result<Vec<TakenAddress>, BusError>, left_alone: Option<&'static str>) -> Adapter {
        Adapter { device: device.into(), name: "bcm2835".into(), taken, left_alone }
    }

    /// A board with something of everything.
    pub(super) fn board() -> Found {
        let answer = |address, bound: Option<&str>| TakenAddress { address, bound: bound.map(str::to_owned) };
        let denied = BusError::Open {
            what: "i2c bus /dev/i2c-3".into(),
            hint: "the user that runs this must be in the group i2c".into(),
            source: std::io::ErrorKind::PermissionDenied.into(),
        };
        let find = |name| drivers::find(name).unwrap();
        let thermometers = Likely::Possible { drivers: vec![find("tmp102"), find("lm75")], others: Vec::new() };
        let taken = vec![answer(0x48, None), answer(0x51, None), answer(0x68, Some("rtc-ds1307")), answer(0x76, None)];
        let chips = vec![
            (0x48, Who::Likely(thermometers)),
            (0x51, Who::Likely(Likely::Possible { drivers: Vec::new(), others: vec!["a memory: 24Cxx"] })),
            (0x68, Who::Bound("rtc-ds1307".into())),
            (0x76, Who::Likely(Likely::Confirmed(find("bme280")))),
        ];
        let line = |name: &str, holder: Option<&str>| GpioLine { name: name.into(), holder: holder.map(str::to_owned) };
        let device = |name: &str, attributes: &[&str]| KernelDevice {
            name: name.into(),
            attributes: attributes.iter().map(|file| (*file).to_owned()).collect(),
        };
        let survey = Survey {
            model: Some("Raspberry Pi 4 Model B Rev 1.4".into()),
            i2c: vec![
                adapter("/dev/i2c-1", Ok(taken), None),
                adapter("/dev/i2c-3", Err(denied), None),
                adapter("/dev/i2c-20", Ok(Vec::new()), Some("it leads to a display")),
            ],
            gpio: Ok(vec![GpioChip {
                path: "/dev/gpiochip0".into(),
                label: "pinctrl-bcm2711".into(),
                lines: vec![
                    line("ID_SDA", None),
                    line("ID_SCL", None),
                    line("SDA1", None),
                    line("GPIO17", Some("gpioset")),
                ],
            }]),
            one_wire_master: true,
            one_wire: vec!["28-0316a2794bff".into()],
            iio: vec![device("dht11@4", &["in_humidityrelative_input", "in_temp_input"])],
            hwmon: vec![device("cpu_thermal", &["temp1_input"]), device("lm75", &["temp1_input"])],
            spi: vec![Node { path: "/dev/spidev0.0".into(), allowed: false }],
            serial: Vec::new(),
            pwm: vec![(0, "4".into())],
        };
        Found { survey, chips: vec![chips, Vec::new(), Vec::new()] }
    }

    #[test]
    fn everything_is_shown_and_what_is_missing_has_its_remedy() {
        let expected = "\
Raspberry Pi 4 Model B Rev 1.4
I2C     /dev/i2c-1  bcm2835
          0x48  perhaps tmp102, lm75
          0x51  perhaps a memory: 24Cxx
          0x68  in use by the kernel's driver rtc-ds1307; linux-hwmon or linux-iio may read it
          0x76  bme280, as it says itself
        /dev/i2c-3  bcm2835  cannot open i2c bus /dev/i2c-3 (the user that runs this must be in the group i2c): permission denied
        /dev/i2c-20  bcm2835  left alone: it leads to a display
GPIO    /dev/gpiochip0  pinctrl-bcm2711  4 lines
          3   GPIO17  in use by gpioset
          2   SDA1  SDA of /dev/i2c-1, so no line for anything else
1-WIRE  28-0316a2794bff
IIO     dht11@4  in_humidityrelative_input in_temp_input
HWMON   cpu_thermal  temp1_input
        lm75  temp1_input
SPI     /dev/spidev0.0  not for this user, who must be in the group spi
SERIAL  none; on a Raspberry Pi write enable_uart=1 into config.txt and restart
PWM     chip 0  4 channels
";
        assert_eq!(text(&board()), expected);
    }

    #[test]
    fn a_program_gets_the_same() {
        let json = as_json(&board());
        assert_eq!(json["i2c"][0]["chips"][3]["driver"], "bme280");
        assert_eq!(json["i2c"][0]["chips"][0]["possible"], json!(["tmp102", "lm75"]));
        assert_eq!(json["i2c"][0]["chips"][2]["kernel_driver"], "rtc-ds1307");
        assert_eq!(json["gpio"][0]["lines"][3]["holder"], "gpioset");
        assert!(json["i2c"][1]["error"].as_str().unwrap().contains("group i2c"));
    }
}
