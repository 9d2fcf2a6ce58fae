"""adafruit-circuitpython-sgp40 on the simulated registers.

Its index is the elder version of Sensirion's algorithm, in fixed-point numbers. It remembers: one sensor samples all worlds of
the same settings, a second each, as ours does.
"""

import adafruit_sgp40

WORLD = {"voc_raw": (26000, 32000)}
SETTINGS = [None, {"temperature": -10.5, "humidity": 90}]
# The two are a version of the algorithm apart, and fixed-point numbers of 32 bits against floating-point ones of 64.
TOLERANCE = {"voc_index": 2}

known = {}


def read(i2c, settings):
    air = (settings["temperature"], settings["humidity"])
    if air not in known:
        known.clear()
        known[air] = adafruit_sgp40.SGP40(i2c, settings["address"])
    sensor = known[air]
    index = sensor.measure_index(*air)
    while index == 0:
        index = sensor.measure_index(*air)
    return {"voc_index": index, "voc_raw": sensor.measure_raw(*air)}
