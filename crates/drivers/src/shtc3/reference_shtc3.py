"""adafruit-circuitpython-shtc3 on the simulated registers."""

import adafruit_shtc3

WORLD = {"temperature": (-40, 125), "humidity": (0, 100)}


def read(i2c, settings):
    temperature, humidity = adafruit_shtc3.SHTC3(i2c).measurements
    return {"temperature": temperature, "humidity": humidity}
