"""adafruit-circuitpython-pca9685 on the simulated registers."""

import adafruit_pca9685

# 0.013 for half a step of ours, as much again for theirs, which cuts steps off, and half a tenth, to which ours is read back.
TOLERANCE = {"percent": 0.09}

SETTINGS = [
    {"channel": 0},
    {"address": 0x77, "channel": 15, "frequency": 1526},
    {"channel": 7, "frequency": 50, "inverted": True},
]


def output(i2c, settings):
    chip = adafruit_pca9685.PCA9685(i2c, address=settings["address"])
    return chip, chip.channels[settings["channel"]]


def percent(high, settings):
    return 100 - high if settings["inverted"] else high


def read(i2c, settings):
    chip, channel = output(i2c, settings)
    # What ours has set; the chip has 253 frequencies.
    prescaler = chip.prescale_reg
    chip.frequency = settings["frequency"]
    if chip.prescale_reg != prescaler:
        raise ValueError(f"the prescaler was {prescaler} and ought to be {chip.prescale_reg}")
    duty = channel.duty_cycle
    return {"percent": percent(100 if duty == 0xFFFF else duty * 100 / 0x10000, settings)}


def drive(i2c, settings, wanted):
    chip, channel = output(i2c, settings)
    chip.frequency = settings["frequency"]
    channel.duty_cycle = round(percent(wanted, settings) * 0xFFFF / 100)
