"""adafruit-circuitpython-bme680 and Pimoroni's bme680 on the simulated registers.

Temperature, pressure and gas resistance are Adafruit's. It takes the two halves of register 0xE2 the wrong way round (H1 has
the lower, H2 the upper four bits in Bosch's own driver and in Pimoroni's), which is up to 1 % of humidity; so the humidity is
that of Pimoroni's driver.
"""

import adafruit_bme680
import bme680

WORLD = {"temperature": (-39, 84), "humidity": (3, 97), "pressure": (310, 1090), "gas_resistance": (2000, 500000)}
SETTINGS = [None, {"address": 0x76, "oversampling": 16, "heater_temperature": 250, "heater_duration": "100ms"}]


class Bus:
    """As smbus2."""

    def __init__(self, i2c):
        self.i2c = i2c

    def read_i2c_block_data(self, address, register, length):
        answer = bytearray(length)
        self.i2c.writeto_then_readfrom(address, bytes([register]), answer)
        return list(answer)

    def read_byte_data(self, address, register):
        return self.read_i2c_block_data(address, register, 1)[0]

    def write_byte_data(self, address, register, value):
        self.i2c.writeto(address, bytes([register, value]))


def read(i2c, settings):
    ada = adafruit_bme680.Adafruit_BME680_I2C(i2c, settings["address"], refresh_rate=1_000_000)
    ada.set_gas_heater(settings["heater_temperature"], int(settings["heater_duration"] * 1000))
    said = {"temperature": ada.temperature, "pressure": ada.pressure, "gas_resistance": ada.gas}
    pimoroni = bme680.BME680(settings["address"], Bus(i2c))
    pimoroni.set_gas_heater_profile(settings["heater_temperature"], int(settings["heater_duration"] * 1000))
    pimoroni.get_sensor_data()
    return said | {"humidity": pimoroni.data.humidity}
