"""adafruit-circuitpython-si7021 on the simulated registers."""

import adafruit_si7021

WORLD = {"temperature": (-40, 125), "humidity": (0, 100)}


def read(i2c, settings):
    sensor = adafruit_si7021.SI7021(i2c, settings["address"])
    return {"temperature": sensor.temperature, "humidity": sensor.relative_humidity}
