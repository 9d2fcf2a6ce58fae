"""adafruit-circuitpython-motor on the same channel."""

from adafruit_motor import servo

BUS = "pwm"

# A 16-bit step of their period is 0.31 µs at 50 Hz, 0.055 degrees of 180 in a millisecond; they cut twice where we round, and
# ours reads to a tenth of a degree what another has set.
TOLERANCE = {"angle": 0.17}

SETTINGS = [
    {"channel": 0},
    {"channel": 1, "min_pulse": "0.5ms", "max_pulse": "2.5ms", "degrees": 270},
    {"channel": 2, "min_pulse": "0.75ms", "max_pulse": "2.25ms", "degrees": 90, "frequency": 333},
]


def arm(pwm, settings):
    pulses = {end: settings[end] * 1e6 for end in ("min_pulse", "max_pulse")}
    if round(pwm.frequency, 3) != round(settings["frequency"], 3):
        raise ValueError(f"the frequency is {pwm.frequency}")
    return servo.Servo(pwm, actuation_range=settings["degrees"], **pulses)


def read(pwm, settings):
    return {"angle": arm(pwm, settings).angle}


def drive(pwm, settings, wanted):
    arm(pwm, settings).angle = wanted
