//! What each module of sensors becomes: driver, bus and settings, and which measurement an input means.

use super::gpio::Pins;
use super::read::Section;
use super::state::Migration;
use super::write::quoted;

/// An entry of `sensor_inputs`.
pub(super) struct Input<'a> {
    pub(super) section: Section<'a>,
    pub(super) name: &'a str,
    pub(super) module: &'a str,
}

/// A chip as a sensor.
#[derive(Debug, Default)]
pub(super) struct Chip {
    pub(super) driver: &'static str,
    pub(super) bus: Option<String>,
    pub(super) settings: Vec<(&'static str, String)>,
    pub(super) comments: Vec<String>,
    /// What is measured whatever the settings.
    pub(super) all: &'static [&'static str],
    /// How an input says what it means.
    by: By,
}

/// How an input says what it means.
#[derive(Clone, Copy, Debug, Default)]
enum By {
    /// There is one measurement.
    #[default]
    Only,
    /// By `type`, of which the first is meant where it is left out, with ours beside it.
    Type(&'static [(&'static str, &'static str)]),
    /// By the number of this key.
    Channel(&'static str),
    /// By the number of the module's own channel.
    Fixed(i64),
}

/// What an input means.
pub(super) enum Measured {
    As(String),
    Not(&'static str),
}

const AIR: &[(&str, &str)] = &[("temperature", "temperature"), ("humidity", "humidity"), ("pressure", "pressure")];
const DUST: &[(&str, &str)] = &[
    ("pm25_std", "pm2_5"),
    ("pm10_std", "pm1_0"),
    ("pm100_std", "pm10"),
    ("pm10_cf1", "pm1_0"),
    ("pm25_cf1", "pm2_5"),
    ("pm100_cf1", "pm10"),
    ("gr03um", "particles_0_3"),
    ("gr05um", "particles_0_5"),
    ("gr10um", "particles_1_0"),
    ("gr25um", "particles_2_5"),
    ("gr50um", "particles_5_0"),
    ("gr100um", "particles_10"),
];
const PARTICLES: &[&str] = &[
    "pm1_0",
    "pm2_5",
    "pm10",
    "particles_0_3",
    "particles_0_5",
    "particles_1_0",
    "particles_2_5",
    "particles_5_0",
    "particles_10",
];

impl<'a> Migration<'a> {
    /// The chip of an entry of `sensor_modules`.
    pub(super) fn chip(
        &mut self,
        section: &Section<'a>,
        module: &str,
        inputs: &[Input<'a>],
        several_dht: bool,
    ) -> Option<Chip> {
        match module {
            "bme280" | "bme680" | "bh1750" | "lm75" | "aht20" | "sht4x" | "veml7700" => {
                Some(self.simple(section, module, inputs))
            }
            "ads1x15" => Some(self.ads1x15(section, inputs)),
            "adxl345" => Some(Chip {
                driver: "adxl345",
                settings: self.address(section),
                bus: Some(self.i2c(1)),
                all: &["acceleration_x", "acceleration_y", "acceleration_z"],
                by: By::Type(&[("x", "acceleration_x"), ("y", "acceleration_y"), ("z", "acceleration_z")]),
                ..Chip::default()
            }),
            "ina219" => Some(self.ina219(section)),
            "mcp3008" | "mcp3xxx" => self.mcp(section, module, inputs),
            "mhz19" | "pms5003" => self.serial(section, module, inputs),
            "dht22" => self.dht(section, several_dht),
            "ds18b" => self.ds18b(section, inputs),
            _ => None,
        }
    }

    /// What is not a chip of a module but of an input.
    pub(super) fn single(&mut self, input: &Input<'a>, module: &str) -> Option<Chip> {
        if module == "mock" {
            let settings = vec![("shape", "constant".to_owned()), ("offset", "1".to_owned())];
            return Some(Chip { driver: "waveform", settings, ..Chip::default() });
        }
        let line = self.line_of_key(&input.section)?;
        let mut settings = vec![("line", line), ("bias", "pull-down".to_owned())];
        if module == "flowsensor" {
            self.reader.required(&input.section, "factor")?;
            let factor = self.reader.number(&input.section, "factor")?;
            settings.push(("pulses_per_unit", number(factor * 60.0)));
            settings.extend([("unit", "L".to_owned()), ("per", "min".to_owned())]);
        }
        let bus = Some(self.header("header"));
        let by = By::Type(&[("", "rate")]);
        Some(Chip { driver: "pulse-counter", bus, settings, by, ..Chip::default() })
    }

    fn line_of_key(&mut self, section: &Section<'a>) -> Option<String> {
        self.line_of(section, Pins::Header)
    }

    /// Which measurement an input means.
    pub(super) fn measured(&mut self, chip: &Chip, input: &Input<'a>) -> Measured {
        let section = &input.section;
        match chip.by {
            By::Only => Measured::As(chip.all.first().copied().unwrap_or("value").to_owned()),
            By::Fixed(channel) => Measured::As(format!("voltage_{channel}")),
            By::Channel(key) => match self.reader.integer(section, key, 0, 7) {
                Some(channel) => Measured::As(format!("voltage_{channel}")),
                None => Measured::As("voltage_0".to_owned()),
            },
            By::Type(types) => {
                let first = types.first().map_or("", |(first, _)| *first);
                let wanted = if first.is_empty() { "" } else { self.reader.text(section, "type").unwrap_or(first) };
                match types.iter().find(|(name, _)| *name == wanted) {
                    Some((_, ours)) => Measured::As((*ours).to_owned()),
                    None => Measured::Not("the driver here does not publish what its type names"),
                }
            }
        }
    }

    fn address(&mut self, section: &Section<'a>) -> Vec<(&'static str, String)> {
        let address = self.reader.integer(section, "chip_addr", 0, 127);
        address.map(|address| ("address", format!("{address:#04x}"))).into_iter().collect()
    }

    /// Chips on I²C with an address and nothing else.
    fn simple(&mut self, section: &Section<'a>, module: &str, inputs: &[Input<'a>]) -> Chip {
        let bus = Some(self.i2c_of(section));
        let mut settings = if module == "veml7700" { Vec::new() } else { self.address(section) };
        let (driver, all, by): (_, &'static [&'static str], _) = match module {
            "bme280" => ("bme280", &["temperature", "humidity", "pressure"], By::Type(AIR)),
            "bme680" => ("bme680", &["temperature", "humidity", "pressure"], By::Type(AIR)),
            "aht20" => ("aht20", &["temperature", "humidity"], By::Type(&AIR[..2])),
            "sht4x" => ("sht4x", &["temperature", "humidity"], By::Type(&AIR[..2])),
            "lm75" => ("lm75", &["temperature"], By::Only),
            "bh1750" => ("bh1750", &["illuminance"], By::Only),
            _ => {
                let types = &[("lux_corrected", "illuminance"), ("lux", "illuminance")];
                ("veml7700", &["illuminance"], By::Type(types))
            }
        };
        if module == "bme680" {
            let asked = inputs.iter().filter_map(|input| {
                let text = self.reader.text(&input.section, "oversampling")?;
                text.strip_suffix('x')?.parse::<u32>().ok()
            });
            settings.extend(asked.max().map(|most| ("oversampling", most.to_string())));
            settings.push(("gas", "false".to_owned()));
        }
        Chip { driver, bus, settings, all, by, ..Chip::default() }
    }

    fn channels(&mut self, inputs: &[Input<'a>], key: &str) -> String {
        let numbers = inputs.iter().map(|input| self.reader.integer(&input.section, key, 0, 7).unwrap_or(0));
        let mut numbers: Vec<_> = numbers.collect();
        numbers.sort_unstable();
        numbers.dedup();
        format!("{numbers:?}")
    }

    fn ads1x15(&mut self, section: &Section<'a>, inputs: &[Input<'a>]) -> Chip {
        let driver = if self.reader.required(section, "type") == Some("ADS1015") { "ads1015" } else { "ads1115" };
        let mut settings = self.address(section);
        settings.push(("channels", self.channels(inputs, "pin")));
        if let Some(gain) = self.reader.number(section, "gain") {
            let ranges =
                [(0.666, "6.144"), (1.0, "4.096"), (2.0, "2.048"), (4.0, "1.024"), (8.0, "0.512"), (16.0, "0.256")];
            match ranges.iter().find(|(known, _)| (gain - known).abs() < 0.01) {
                Some((_, range)) => settings.push(("range", (*range).to_owned())),
                None => self.reader.wrong(&section.span("gain"), "gain: the chip has no such gain", ""),
            }
        }
        let has_numbers =
            inputs.iter().any(|input| self.reader.text(&input.section, "type").is_none_or(|kind| kind == "value"));
        let words = "mqtt-io publishes the number of the converter (type: value); here it is the voltage";
        let comments = has_numbers.then(|| words.to_owned()).into_iter().collect();
        Chip { driver, bus: Some(self.i2c(1)), settings, comments, by: By::Channel("pin"), ..Chip::default() }
    }

    fn ina219(&mut self, section: &Section<'a>) -> Chip {
        self.reader.required(section, "chip_addr");
        let mut settings = self.address(section);
        settings.extend(self.reader.number(section, "shunt_ohms").map(|ohms| ("shunt", number(ohms))));
        let range = self.reader.text(section, "gain").map(str::to_ascii_uppercase);
        let range = match range.as_deref() {
            Some("1_40MV") => Some("40"),
            Some("2_80MV") => Some("80"),
            Some("4_160MV") => Some("160"),
            Some("8_320MV") => Some("320"),
            _ => None,
        };
        settings.extend(range.map(|range| ("shunt_range", range.to_owned())));
        let volts = self.reader.integer(section, "voltage_range", 16, 32);
        settings.extend(volts.map(|volts| ("bus_range", volts.to_string())));
        Chip {
            driver: "ina219",
            bus: Some(self.i2c_of(section)),
            settings,
            all: &["voltage", "current", "power"],
            by: By::Type(&[("power", "power"), ("current", "current"), ("bus_voltage", "voltage")]),
            ..Chip::default()
        }
    }

    fn mcp(&mut self, section: &Section<'a>, module: &str, inputs: &[Input<'a>]) -> Option<Chip> {
        let [port, device] =
            ["spi_port", "spi_device"].map(|key| self.reader.integer(section, key, 0, 255).unwrap_or(0));
        let (driver, channels, by, words) = if module == "mcp3008" {
            let words = "mqtt-io publishes 0 to 1023; here it is the voltage, with the supply of 3.3 V as reference";
            ("mcp3008", self.channels(inputs, "channel"), By::Channel("channel"), words)
        } else {
            let driver = match self.reader.required(section, "type")?.to_ascii_uppercase().as_str() {
                "MCP3008" => "mcp3008",
                "MCP3004" => "mcp3004",
                _ => {
                    let why = "a converter of this type has no driver here";
                    inputs.iter().for_each(|input| self.leave_entry("sensor_inputs", why, input.name));
                    return None;
                }
            };
            let channel = self.reader.integer(section, "channel", 0, 7).unwrap_or(0);
            let words = "mqtt-io publishes 0 to 1; here it is the voltage";
            (driver, format!("[{channel}]"), By::Fixed(channel), words)
        };
        let name = format!("spi-{port}-{device}");
        let keys = vec![("type", "spi".to_owned()), ("device", format!("/dev/spidev{port}.{device}"))];
        let bus = Some(self.bus(&name, keys));
        let mut settings = vec![("channels", channels)];
        settings.extend(self.reader.number(section, "max_voltage").map(|volts| ("reference", number(volts))));
        Some(Chip { driver, bus, settings, comments: vec![words.to_owned()], by, ..Chip::default() })
    }

    fn serial(&mut self, section: &Section<'a>, module: &str, inputs: &[Input<'a>]) -> Option<Chip> {
        let name = self.reader.text(section, "name").unwrap_or("serial").to_owned();
        let device = self.reader.required(section, if module == "mhz19" { "device" } else { "serial_port" })?;
        let bus = Some(self.bus(&name, vec![("type", "uart".to_owned()), ("device", quoted(device))]));
        if module == "mhz19" {
            let range = self.reader.integer(section, "range", 2000, 10_000).unwrap_or(5000);
            let settings = vec![("range", range.to_string())];
            return Some(Chip { driver: "mh-z19", bus, settings, all: &["co2"], ..Chip::default() });
        }
        let types: Vec<_> =
            inputs.iter().map(|input| self.reader.text(&input.section, "type").unwrap_or("pm25_std")).collect();
        let has = |end: &str| types.iter().any(|kind| kind.ends_with(end));
        let counts = types.iter().any(|kind| kind.starts_with("gr"));
        let mut chip = Chip { driver: "pms5003", bus, by: By::Type(DUST), ..Chip::default() };
        chip.all = if counts { PARTICLES } else { &PARTICLES[..3] };
        if has("_cf1") && !has("_std") {
            chip.settings.push(("concentration", "standard".to_owned()));
        } else if has("_cf1") {
            chip.comments.push("mqtt-io publishes both concentrations; here all are atmospheric (_std)".to_owned());
        }
        if counts {
            chip.settings.push(("counts", "true".to_owned()));
        }
        Some(chip)
    }

    fn dht(&mut self, section: &Section<'a>, several: bool) -> Option<Chip> {
        let kind = self.reader.required(section, "type")?.to_ascii_lowercase();
        self.reader.required(section, "pin")?;
        let pin = self.reader.integer(section, "pin", 0, 1023)?;
        let mut chip = Chip {
            driver: if kind == "dht11" { "dht11" } else { "dht22" },
            all: &["temperature", "humidity"],
            by: By::Type(&AIR[..2]),
            ..Chip::default()
        };
        chip.comments.push(format!("the kernel reads it: dtoverlay=dht11,gpiopin={pin} in config.txt"));
        if several {
            chip.comments.push("is this its name? `grep . /sys/bus/iio/devices/*/name` lists them".to_owned());
            chip.settings.push(("device", quoted(&format!("dht11@{pin:x}"))));
        }
        Some(chip)
    }

    fn ds18b(&mut self, section: &Section<'a>, inputs: &[Input<'a>]) -> Option<Chip> {
        let (kind, address) = (self.reader.required(section, "type")?, self.reader.required(section, "address")?);
        let family = match kind.to_ascii_uppercase().as_str() {
            "DS18B20" => "28",
            "DS18S20" => "10",
            "DS1822" => "22",
            _ => {
                let why = "a thermometer of this type has no driver here";
                inputs.iter().for_each(|input| self.leave_entry("sensor_inputs", why, input.name));
                return None;
            }
        };
        let settings = vec![("id", quoted(&format!("{family}-{}", address.to_ascii_lowercase())))];
        let bus = Some(self.bus("wire", vec![("type", "w1".to_owned())]));
        Some(Chip { driver: "ds18b20", bus, settings, all: &["temperature"], ..Chip::default() })
    }
}

/// A number as it is written, without the digits that only the machine sees.
fn number(value: f64) -> String {
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
