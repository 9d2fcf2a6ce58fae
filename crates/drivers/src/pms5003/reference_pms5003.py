"""adafruit-circuitpython-pm25 on the simulated serial line."""

from adafruit_pm25.uart import PM25_UART

BUS = "uart"
# Each mass is part of the next, as in any air.
WORLD = {
    "pm1_0": (0, 100),
    "pm2_5": (100, 500),
    "pm10": (500, 1000),
    "particles_0_3": (5000, 20000),
    "particles_0_5": (1000, 5000),
    "particles_1_0": (300, 1000),
    "particles_2_5": (100, 300),
    "particles_5_0": (20, 100),
    "particles_10": (0, 20),
}
# Both are whole numbers, the words of the frame.
TOLERANCE = {name: 0 for name in WORLD}
SETTINGS = [
    {"mode": mode, "concentration": kind, "counts": counts}
    for mode in ("active", "passive")
    for kind, counts in (("atmospheric", True), ("standard", False))
]

COUNTS = {
    "particles_0_3": "particles 03um",
    "particles_0_5": "particles 05um",
    "particles_1_0": "particles 10um",
    "particles_2_5": "particles 25um",
    "particles_5_0": "particles 50um",
    "particles_10": "particles 100um",
}


def read(uart, settings):
    """It knows active mode only, in which its own sensor is whatever ours is in."""
    sensor = PM25_UART(uart)
    try:
        said = sensor.read()
    except RuntimeError:
        # It came between two frames, as it does on a real line.
        said = sensor.read()
    kind = "env" if settings["concentration"] == "atmospheric" else "standard"
    sample = {"pm1_0": said[f"pm10 {kind}"], "pm2_5": said[f"pm25 {kind}"], "pm10": said[f"pm100 {kind}"]}
    if settings["counts"]:
        sample |= {name: said[theirs] for name, theirs in COUNTS.items()}
    return sample
