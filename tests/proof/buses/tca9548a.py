"""adafruit-circuitpython-tca9548a on the simulated registers, with adafruit-circuitpython-sht31d behind its channels."""
import adafruit_sht31d
import adafruit_tca9548a

PACKAGE = "adafruit-circuitpython-tca9548a 0.8.6"
WORLD = {}


def read(i2c, settings):
    """What the chip behind one channel measures."""
    multiplexer = adafruit_tca9548a.TCA9548A(i2c, settings["address"])
    sensor = adafruit_sht31d.SHT31D(multiplexer[settings["channel"]], 0x44)
    return {"temperature": sensor.temperature}
