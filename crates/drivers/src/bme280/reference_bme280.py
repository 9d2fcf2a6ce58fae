"""adafruit-circuitpython-bme280 on the simulated registers."""

from adafruit_bme280 import basic

WORLD = {"temperature": (-40, 85), "humidity": (0, 100), "pressure": (300, 1100)}
SETTINGS = [None, {"oversampling": 16, "filter": 4}]


def read(i2c, settings):
    sensor = basic.Adafruit_BME280_I2C(i2c, settings["address"])
    return {"temperature": sensor.temperature, "humidity": sensor.humidity, "pressure": sensor.pressure}
