"""adafruit-circuitpython-veml7700 on the simulated registers."""

import adafruit_veml7700

WORLD = {"illuminance": (0, 20000)}

# Both choose gain and integration time by what they see, and not always the same. In the brightest light half a step of each,
# together 1.6 lx, times the slope of the correction, which is 3 there; in dim light the reference does not correct a gain of
# 1/4, which makes 0.4 lx. Between 54 and 6800 lx both do the same and say the same.
TOLERANCE = {"illuminance": 5.0}


def read(i2c, settings):
    sensor = adafruit_veml7700.VEML7700(i2c, settings["address"])
    # autolux takes for granted that it begins there, whatever an earlier one has left.
    sensor.light_integration_time = sensor.ALS_100MS
    return {"illuminance": sensor.autolux}
