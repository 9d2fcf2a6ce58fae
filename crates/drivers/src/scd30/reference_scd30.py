"""adafruit-circuitpython-scd30 on the simulated registers."""

import adafruit_scd30

WORLD = {"co2": (400, 10000), "temperature": (-40, 70), "humidity": (0, 100)}
SETTINGS = [None, {"interval": 30, "pressure": 987, "self_calibration": True, "temperature_offset": 1.5}]


def read(i2c, settings):
    sensor = adafruit_scd30.SCD30(i2c, settings.get("pressure", 0), settings["address"])
    while not sensor.data_available:
        pass
    # Each of its properties asks for a new result first; these are of one.
    sensor._read_data()
    return {"co2": sensor._co2, "temperature": sensor._temperature, "humidity": sensor._relative_humidity}
