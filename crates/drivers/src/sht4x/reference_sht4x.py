"""adafruit-circuitpython-sht4x on the simulated registers."""

import adafruit_sht4x

WORLD = {"temperature": (-40, 125), "humidity": (0, 100)}


def read(i2c, settings):
    sensor = adafruit_sht4x.SHT4x(i2c, settings["address"])
    temperature, humidity = sensor.measurements
    return {"temperature": temperature, "humidity": humidity}
