"""adafruit-circuitpython-vl53l0x on the simulated registers."""

import adafruit_vl53l0x

# Beyond 2 m the chip says that there is no target; the reference does not ask for what it says.
WORLD = {"distance": (0, 2)}

SETTINGS = [{"measurement_time": 33}, {"measurement_time": 200}]


def read(i2c, settings):
    sensor = adafruit_vl53l0x.VL53L0X(i2c, settings["address"])
    sensor.measurement_timing_budget = settings["measurement_time"] * 1000
    return {"distance": sensor.range / 1000}
