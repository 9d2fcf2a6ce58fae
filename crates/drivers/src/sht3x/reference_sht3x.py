"""adafruit-circuitpython-sht31d on the simulated registers."""

import adafruit_sht31d

WORLD = {"temperature": (-40, 125), "humidity": (0, 100)}


def read(i2c, settings):
    sensor = adafruit_sht31d.SHT31D(i2c, settings["address"])
    temperature, humidity = sensor._read()
    return {"temperature": temperature, "humidity": humidity}
