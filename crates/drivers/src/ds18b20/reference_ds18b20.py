"""w1thermsensor on a copy of the simulated kernel's files."""

import os
import pathlib
import tempfile

# It would load modules into the kernel.
os.environ["W1THERMSENSOR_NO_KERNEL_MODULE"] = "1"

from w1thermsensor import Sensor, W1ThermSensor

BUS = "files"
# Without 85 °C: the reference takes each for the value of power-on.
WORLD = {"temperature": (-55, 84.5)}
TOLERANCE = {"temperature": 0}


def read(files, settings):
    family, serial = settings["id"].split("-")
    with tempfile.TemporaryDirectory() as folder:
        W1ThermSensor.BASE_DIRECTORY = pathlib.Path(folder)
        device = W1ThermSensor.BASE_DIRECTORY / settings["id"]
        device.mkdir()
        files.copy(f"/sys/bus/w1/devices/{settings['id']}", device)
        return {"temperature": W1ThermSensor(Sensor.from_id_string(family), serial).get_temperature()}
