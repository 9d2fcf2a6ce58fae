"""adafruit-circuitpython-mpu6050 on the simulated registers."""

from math import degrees

from adafruit_mpu6050 import MPU6050

AXES = "xyz"
WORLD = {
    "temperature": (-40, 85),
    **{f"acceleration_{axis}": (-19.6, 19.6) for axis in AXES},
    **{f"angular_rate_{axis}": (-249, 249) for axis in AXES},
}

ACCELERATION = ["2", "4", "8", "16"]
RATE = ["250", "500", "1000", "2000"]
SETTINGS = [
    {"acceleration_range": acceleration, "angular_rate_range": rate} for acceleration, rate in zip(ACCELERATION, RATE)
]


def read(i2c, settings):
    sensor = MPU6050(i2c, settings["address"])
    sensor.accelerometer_range = ACCELERATION.index(settings["acceleration_range"])
    sensor.gyro_range = RATE.index(settings["angular_rate_range"])
    # It reports radians per second.
    rates = [degrees(rate) for rate in sensor.gyro]
    said = {"temperature": sensor.temperature}
    said |= {f"acceleration_{axis}": value for axis, value in zip(AXES, sensor.acceleration)}
    said |= {f"angular_rate_{axis}": value for axis, value in zip(AXES, rates)}
    return said
