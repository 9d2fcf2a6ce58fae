"""adafruit-circuitpython-ahtx0 on the simulated registers."""

import adafruit_ahtx0

WORLD = {"temperature": (-40, 85), "humidity": (0, 100)}
# An AHT10 sends the same without the checksum, which the reference never reads.
SETTINGS = [None, {"chip": "aht10"}]


def read(i2c, settings):
    sensor = adafruit_ahtx0.AHTx0(i2c, settings["address"])
    return {"temperature": sensor.temperature, "humidity": sensor.relative_humidity}
