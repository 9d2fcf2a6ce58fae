#!/usr/bin/env python3
"""Writes lists-VERSION.json: which device classes, units and state classes Home Assistant accepts. Run it by the Python of an installed
Home Assistant, its standard output into the file. Nothing of Home Assistant is needed when the tests run."""
import json

from homeassistant.components.binary_sensor import BinarySensorDeviceClass
from homeassistant.components.event import EventDeviceClass
from homeassistant.components.sensor import const
from homeassistant.const import __version__

words = lambda all: sorted(str(one) for one in all)
# None stands for "no unit".
units = lambda all: sorted((None if one is None else str(one) for one in all), key=lambda one: one or "")
print(json.dumps({
    "version": __version__,
    "device_classes": {"sensor": words(const.SensorDeviceClass), "binary_sensor": words(BinarySensorDeviceClass), "event": words(EventDeviceClass)},
    "units": {str(name): units(all) for name, all in sorted(const.DEVICE_CLASS_UNITS.items())},
    "state_classes": {str(name): words(all) for name, all in sorted(const.DEVICE_CLASS_STATE_CLASSES.items())},
    "ambiguous_units": {str(wrong): str(right) for wrong, right in const.AMBIGUOUS_UNITS.items() if wrong is not None},
}, indent=1, ensure_ascii=False))
