"""Chips for which the kernel has a driver of its own: what is in their registers, and what both drivers have to say of it.

The chips are memory (bench/modules/board-chips.c), so what is compared is how registers become measurements; what a chip
does by itself (conversions, ranges, warm-up) is the matter of the driver's own tests. The registers are written here as
numbers, not computed with our formulas.
"""
from dataclasses import dataclass, field


def crc8(data):
    """Sensirion's: polynomial 0x31, from 0xFF."""
    value = 0xFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value << 1 ^ 0x31 if value & 0x80 else value << 1) & 0xFF
    return value


def words(*values):
    """Words as Sensirion's chips send them, each with its checksum."""
    pairs = [value.to_bytes(2, "big") for value in values]
    return b"".join(pair + bytes([crc8(pair)]) for pair in pairs)


def word(value):
    """A 16-bit register, high byte first."""
    return (value & 0xFFFF).to_bytes(2, "big")


def text(digits):
    return bytes.fromhex(digits)


@dataclass
class Row:
    """One driver of ours beside one of the kernel's."""

    driver: str
    kernel: str  # the kernel's driver, as in Proof::Kernel
    module: str
    device: str  # the name by which it is bound
    address: int
    layout: str  # as board-chips takes it: POINTER:WIDTH
    cases: list  # each {register: bytes}
    # measurement: (file of the kernel's device, or how its files begin; factor into our unit; allowed difference)
    files: dict
    fixed: dict = field(default_factory=dict)  # {register: bytes}, as after power-on and from the factory
    settings: str = ""  # beside the address

    @property
    def name(self):
        return f"{self.driver}_{self.address:02x}"


def sensirion(address, layout, command, **row):
    """Temperature and humidity as two words. The kernel has 65536 steps where the datasheets of some have 65535."""
    pairs = [(0x6666, 0x8000), (0x1A2B, 0xB147), (0xF5DE, 0x2345)]
    return Row(address=address, layout=layout, cases=[{command: words(*pair)} for pair in pairs],
               files={"temperature": ("temp1_input", 1e-3, 0.011), "humidity": ("humidity1_input", 1e-3, 0.06)}, **row)


def bosch(driver, address, chip_id, humidity):
    """Calibration: Bosch's worked example (BST-BMP280-DS001, 3.12); the humidity words are merely plausible."""
    raw = ["65 5a c0 7e ed 00 6e 6a", "60 01 00 71 23 40 55 55", "5c 80 70 88 00 10 80 42"]
    files = {"temperature": ("in_temp_input", 1e-3, 0.011), "pressure": ("in_pressure_input", 10, 0.06)}
    if humidity:
        files["humidity"] = ("in_humidityrelative_input", 1e-3, 0.06)
    fixed = {"d0": text(chip_id), "f3": b"\0", "e1": text("72 01 00 13 29 03 1e"),
             "88": text("70 6b 43 67 18 fc 7d 8e 43 d6 d0 0b 27 0b 8c 00 f9 ff 8c 3c f8 c6 70 17 00 4b")}
    return Row(driver, "bmp280", "bmp280-i2c", driver, address, "1:1", [{"f7": text(digits)} for digits in raw], files, fixed)


def ina(driver, address, bus_bits, divisor):
    """Shunt 10 mΩ, as the kernel expects it. With the kernel's calibration the chip's current register repeats the shunt's."""
    cases = []
    for shunt, steps in ((1234, 3000), (-2500, 1000), (37, 4321)):
        power = abs(shunt) * steps // divisor
        bus = steps << 3 | 2 if bus_bits else steps
        cases.append({"01": word(shunt), "02": word(bus), "03": word(power), "04": word(shunt)})
    return Row(driver, "ina2xx", "ina2xx", driver, address, "1:2", cases,
               {"voltage": ("in1_input", 1e-3, 0.0011), "current": ("curr1_input", 1e-3, 0.0011)},
               {"06": word(8), "fe": word(0x5449), "ff": word(0x2260)} if not bus_bits else {}, "shunt: 0.01")


ROWS = [
    bosch("bme280", 0x76, "60", True),
    bosch("bmp280", 0x77, "58", False),
    sensirion(0x44, "2:8", "2400", driver="sht3x", kernel="sht3x", module="sht3x", device="sht3x"),
    sensirion(0x45, "1:8", "fd", driver="sht4x", kernel="sht4x", module="sht4x", device="sht4x",
              fixed={"89": words(0x1234, 0x5678)}),
    sensirion(0x70, "2:8", "7866", driver="shtc3", kernel="shtc1", module="shtc1", device="shtc3",
              fixed={"efc8": words(0x0887)}),
    # The SHT21, HTU21D and Si7021 are read alike. Without checksums in the kernel's driver, with them in ours (from 0).
    Row("htu21", "si7020", "si7020", "si7020", 0x40, "1:8",
        [{command: text(digits) for commands, digits in (("e3 f3", temperature), ("e5 f5", humidity))
          for command in commands.split()}
         for temperature, humidity in (("68 3a 7c", "4e 85 6b"), ("68 3a 7c", "7c 80 f5"))],
        {"temperature": ("in_temp", 1e-3, 0.011), "humidity": ("in_humidityrelative", 1e-3, 0.06)}, {"e7": b"\x02"}),
    Row("tmp117", "tmp117", "tmp117", "tmp117", 0x49, "1:2",
        [{"00": word(raw)} for raw in (0x0C80, -0x0A51, 0x4321)],
        {"temperature": ("in_temp", 1e-3, 0.001)}, {"0f": word(0x0117)}),
    Row("mcp9808", "jc42", "jc42", "jc42", 0x18, "1:2",
        [{"05": word(raw)} for raw in (0xC190, 0x1E6F, 0xC7D0)],
        {"temperature": ("temp1_input", 1e-3, 0.006)}, {"06": word(0x0054), "07": word(0x0400)}),
    ina("ina219", 0x41, True, 5000),
    ina("ina226", 0x42, False, 20000),
    Row("ads1115", "ti-ads1015", "ti-ads1015", "ads1115", 0x4a, "1:2",
        [{"00": word(raw)} for raw in (0x1234, -0x0123, 0x7F00)],
        {"voltage_0": ("in_voltage0", 1e-3, 0.0001)}, settings='channels: [0], range: "2.048"'),
    # The kernel measures once at each reading, we all the time.
    Row("bh1750", "bh1750", "bh1750", "bh1750", 0x23, "1:2",
        [{"20": word(raw), "10": word(raw)} for raw in (0x0456, 0x8765, 0x0003)],
        {"illuminance": ("in_illuminance", 1, 0.06)}),
    Row("scd4x", "scd4x", "scd4x", "scd41", 0x62, "2:16",
        [{"ec05": words(*raw)} for raw in ((500, 0x6667, 0x5EB9), (1875, 0x4321, 0xC0DE))],
        {"co2": ("in_concentration_co2", 1e4, 1), "temperature": ("in_temp", 1e-3, 0.01),
         "humidity": ("in_humidityrelative", 1e-3, 0.06)},
        {"e4b8": words(0x8006), "3682": words(0xF896, 0x9F07, 0x3BBE), "202f": words(0x1440)}),
    Row("scd30", "scd30", "scd30_i2c", "scd30", 0x61, "2:32",
        [{"0300": words(*raw)} for raw in ((0x43DB, 0x8C2E, 0x41D9, 0xE7FF, 0x4243, 0x3A1B),
                                           (0x44A0, 0x4000, 0xC0A8, 0x0000, 0x42B4, 0x8000))],
        {"co2": ("in_concentration_co2", 1e4, 1), "temperature": ("in_temp", 1e-3, 0.011),
         "humidity": ("in_humidityrelative", 1e-3, 0.06)},
        {"0202": words(1), "d100": words(0x0342), "4600": words(2)}),
]
