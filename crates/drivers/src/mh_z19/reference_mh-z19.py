"""mh-z19 on the simulated serial line."""

import sys
import types

BUS = "uart"
WORLD = {"co2": (1, 4999)}
TOLERANCE = {"co2": 0.5}
SETTINGS = [{"range": 5000}, {"auto_calibration": False}]

# It opens the port itself, by a name that follows from the board's model, and on some boards drives a pin.
line = None
sys.modules["serial"] = types.SimpleNamespace(
    Serial=lambda *_, **__: line, EIGHTBITS=8, PARITY_NONE="N", STOPBITS_ONE=1
)
sys.modules["getrpimodel"] = types.SimpleNamespace(model=lambda: "4 Model B", model_strict=lambda: "4 Model B")
sys.modules["mh_z19.pwm"] = types.ModuleType("mh_z19.pwm")

import mh_z19


def read(uart, settings):
    global line
    line = uart
    # While bytes 6 and 7 are 15000 the sensor boots; the package reports them and leaves it to us.
    said = {"UhUl": 15000}
    while said["UhUl"] == 15000:
        said = mh_z19.read_all(serial_console_untouched=True)
    return {"co2": said["co2"]}
