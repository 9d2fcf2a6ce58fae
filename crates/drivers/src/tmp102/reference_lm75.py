"""adafruit-circuitpython-pct2075 on the simulated registers: the PCT2075 follows the LM75B."""

import adafruit_pct2075

WORLD = {"temperature": (-55, 125)}
# Not 12 bits, of which the reference drops the last.
SETTINGS = [{"resolution": 9}, {"resolution": 11}]


def read(i2c, settings):
    return {"temperature": adafruit_pct2075.PCT2075(i2c, settings["address"]).temperature}
