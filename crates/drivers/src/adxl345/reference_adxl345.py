"""adafruit-circuitpython-adxl34x on the simulated registers.

It takes a step for 4 mg, as the datasheet's first page rounds it; table 1 has 256 steps for 1 g, which is 2.3 % less. So its
steps are compared, and the scale is in the driver's own tests.
"""

from adafruit_adxl34x import ADXL345, DataRate, Range

AXES = "xyz"
WORLD = {f"acceleration_{axis}": (-19.5, 19.5) for axis in AXES}

RANGES = {"2": Range.RANGE_2_G, "4": Range.RANGE_4_G, "8": Range.RANGE_8_G, "16": Range.RANGE_16_G}
RATES = {
    "6.25": DataRate.RATE_6_25HZ,
    "25": DataRate.RATE_25_HZ,
    "50": DataRate.RATE_50_HZ,
    "200": DataRate.RATE_200_HZ,
}
SETTINGS = [{"range": given, "data_rate": rate} for given, rate in zip(RANGES, RATES)]

STEP = 0.004


def read(i2c, settings):
    sensor = ADXL345(i2c, settings["address"])
    sensor.range = RANGES[settings["range"]]
    sensor.data_rate = RATES[settings["data_rate"]]
    return {f"acceleration_{axis}": value / STEP / 256 for axis, value in zip(AXES, sensor.acceleration)}
