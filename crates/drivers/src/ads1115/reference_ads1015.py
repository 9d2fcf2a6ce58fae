"""adafruit-circuitpython-ads1x15 on the simulated registers of an ADS1015."""

from adafruit_ads1x15 import AnalogIn
from adafruit_ads1x15.ads1015 import ADS1015

WORLD = {"voltage_0": (0, 4.09), "voltage_1": (0, 4.09), "voltage_2": (0, 4.09), "voltage_3": (-0.3, 4.09)}

GAINS = {"6.144": 2 / 3, "4.096": 1}
SETTINGS = [{"address": 0x48}, {"address": 0x4B, "range": "6.144", "data_rate": "3300"}]


def read(i2c, settings):
    chip = ADS1015(
        i2c, gain=GAINS[settings["range"]], data_rate=int(settings["data_rate"]), address=settings["address"]
    )
    return {f"voltage_{pin}": AnalogIn(chip, pin).voltage for pin in range(4)}
