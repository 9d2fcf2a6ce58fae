"""adafruit-circuitpython-hts221 on the simulated registers.

It cuts the calibration off to whole degrees and percents, so a chip with halves and eighths in it is read up to a degree
wrong; the simulated chip has whole numbers, and the driver's own tests have the fractions.
"""

import adafruit_hts221

WORLD = {"temperature": (-40, 120), "humidity": (0, 100)}


def read(i2c, settings):
    sensor = adafruit_hts221.HTS221(i2c)
    return {"temperature": sensor.temperature, "humidity": sensor.relative_humidity}
