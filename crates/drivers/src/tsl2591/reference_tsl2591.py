"""adafruit-circuitpython-tsl2591 on the simulated registers.

Its counts and its gain are compared, not its lux: this library still has the formula with three coefficients that Adafruit's
own library for Arduino has left, as Linux (drivers/iio/light/tsl2591.c) and ESPHome have, for the one below. The two differ by a
tenth and more.
"""

import adafruit_tsl2591

WORLD = {"illuminance": (0, 4000), "infrared_share": (0, 0.5)}

# The gains change over at different lights. A count at the lowest gain is 4.08 lx, one of infrared up to twice that: half of each,
# and a twenty-fifth of it on the side of the other gain.
TOLERANCE = {"illuminance": 6.4}


def read(i2c, settings):
    sensor = adafruit_tsl2591.TSL2591(i2c, settings["address"])
    factor = 25.0
    if sensor.raw_luminosity[0] >= 36863:
        sensor.gain = adafruit_tsl2591.GAIN_LOW
        factor = 1.0
    light, infrared = sensor.raw_luminosity
    lux = (light - infrared) * (1 - infrared / light) * 408 / (100 * factor) if light else 0.0
    return {"illuminance": lux}
