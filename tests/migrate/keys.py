"""Every key of the installed mqtt-io, one a line: of the sections that all modules have in common, then of each module."""

import importlib
import pkgutil

from mqtt_io.config import get_main_schema

INPUTS = {"gpio": ["digital_inputs", "digital_outputs"], "sensor": ["sensor_inputs"], "stream": []}


def walk(place, schema):
    """The keys of a section and of those below it."""
    for key, entry in schema.items():
        if key == "meta":
            continue
        yield f"{place} {key}".strip()
        inner = entry.get("schema", {})
        if entry["type"] == "list":
            inner = inner.get("schema", {})
        yield from walk(f"{place}.{key}".strip("."), inner)


def module_keys(kind, name):
    """A module, its own keys and those of what names it."""
    module = importlib.import_module(f"mqtt_io.modules.{kind}.{name}")
    main = get_main_schema()
    place = f"{kind}_modules"
    yield f"{place}:{name}"
    common = main[place]["schema"]["schema"]
    for key in getattr(module, "CONFIG_SCHEMA", {}):
        if key not in common:
            yield f"{place}:{name} {key}"
    common = [main[place]["schema"]["schema"] for place in INPUTS[kind]]
    each = set()
    for holder in (module, *(getattr(module, name, None) for name in ("GPIO", "Sensor", "Stream"))):
        for table in ("PIN_SCHEMA", "INPUT_SCHEMA", "OUTPUT_SCHEMA", "SENSOR_SCHEMA"):
            each |= set(getattr(holder, table, {}))
    for key in each:
        if not all(key in schema for schema in common):
            yield f"{place}:{name} each {key}"


def main():
    """Prints them."""
    lines = list(walk("", get_main_schema()))
    for kind in INPUTS:
        package = importlib.import_module(f"mqtt_io.modules.{kind}")
        for module in pkgutil.iter_modules(package.__path__):
            lines.extend(module_keys(kind, module.name))
    print("\n".join(sorted(lines)))


main()
