"""adafruit-circuitpython-tmp117 on the simulated registers."""

import adafruit_tmp117

WORLD = {"temperature": (-55, 150)}
SETTINGS = [None, {"averages": 64}]


def read(i2c, settings):
    return {"temperature": adafruit_tmp117.TMP117(i2c, settings["address"]).temperature}
