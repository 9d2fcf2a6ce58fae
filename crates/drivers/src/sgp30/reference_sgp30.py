"""adafruit-circuitpython-sgp30 on the simulated registers."""

import adafruit_sgp30

WORLD = {"eco2": (400, 60000), "tvoc": (0, 60000)}


def read(i2c, settings):
    sensor = adafruit_sgp30.Adafruit_SGP30(i2c, settings["address"])
    sensor.set_iaq_humidity(settings["absolute_humidity"])
    # For so many seconds the chip warms up.
    for _ in range(15):
        sensor.iaq_measure()
    eco2, tvoc = sensor.iaq_measure()
    return {"eco2": eco2, "tvoc": tvoc}
