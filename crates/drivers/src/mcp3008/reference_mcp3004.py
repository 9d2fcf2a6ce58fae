"""adafruit-circuitpython-mcp3xxx on the simulated converter."""

import digitalio
from adafruit_mcp3xxx.analog_in import AnalogIn
from adafruit_mcp3xxx.mcp3004 import MCP3004

BUS = "spi"
WORLD = {f"voltage_{channel}": (0, 3.29) for channel in range(4)}
# It widens the code to 16 bits so that the largest becomes the reference itself: code / 1023. The data sheet divides by 1024
# (equation 4-2), so at the upper end the two are one step apart.
TOLERANCE = {f"voltage_{channel}": 3.3 / 1024 for channel in range(4)}
SETTINGS = [{"channels": [0, 1, 2, 3]}]


def read(spi, settings):
    chip = MCP3004(spi, digitalio.DigitalInOut(), ref_voltage=settings["reference"])
    return {f"voltage_{channel}": AnalogIn(chip, channel).voltage for channel in settings["channels"]}
