"""adafruit-circuitpython-htu21d on the simulated registers."""

import adafruit_htu21d

WORLD = {"temperature": (-40, 125), "humidity": (0, 100)}


def read(i2c, settings):
    sensor = adafruit_htu21d.HTU21D(i2c, settings["address"])
    return {"temperature": sensor.temperature, "humidity": sensor.relative_humidity}
