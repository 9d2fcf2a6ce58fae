"""adafruit-circuitpython-pcf8574 on the simulated registers.

It keeps what it has written to itself and writes all pins at once, so it drives either all of them or none.
"""
import adafruit_pcf8574
import digitalio

PACKAGE = "adafruit-circuitpython-pcf8574 1.0.17"
WORLD = {}
chips = {}


def read(i2c, settings):
    """Drives the pins of `set` and releases those of `release`, then reports the level of each."""
    address = settings["address"]
    chip = chips.setdefault(address, adafruit_pcf8574.PCF8574(i2c, address))
    for pin, level in settings["set"].items():
        chip.get_pin(int(pin)).switch_to_output(level)
    for pin in settings["release"]:
        chip.get_pin(pin).switch_to_input(pull=digitalio.Pull.UP)
    return {"levels": sum(chip.get_pin(pin).value << pin for pin in range(8))}
