"""adafruit-circuitpython-scd4x on the simulated registers."""

import adafruit_scd4x

WORLD = {"co2": (400, 5000), "temperature": (-10, 60), "humidity": (0, 100)}
SETTINGS = [None, {"temperature_offset": 4.0, "altitude": 1500, "interval": "30s"}]


def read(i2c, settings):
    sensor = adafruit_scd4x.SCD4X(i2c, settings["address"])
    if settings["interval"] == "30s":
        sensor.start_low_periodic_measurement()
    else:
        sensor.start_periodic_measurement()
    while not sensor.data_ready:
        pass
    # Each of its properties asks for a new result first; these are of one.
    sensor._read_data()
    return {"co2": sensor._co2, "temperature": sensor._temperature, "humidity": sensor._relative_humidity}
