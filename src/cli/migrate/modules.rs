//! The modules of mqtt-io 2.7 with the keys that no other has, one line each, and what becomes of them.

use super::table::{Fate, Key, Module, carried, left};
use Fate::{Carried, Left};

const BY_HAND: &str =
    "its pins have other names here: `gpioinfo` lists the lines of the board, which a bus of type gpio drives";
const BY_KERNEL: &str = "no driver here; where the kernel has one, a sensor with driver: linux-iio reads it";
const NONE: &str = "no driver here";

const I2C_BUS: Key = carried("i2c_bus_num", "the bus /dev/i2c-N; 1 where mqtt-io takes what the board calls its own");
const ADDRESS: Key = carried("chip_addr", "`address`");

const fn module(name: &'static str, fate: Fate, keys: &'static [Key], each: &'static [Key]) -> Module {
    Module { name, fate, keys, each }
}

/// `module` of `gpio_modules`.
pub static GPIO: &[Module] = &[
    module("raspberrypi", Carried("`type: gpio`; pin 17 is the line GPIO17"), &[], &[]),
    module("gpiod", Carried("`type: gpio`; a pin is the number of its line"), &[carried("chip", "`chip`")], &[]),
    module(
        "gpiozero",
        Carried("`type: gpio`; a Button is active at a low level, as mqtt-io has it"),
        &[],
        &[
            carried("class", "Button, DigitalInputDevice, LED, OutputDevice and DigitalOutputDevice; no other"),
            left("kwargs", "it is Python; write the settings of the line by hand"),
        ],
    ),
    module(
        "pcf8574",
        Carried("`type: pcf8574` or `pcf8574a`; mqtt-io counts its pins from the other end, so pin 0 is P7"),
        &[I2C_BUS, ADDRESS],
        &[],
    ),
    module("mcp23017", Carried("`type: mcp23017`; pin 0 is GPA0, pin 8 is GPB0"), &[ADDRESS], &[]),
    module("mock", Carried("`type: sim`"), &[left("test", "it means nothing")], &[left("test", "it means nothing")]),
    module(
        "pcf8575",
        Left("no such bus here; where the kernel drives it (dtoverlay=pcf857x), it is a bus of type gpio"),
        &[left("i2c_bus_num", "as its module"), left("chip_addr", "as its module")],
        &[],
    ),
    module(
        "xl9535",
        Left("no such bus here; where the kernel drives it, it is a bus of type gpio"),
        &[left("i2c_bus_num", "as its module"), left("chip_addr", "as its module")],
        &[],
    ),
    module(
        "dockerpi",
        Left("no driver for its registers here"),
        &[left("i2c_bus_num", "as its module"), left("dev_addr", "as its module")],
        &[],
    ),
    module("orangepi", Left(BY_HAND), &[left("mode", "lines have one numbering here, the kernel's")], &[]),
    module("beaglebone", Left(BY_HAND), &[], &[]),
    module("sunxi", Left(BY_HAND), &[], &[]),
    module("piface2", Left("its MCP23S17 is on SPI, for which there is no bus of lines here"), &[], &[]),
    module("stdio", Left("it moves nothing; a bus of type sim shows its lines in a file"), &[], &[]),
];

/// `module` of `sensor_modules`.
pub static SENSOR: &[Module] = &[
    module(
        "ads1x15",
        Carried("`ads1115` or `ads1015`"),
        &[
            ADDRESS,
            carried("type", "`driver`"),
            carried("pins", "`channels`: those that have a sensor input"),
            carried("gain", "`range`"),
        ],
        &[
            carried("type", "the voltage; the bare number of the converter is not published"),
            carried("pin", "`voltage_0` … `voltage_3`"),
        ],
    ),
    module(
        "adxl345",
        Carried("`adxl345`"),
        &[ADDRESS, left("output_g", "acceleration is in m/s²; 1 g is 9.80665 m/s²")],
        &[carried("type", "`acceleration_x`, `_y`, `_z`; not all, which fails in mqtt-io")],
    ),
    module("aht20", Carried("`aht20`"), &[], &[carried("type", "`temperature`, `humidity`")]),
    module("as3935", Left(NONE), AS3935, &[left("type", "as its module")]),
    module("bh1750", Carried("`bh1750`, illuminance"), &[I2C_BUS, ADDRESS], &[]),
    module(
        "bme280",
        Carried("`bme280`"),
        &[I2C_BUS, ADDRESS],
        &[carried("type", "`temperature`, `humidity`, `pressure`")],
    ),
    module(
        "bme680",
        Carried("`bme680` with `gas: false`"),
        &[I2C_BUS, ADDRESS],
        &[
            carried("type", "`temperature`, `humidity`, `pressure`"),
            carried("oversampling", "`oversampling`, one for all; the greatest of its inputs"),
        ],
    ),
    module("bmp085", Left(BY_KERNEL), &[left("chip_addr", "as its module")], &[left("type", "as its module")]),
    module(
        "dht22",
        Carried("`dht22` or `dht11`, which the kernel reads"),
        &[carried("pin", "dtoverlay=dht11,gpiopin=N in config.txt"), carried("type", "`driver`")],
        &[carried("type", "`temperature`, `humidity`")],
    ),
    module(
        "ds18b",
        Carried("`ds18b20` on a bus of type w1"),
        &[
            carried("address", "`id`, with the family in front"),
            carried("type", "the family in `id`: DS18B20, DS18S20, DS1822; no other"),
        ],
        &[],
    ),
    module(
        "ens160",
        Left(NONE),
        &[
            left("chip_addr", "as its module"),
            left("temperature_compensation", "as its module"),
            left("humidity_compensation", "as its module"),
        ],
        &[left("type", "as its module")],
    ),
    module(
        "flowsensor",
        Carried("`pulse-counter`, L/min and besides the litres in all"),
        &[],
        &[carried("pin", "`line`"), carried("factor", "`pulses_per_unit`, 60 times as many to the litre")],
    ),
    module(
        "frequencycounter",
        Carried("`pulse-counter`, pulses per second and in all"),
        &[],
        &[carried("pin", "`line`")],
    ),
    module(
        "hcsr04",
        Left("no driver here: its echo must be timed by the microsecond; a VL53L0X measures up to 2 m"),
        &[],
        &[left("pin_echo", "as its module"), left("pin_trigger", "as its module"), left("burst", "as its module")],
    ),
    module(
        "ina219",
        Carried("`ina219`"),
        INA219,
        &[carried("type", "`power`, `current`, `voltage`; not shunt_voltage")],
    ),
    module("lm75", Carried("`lm75`"), &[I2C_BUS, ADDRESS], &[]),
    module(
        "mcp3008",
        Carried("`mcp3008`, volts where mqtt-io has 0 to 1023"),
        &[
            carried("spi_port", "the bus /dev/spidevN.M"),
            carried("spi_device", "the bus /dev/spidevN.M"),
            left("chip_addr", "the chip has no address: the chip select says which it is"),
        ],
        &[carried("channel", "`voltage_0` … `voltage_7`")],
    ),
    module(
        "mcp3xxx",
        Carried("`mcp3008` or `mcp3004`, volts where mqtt-io has 0 to 1"),
        &[
            carried("spi_port", "the bus /dev/spidevN.M"),
            carried("spi_device", "the bus /dev/spidevN.M"),
            carried("type", "`driver`: MCP3008, MCP3004; no other"),
            carried("channel", "`voltage_0` … `voltage_7`"),
            left("differential", "inputs are measured against ground"),
            carried("max_voltage", "`reference`"),
        ],
        &[],
    ),
    module("mhz19", Carried("`mh-z19`"), &[carried("device", "a bus of type uart"), carried("range", "`range`")], &[]),
    module("mock", Carried("`waveform`, constantly 1"), &[left("test", "it means nothing")], &[]),
    module(
        "pms5003",
        Carried("`pms5003`, which is never put to sleep"),
        &[carried("serial_port", "a bus of type uart")],
        &[carried("type", "`pm1_0`, `pm2_5`, `pm10`, `particles_0_3` … `particles_10`; `concentration`")],
    ),
    module("sht4x", Carried("`sht4x`"), &[ADDRESS], &[carried("type", "`temperature`, `humidity`")]),
    module(
        "tsl2561",
        Left(BY_KERNEL),
        &[left("chip_addr", "as its module"), left("integration_time", "as its module"), left("gain", "as its module")],
        &[left("type", "as its module")],
    ),
    module(
        "veml6075",
        Left(BY_KERNEL),
        &[left("i2c_bus_num", "as its module")],
        &[
            left("a", "as its module"),
            left("b", "as its module"),
            left("c", "as its module"),
            left("d", "as its module"),
            left("UVAresp", "as its module"),
            left("UVBresp", "as its module"),
        ],
    ),
    module(
        "veml7700",
        Carried("`veml7700`, illuminance"),
        &[
            left("chip_addr", "the chip has one address"),
            left("integration_time", "it follows the light"),
            left("gain", "it follows the light"),
        ],
        &[carried("type", "the illuminance; not light, the bare number")],
    ),
];

static AS3935: &[Key] = &[
    left("pin", "as its module"),
    left("lightning_threshold", "as its module"),
    left("watchdog_threshold", "as its module"),
    left("spike_rejection", "as its module"),
    left("noise_level", "as its module"),
    left("mask_disturber", "as its module"),
    left("auto_filter", "as its module"),
    left("indoor", "as its module"),
    left("division_ratio", "as its module"),
    left("tune_cap", "as its module"),
];

static INA219: &[Key] = &[
    ADDRESS,
    I2C_BUS,
    carried("shunt_ohms", "`shunt`"),
    left("max_amps", "the largest current follows from shunt and shunt_range"),
    carried("voltage_range", "`bus_range`"),
    carried("gain", "`shunt_range`; 320 where mqtt-io chooses"),
    left("low_power", "the chip measures all the time"),
];

/// `module` of `stream_modules`.
pub static STREAM: &[Module] = &[
    module(
        "serial",
        Left("there are no streams of raw bytes; let mqtt-io go on with these alone"),
        &[
            left("device", "as its module"),
            left("baud", "as its module"),
            left("timeout", "as its module"),
            left("bytesize", "as its module"),
            left("parity", "as its module"),
            left("stopbits", "as its module"),
        ],
        &[],
    ),
    module("pn532", Left("no driver for cards here"), &[left("device", "as its module")], &[]),
];

/// The modules of this section of the file.
pub fn of(section: &str) -> &'static [Module] {
    match section {
        "gpio_modules" => GPIO,
        "sensor_modules" => SENSOR,
        _ => STREAM,
    }
}

/// The module called `name` there.
pub fn find(section: &str, name: &str) -> Option<&'static Module> {
    of(section).iter().find(|module| module.name == name)
}
