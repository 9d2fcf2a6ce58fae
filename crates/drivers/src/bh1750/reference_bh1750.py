"""adafruit-circuitpython-bh1750 on the simulated instructions."""

import adafruit_bh1750

WORLD = {"illuminance": (0, 27000)}

# The reference knows no measurement time; the three resolutions it has are ours under other names.
NAMES = {"high2": "HIGH", "high": "MID", "low": "LOW"}
SETTINGS = [{"resolution": name} for name in NAMES]


def read(i2c, settings):
    sensor = adafruit_bh1750.BH1750(i2c, settings["address"])
    sensor.resolution = getattr(adafruit_bh1750.Resolution, NAMES[settings["resolution"]])
    return {"illuminance": sensor.lux}
