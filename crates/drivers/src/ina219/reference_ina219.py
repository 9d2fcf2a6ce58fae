"""adafruit-circuitpython-ina219 on the simulated registers."""

import adafruit_ina219

WORLD = {"voltage": (0, 26), "current": (-3.1, 3.1)}

SETTINGS = [{"address": 0x40}, {"address": 0x45, "shunt_range": "320", "averaging": "1"}]

# It reports the power that the chip computed, which is cut to steps of 2 mW and has no sign; ours is computed from the voltages
# in full.
TOLERANCE = {"power": 0.0021}


def read(i2c, settings):
    sensor = adafruit_ina219.INA219(i2c, settings["address"])
    current = sensor.current / 1000
    return {
        "voltage": sensor.bus_voltage,
        "current": current,
        "power": sensor.power if current >= 0 else -sensor.power,
    }
