#!/usr/bin/env python3
"""Makes the pictures of docs/values.md, docs/pictures/values-*.svg, from a run of the program.

    cargo build
    python3 docs/pictures/values.py target/debug/fieldgate

It needs Mosquitto and its clients (packages mosquitto and mosquitto-clients), and takes 40 seconds. For each picture there is
a simulated bus with several equal thermometers that measure the same: one sensor as it is, the others with filters or a report.
What they measure is set in the bus's state file between two samplings, and is the same at each run, so that the pictures are, too.
What is drawn are readings that came out of the broker; only the pale band and the dashed line are what was set. The readings of
the sensors without filters are compared with what was set, and a run in which the machine did not keep up makes no picture.
"""
import json
import math
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from datetime import datetime
from pathlib import Path

sys.dont_write_bytecode = True  # a folder __pycache__ would be left among the pictures
from values_chart import Chart

SAMPLES, PERIOD = 73, 0.5  # of a run; seconds from one to the next
FOLDER = Path(__file__).parent
ADDRESSES = (0x48, 0x49, 0x4A, 0x4B)  # of a TMP117
# Intervals of reports lie between two samplings: a few milliseconds more or less change nothing then.
SIX_SAMPLES, SIXTEEN_SAMPLES = "2750ms", "7750ms"

# The sensors of each picture: what stands in their configuration besides the thermometer.
SENSORS = {
    "outlier": {"raw": "", "average": "filters: { temperature: { moving_average: 5 } }",
                "median": "filters: { temperature: { median: 5 } }"},
    "noise": {"raw": "", "average": "filters: { temperature: { moving_average: 10 } }",
              "exponential": "filters: { temperature: { exponential_moving_average: 0.1 } }"},
    "calibrate": {"raw": "", "calibrated": "filters: { temperature: { calibrate: [[3, 0], [35, 40]] } }"},
    "spike": {"raw": "", "within": "filters: { temperature: { within: [0, 30] } }",
              "spike": "filters: { temperature: { spike: { by: 2, for: 3 } } }"},
    "report": {"raw": "", "reported": f"report: {{ delta: {{ temperature: 0.5 }}, max_interval: {SIXTEEN_SAMPLES} }}"},
    "aggregate": {"raw": "", "reported": f"report: {{ max_interval: {SIX_SAMPLES}, aggregate: [mean, min, max] }}"},
    "failure": {"raw": "", "average": "filters: { temperature: { moving_average: 10 } }"},
}
FAILS = range(26, 44)  # samples in which the thermometers of that picture do not answer


def series():
    """What the thermometers of each picture measure, sample by sample; the first two are alike, while the program starts."""
    chance = random.Random(4)

    def noise(width):
        return chance.uniform(-width, width)

    all_series = {
        "outlier": [20 + math.sin(n / 12) + noise(0.15) for n in range(SAMPLES)],
        "noise": [(20 if n < 32 else 22) + noise(0.7) for n in range(SAMPLES)],
        # What a thermometer says that reads 3 at 0 °C and 35 at 40 °C.
        "calibrate": [3 + true * 32 / 40 for true in truth()],
        "spike": [(20 if n < 44 else 25) + noise(0.4) for n in range(SAMPLES)],
        "report": [20 + 3 * min(max((n - 22) / 18, 0), 1) - (2.2 if n >= 56 else 0) + noise(0.1) for n in range(SAMPLES)],
        "aggregate": [20 + 1.5 * math.sin(n / 11) + noise(0.3 + 0.6 * (n > 36)) for n in range(SAMPLES)],
        "failure": [20 + 4 * min(max((n - FAILS.start) / len(FAILS), 0), 1) + noise(0.5) for n in range(SAMPLES)],
    }
    for sample, value in {14: 31.0, 34: 9.0, 35: 9.0, 56: 28.0}.items():
        all_series["outlier"][sample] = value
    for sample, value in {12: 27.0, 27: 36.0, 28: 36.0}.items():
        all_series["spike"][sample] = value
    for values in all_series.values():
        values[1] = values[0]
    return all_series


def truth():
    """The temperature around the wrong thermometer."""
    return [20 - 20 * math.cos(math.pi * n / (SAMPLES - 1) * 1.5) for n in range(SAMPLES)]


# The run.

def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def configuration(folder, port):
    lines = ["gateway: { name: values }", f"mqtt: {{ broker: 'mqtt://127.0.0.1:{port}' }}",
             f"spool: {{ path: '{folder}/spool' }}", "buses:"]
    lines += [f"  {picture}: {{ type: sim, state_file: '{folder}/{picture}.json' }}" for picture in SENSORS]
    lines.append("sensors:")
    for picture, sensors in SENSORS.items():
        for address, (name, more) in zip(ADDRESSES, sensors.items()):
            lines += [f"  {picture}-{name}:", "    driver: tmp117", f"    bus: {picture}", f"    every: {PERIOD * 1000:.0f}ms",
                      f"    settings: {{ address: {address:#x}, averages: '1' }}"]
            lines += [f"    {more}"] if more else []
    path = folder / "values.yaml"
    path.write_text("\n".join(lines) + "\n")
    return path


def set_world(folder, all_series, sample):
    """Lets all thermometers measure what this sample is to be."""
    for picture, values in all_series.items():
        fault = "nak" if picture == "failure" and sample in FAILS else None
        chips = {f"{address:#x}": {"temperature": values[sample], "fault": fault}
                 for address, _ in zip(ADDRESSES, SENSORS[picture])}
        path = folder / f"{picture}.json"
        document = json.loads(path.read_text()) if path.exists() else {}
        for address, chip in chips.items():
            document.setdefault("chips", {}).setdefault(address, {}).update(chip)
        # A reader meanwhile must not see half a file.
        new = path.with_suffix(".new")
        new.write_text(json.dumps(document))
        new.rename(path)


class Heard:
    """Everything that the gateway publishes, as it comes."""

    def __init__(self, port):
        command = ["stdbuf", "-oL", "mosquitto_sub", "-p", str(port), "-t", "fieldgate/values/#", "-F", "%t %p"]
        self.program = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.messages, self.first = [], threading.Event()
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        for line in self.program.stdout:
            topic, payload = line.rstrip("\n").removeprefix("fieldgate/values/").split(" ", 1)
            if payload.startswith("{"):
                self.messages.append((topic, json.loads(payload)))
                if topic == "sensors/outlier-raw":
                    self.first.set()

    def of(self, topic):
        return [payload for heard, payload in list(self.messages) if heard == topic]


def seconds(payload):
    return datetime.fromisoformat(payload["time"].replace("Z", "+00:00")).timestamp()


def run(program, folder):
    """What was published while the thermometers went through their series."""
    port, all_series, started = free_port(), series(), []
    (folder / "mosquitto.conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    path = configuration(folder, port)
    set_world(folder, all_series, 0)
    try:
        started.append(subprocess.Popen(["mosquitto", "-c", folder / "mosquitto.conf"], stderr=subprocess.DEVNULL))
        wait_for_port(port)
        heard = Heard(port)
        started.append(heard.program)
        gateway = subprocess.Popen([program, "run", "--config", path], stderr=(folder / "log").open("w"))
        started.append(gateway)
        if not heard.first.wait(10):
            sys.exit(f"the gateway published nothing:\n{(folder / 'log').read_text()}")
        begun = seconds(heard.of("sensors/outlier-raw")[0])
        for sample in range(1, SAMPLES):
            time.sleep(max(0, begun + (sample - 0.5) * PERIOD - time.time()))
            set_world(folder, all_series, sample)
        time.sleep(max(0, begun + (SAMPLES - 0.5) * PERIOD - time.time()))
        gateway.send_signal(signal.SIGTERM)
        gateway.wait(10)
    finally:
        for process in reversed(started):
            process.kill()
            process.wait()
    return heard, begun


def wait_for_port(port):
    for _ in range(100):
        try:
            return socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
    sys.exit("mosquitto did not start")


def by_sample(heard, begun, picture, name):
    """The readings of a sensor by the number of the sample that caused each; refuses those that are late."""
    found = {}
    for reading in heard.of(f"sensors/{picture}-{name}"):
        at = (seconds(reading) - begun) / PERIOD
        if abs(at - round(at)) > 0.35 or round(at) in found:
            sys.exit(f"{picture}-{name} was not sampled in time; run it again on a quieter machine")
        found[round(at)] = reading
    return found


def verified(heard, begun):
    """The readings of all sensors by picture and name, once those without filters say what the thermometers were to measure."""
    all_series = series()
    readings = {picture: {name: by_sample(heard, begun, picture, name) for name in sensors}
                for picture, sensors in SENSORS.items()}
    for picture, sensors in readings.items():
        expected = [n for n in range(SAMPLES) if picture != "failure" or n not in FAILS]
        raw = sensors["raw"]
        if sorted(raw) != expected or any(abs(raw[n]["temperature"] - all_series[picture][n]) > 0.01 for n in expected):
            sys.exit(f"{picture}-raw did not measure what was set; run it again on a quieter machine")
    states = [status["status"] for status in heard.of("sensors/failure-average/status")]
    if states != ["ok", "degraded", "down", "ok"]:
        sys.exit(f"the sensor that fails was {states}")
    return readings


# The pictures. Each takes the readings of its sensors; numbers in labels come out of them.

def points(readings, name="temperature"):
    return [(sample, reading[name]) for sample, reading in sorted(readings.items())]


def runs(readings):
    """The points in pieces without a missing sample."""
    pieces = []
    for sample, value in points(readings):
        if not pieces or pieces[-1][-1][0] != sample - 1:
            pieces.append([])
        pieces[-1].append((sample, value))
    return pieces


def outlier(sensors):
    chart = Chart("A median ignores single wrong values",
                  "A thermometer near 20 °C with four samples that are far off. The moving average of five samples makes a hump of "
                  "each; the median of five samples goes on as if nothing had been.", (0, SAMPLES - 1), (6, 34))
    chart.axes("sample", range(0, SAMPLES, 10), "°C", range(10, 31, 10))
    raw, average, median = (points(sensors[name]) for name in ("raw", "average", "median"))
    chart.line(raw, "raw")
    chart.line(average, "second")
    chart.line(median, "first")
    chart.label(15, raw[14][1] - 1, f"raw: one sample of {raw[14][1]:.0f} °C", "raw")
    lowest = min(average[30:45], key=lambda point: point[1])
    chart.label(40.5, lowest[1] - 0.5, f"moving_average: 5, down to {lowest[1]:.1f} °C", "second")
    chart.label(62, 23.6, "median: 5", "first", "middle")
    return chart


def noise(sensors):
    chart = Chart("Averages make noise smaller, and steps later",
                  "A noisy thermometer that steps by two degrees. The moving average of ten samples is there in full after ten "
                  "samples; the exponential one with 0.1 is smoother and later.", (0, SAMPLES - 1), (18.7, 23.3))
    chart.axes("sample", range(0, SAMPLES, 10), "°C", range(19, 24))
    raw, average, exponential = (points(sensors[name]) for name in ("raw", "average", "exponential"))
    chart.dots(raw, "raw")
    chart.line(raw, "raw", width=0.7)
    chart.line(average, "first")
    chart.line(exponential, "second", dash=True)
    chart.label(23, 21, "raw", "raw")
    chart.label(35.4, 22.6, "moving_average: 10", "first", "end")
    chart.label(42, 20.6, "exponential_moving_average: 0.1", "second")
    return chart


def calibrate(sensors):
    chart = Chart("Two pairs make a wrong thermometer right",
                  "A thermometer that says 3 °C at 0 °C and 35 °C at 40 °C. With these two pairs in calibrate the reading lies on "
                  "the true temperature.", (0, SAMPLES - 1), (-3, 43))
    chart.axes("sample", range(0, SAMPLES, 10), "°C", range(0, 41, 10))
    raw, calibrated = points(sensors["raw"]), points(sensors["calibrated"])
    chart.line(list(enumerate(truth())), "true", width=7)
    chart.line(raw, "raw")
    chart.line(calibrated, "first")
    chart.label(1.5, raw[0][1] + 13, f"raw: {raw[0][1]:.0f} °C in melting ice", "raw")
    peak = max(raw, key=lambda point: point[1])
    chart.label(peak[0], peak[1] - 6, f"raw: {peak[1]:.0f} °C at {max(truth()):.0f} °C", "raw", "middle")
    chart.label(26, 36, "calibrate, on what is true", "first", "end")
    return chart


def spike(sensors):
    chart = Chart("What within and spike take as no value",
                  "Three lanes. The samples have one spike, two impossible values and a step that stays. within: [0, 30] leaves out "
                  "the two impossible values alone. spike: { by: 2, for: 3 } leaves out the spike, the impossible values and the "
                  "first two samples after the step.", (0, SAMPLES - 1), (17, 39), lanes=3)
    raw = points(sensors["raw"])
    names = {"raw": "raw", "within": "within: [0, 30]", "spike": "spike: { by: 2, for: 3 }"}
    for lane, (name, label) in enumerate(names.items()):
        chart.lane(lane)
        chart.axes("sample" if lane == 2 else "", range(0, SAMPLES, 10), "°C" if lane == 0 else "", (20, 30))
        left_out = [point for point in raw if point[0] not in sensors[name]]
        chart.crosses(left_out, "second")
        look = "raw" if name == "raw" else "first"
        for piece in runs(sensors[name]):
            chart.line(piece, look)
        chart.dots(points(sensors[name]), look)
        more = f", {len(left_out)} left out (×)" if left_out else ""
        chart.label(SAMPLES - 1, 32, label + more, look, "end")
    return chart


def report(sensors):
    raw, reported = points(sensors["raw"]), points(sensors["reported"])
    chart = Chart("Readings where something happens, and seldom where nothing does",
                  f"{len(raw)} samples, of which {len(reported)} became readings: with each change of half a degree, and where there "
                  "was none for the longest interval.", (0, (SAMPLES - 1) * PERIOD), (19.3, 24.3))
    chart.axes("seconds", range(0, 37, 5), "°C", range(20, 24))
    in_time = [(sample * PERIOD, value) for sample, value in raw]
    chart.line(in_time, "raw", width=0.7)
    chart.dots(in_time, "raw")
    moved, in_turn, before = [], [], None
    for sample, value in reported:
        (moved if before is None or abs(value - before) >= 0.499 else in_turn).append((sample * PERIOD, value))
        before = value
    chart.dots(moved, "first", size=8)
    chart.rings(in_turn, "second")
    chart.label(1, 20.6, f"{len(raw)} samples", "raw")
    chart.label(14.8, 22.1, f"{len(moved)} readings: the first, and after each delta", "first", "end")
    chart.label(35.2, 23.7, f"{len(in_turn)} readings after max_interval", "second", "end")
    return chart


def aggregate(sensors):
    reported = sorted(sensors["reported"].items())
    gathered = {reading["samples"] for _, reading in reported[1:]}
    if gathered != {6}:
        sys.exit(f"readings of {gathered} samples; run it again on a quieter machine")
    chart = Chart("The mean, and what lay around it",
                  "Each reading is of six samples: their mean under the plain name as a line, and the band from the smallest to the "
                  "greatest.", (0, (SAMPLES - 1) * PERIOD), (17.3, 22.7), right=132)
    chart.axes("seconds", range(0, 37, 5), "°C", range(18, 23))
    for sample, reading in reported[1:]:
        start, end = (sample - 6) * PERIOD, sample * PERIOD
        chart.band(start, end, reading["temperature_min"], reading["temperature_max"])
    chart.dots([(sample * PERIOD, value) for sample, value in points(sensors["raw"])], "raw")
    for sample, reading in reported[1:]:
        chart.line([((sample - 6) * PERIOD, reading["temperature"]), (sample * PERIOD, reading["temperature"])], "first", width=2.5)
    last, end = reported[-1][1], (SAMPLES - 1) * PERIOD + 0.4
    above = max(0.5, last["temperature_max"] - last["temperature"])
    below = max(0.5, last["temperature"] - last["temperature_min"])
    for name, away, look in (("temperature_max", above, "band"), ("temperature", 0, "first"), ("temperature_min", -below, "band")):
        chart.label(end, last["temperature"] + away, name, look)
    chart.label(1, 22.1, "samples", "raw")
    return chart


def failure(sensors):
    pieces = runs(sensors["average"])
    silent, back = pieces[0][-1][0], pieces[1][0]
    chart = Chart("A sensor that fails is seen to fail",
                  "A thermometer that does not answer for a while. No value is reported meanwhile, the average forgets what was "
                  "before, and the first good value is reported at once.", (0, SAMPLES - 1), (18.7, 25.3))
    chart.axes("sample", range(0, SAMPLES, 10), "°C", range(19, 26, 2))
    chart.shade(silent, back[0])
    world = list(enumerate(series()["failure"]))
    chart.line(world[silent:back[0] + 1], "raw", width=0.7, dash=True)
    for piece in runs(sensors["raw"]):
        chart.line(piece, "raw", width=0.7)
    chart.dots(points(sensors["raw"]), "raw")
    for piece in pieces:
        chart.line(piece, "first")
    chart.rings([back], "second")
    middle = (silent + back[0]) / 2
    chart.label(middle, 24.9, "no answer, no value", "text", "middle")
    chart.label(middle, 19.2, "degraded, then down", "text", "middle")
    chart.label(back[0] + 1, back[1] - 1.6, "the first good value, at once", "second")
    chart.label(2, 21.2, "raw", "raw")
    chart.label(8, 19.1, "moving_average: 10", "first")
    return chart


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    os.environ["PATH"] += ":/usr/sbin"  # where Debian has Mosquitto, and only root looks
    for program in (sys.argv[1], "mosquitto", "mosquitto_sub", "stdbuf"):
        if not shutil.which(program):
            sys.exit(f"{program} is missing. Debian: apt install mosquitto mosquitto-clients coreutils; cargo build for fieldgate")
    with tempfile.TemporaryDirectory() as folder:
        readings = verified(*run(os.path.abspath(sys.argv[1]), Path(folder)))
    for draw in (outlier, noise, calibrate, spike, report, aggregate, failure):
        path = FOLDER / f"values-{draw.__name__}.svg"
        path.write_text(draw(readings[draw.__name__]).svg())
        print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
