"""adafruit-circuitpython-ccs811 on the simulated registers."""

import adafruit_ccs811

WORLD = {"eco2": (400, 32768), "tvoc": (0, 32768)}
# It knows no time to warm up, and each sampling here is a second for ours.
SETTINGS = [{"warm_up": "0s"}, {"address": 0x5B, "interval": "60s", "temperature": 5, "humidity": 80, "warm_up": "5s"}]


def read(i2c, settings):
    sensor = adafruit_ccs811.CCS811(i2c, settings["address"])
    sensor.set_environmental_data(settings["humidity"], settings["temperature"])
    while not sensor.data_ready:
        pass
    # Each of its properties asks for a new result first; these are of one.
    sensor._update_data()
    return {"eco2": sensor._eco2, "tvoc": sensor._tvoc}
