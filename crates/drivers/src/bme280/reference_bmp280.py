"""adafruit-circuitpython-bmp280 on the simulated registers."""

import adafruit_bmp280

WORLD = {"temperature": (-40, 85), "pressure": (300, 1100)}


def read(i2c, settings):
    sensor = adafruit_bmp280.Adafruit_BMP280_I2C(i2c, settings["address"])
    return {"temperature": sensor.temperature, "pressure": sensor.pressure}
