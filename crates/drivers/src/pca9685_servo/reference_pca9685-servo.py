"""adafruit-circuitpython-motor on adafruit-circuitpython-pca9685 on the simulated registers, as its servo kit has them."""

import adafruit_pca9685
from adafruit_motor import servo

# They cut where we round: up to a step, which is 0.88 degrees of 180 in a millisecond, and half a tenth of a degree, to which
# ours reads what another has set.
TOLERANCE = {"angle": 1.0}

SETTINGS = [
    {"channel": 0},
    {"address": 0x77, "channel": 15, "min_pulse": "0.5ms", "max_pulse": "2.5ms"},
    {"channel": 7, "min_pulse": "0.75ms", "max_pulse": "2.25ms", "degrees": 90, "frequency": 200},
]


def arm(i2c, settings):
    chip = adafruit_pca9685.PCA9685(i2c, address=settings["address"])
    # What ours has set; the chip has 253 frequencies.
    prescaler = chip.prescale_reg
    chip.frequency = settings["frequency"]
    if chip.prescale_reg != prescaler:
        raise ValueError(f"the prescaler was {prescaler} and ought to be {chip.prescale_reg}")
    pulses = {end: settings[end] * 1e6 for end in ("min_pulse", "max_pulse")}
    return servo.Servo(chip.channels[settings["channel"]], actuation_range=settings["degrees"], **pulses)


def read(i2c, settings):
    return {"angle": arm(i2c, settings).angle}


def drive(i2c, settings, wanted):
    arm(i2c, settings).angle = wanted
