"""adafruit-circuitpython-mcp230xx on the simulated registers."""
import digitalio
from adafruit_mcp230xx import mcp23008

PACKAGE = "adafruit-circuitpython-mcp230xx 2.6.2"
WORLD = {}


def read(i2c, settings):
    """Drives the pins of `set` and releases those of `release`, then reports the level and the direction of each."""
    chip = mcp23008.MCP23008(i2c, settings["address"], reset=False)
    for pin, level in settings["set"].items():
        chip.get_pin(int(pin)).switch_to_output(level)
    for pin in settings["release"]:
        chip.get_pin(pin).switch_to_input(pull=digitalio.Pull.UP)
    pins = [chip.get_pin(pin) for pin in range(8)]
    return {
        "levels": sum(pin.value << place for place, pin in enumerate(pins)),
        "outputs": sum((pin.direction == digitalio.Direction.OUTPUT) << place for place, pin in enumerate(pins)),
    }
