"""sparkfun-qwiic-tmp102 on the simulated registers."""

import sys
import types

# It asks this package for an adapter only where none is given.
sys.modules["qwiic_i2c"] = types.ModuleType("qwiic_i2c")

import qwiic_tmp102

# The reference sets the upper bits of a negative temperature as in C, and Python's numbers do not become negative by that:
# it reports −1 °C as 4095 °C.
WORLD = {"temperature": (0, 125)}


class Adapter:
    """As SparkFun's qwiic_i2c."""

    def __init__(self, i2c):
        self.i2c = i2c

    def writeCommand(self, address, command):
        self.i2c.writeto(address, bytes([command]))

    def readBlock(self, address, register, length):
        answer = bytearray(length)
        self.i2c.writeto_then_readfrom(address, bytes([register]), answer)
        return answer


def read(i2c, settings):
    sensor = qwiic_tmp102.QwiicTmp102Sensor(settings["address"], Adapter(i2c))
    return {"temperature": sensor.read_temp_c()}
