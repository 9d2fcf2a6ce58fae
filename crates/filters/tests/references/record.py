#!/usr/bin/env python3
"""Writes references.json: what programs not written here make of the series of series.py. tests/references.rs compares.

    python3.12 -m venv VENV && VENV/bin/pip install -r requirements.txt && PATH="VENV/bin:$PATH" python3 record.py

Also needs g++. A new filter wants a case in `numpy_cases`, `esphome_cases` or `other_cases`; the test names those without.
"""

import json
import sys
import tempfile
from decimal import ROUND_HALF_UP, Decimal
from importlib.metadata import version
from pathlib import Path

import numpy
import scipy

# Nothing but the file is to be left beside the sources.
sys.dont_write_bytecode = True

import oracle
from series import all_series
from spike import spike
from units import unit_cases

SERIES = all_series()
NUMPY, SCIPY = (f"{package} {version(package)}" for package in ("numpy", "scipy"))
RUNS = "the reference knows no missing values: it was given each run of values between two of them by itself"


def by_runs(compute, series):
    """What `compute` makes of each run of values by itself."""
    found, run = [], []
    for value in [*series, None]:
        if value is not None:
            run.append(value)
            continue
        found += [float(value) for value in compute(numpy.array(run))] if run else []
        found.append(None)
        run = []
    return found[:-1]


def case(filters, reference, series, expected, note=None):
    made = {"filters": filters, "reference": reference, "series": series, "expected": expected}
    return made | ({"note": note} if note else {})


def of_windows(compute, size):
    return lambda run: [compute(run[max(0, end - size) : end]) for end in range(1, len(run) + 1)]


def trailing(ndimage_filter, size, beyond):
    """A filter of scipy.ndimage, whose windows are centred, on windows that end at each value."""
    return lambda run: ndimage_filter(run, size, mode="constant", cval=beyond, origin=(size - 1) // 2)


def exponential(alpha):
    return lambda run: scipy.signal.lfilter([alpha], [1, alpha - 1], run, zi=[(1 - alpha) * run[0]])[0]


def calibrated(pairs):
    """A spline of degree 1, which scipy continues beyond the ends."""
    read, true = zip(*sorted(pairs))
    return scipy.interpolate.make_interp_spline(read, true, k=1)


def inside(low, high):
    return lambda run: numpy.ma.masked_outside(run, low, high).filled(numpy.nan)


PAIRS = [[0.4, 0.0], [20.1, 19.7]]
BENT = [[40.3, 39.6], [0.4, 0.0], [20.1, 19.7], [-10, -10.9]]
CURVE = [-1.2, 1.04, 0.0003]


def numpy_cases():
    """(filter, reference, what it computes of a run of values, the series)."""
    one_by_one = ["noise", "negative", "gaps"]
    windows = ["spikes", "repeated", "constant", "gaps"]
    yield "{ offset: -0.35 }", NUMPY, lambda run: numpy.add(run, -0.35), one_by_one
    yield "{ multiply: -1.8 }", NUMPY, lambda run: numpy.multiply(run, -1.8), one_by_one
    for pairs in (PAIRS, BENT):
        yield f"{{ calibrate: {pairs} }}", SCIPY, calibrated(pairs), ["steps", *one_by_one]
    for curve in (CURVE, [0.5, 0, -0.02, 0.001]):
        at = lambda run, curve=curve: numpy.polynomial.polynomial.polyval(run, curve)
        yield f"{{ polynomial: {curve} }}", NUMPY, at, ["steps", *one_by_one]
    for low, high in ((-1.5, 3), (20.5, 21.5)):
        clip = lambda run, low=low, high=high: numpy.clip(run, low, high)
        yield f"{{ clamp: [{low}, {high}] }}", NUMPY, clip, ["noise", *windows]
        yield f"{{ within: [{low}, {high}] }}", NUMPY, inside(low, high), ["noise", *windows]
    for size in (1, 4, 5):
        yield f"{{ median: {size} }}", NUMPY, of_windows(numpy.median, size), windows
    for size in (2, 7):
        yield f"{{ moving_average: {size} }}", NUMPY, of_windows(numpy.mean, size), ["pascals", *windows]
        yield f"{{ minimum: {size} }}", SCIPY, trailing(scipy.ndimage.minimum_filter1d, size, numpy.inf), windows
        yield f"{{ maximum: {size} }}", SCIPY, trailing(scipy.ndimage.maximum_filter1d, size, -numpy.inf), windows
    for size, q in ((6, 0.9), (5, 0.05), (4, 0.333), (3, 0), (3, 1)):
        quantile = lambda window, q=q: numpy.quantile(window, q)
        yield f"{{ quantile: {{ window: {size}, q: {q} }} }}", NUMPY, of_windows(quantile, size), windows
    for alpha in (0.1, 0.65, 1):
        yield f"{{ exponential_moving_average: {alpha} }}", SCIPY, exponential(alpha), ["drift", "steps", "constant", "gaps"]


def nearest_multiple(step):
    def nearest(value):
        ratio = Decimal(repr(value)) / Decimal(str(step))
        return float(ratio.quantize(Decimal(1), ROUND_HALF_UP) * Decimal(str(step)))

    return lambda series: [None if value is None else nearest(value) for value in series]


def other_cases():
    for step in (0.1, 0.5, 2):
        for name in ("twentieths", "quarters", "gaps"):
            expected = nearest_multiple(step)(SERIES[name])
            yield case([f"{{ round: {step} }}"], "decimal of Python", name, expected)
    for by, count, names in (
        (5, 3, ["spikes", "steps", "jumpy", "jumps and gaps"]),
        (2, 2, ["jumpy", "gaps"]),
        (4, 5, ["jumpy"]),
        (0.2, 3, ["tenths"]),
    ):
        for name in names:
            expected = spike(SERIES[name], by, count)
            yield case([f"{{ spike: {{ by: {by}, for: {count} }} }}"], "plain model from the page", name, expected)


WINDOWS = {
    "median": "median",
    "minimum": "min",
    "maximum": "max",
    "moving_average": "sliding_window_moving_average",
}


def window(name, size):
    return {name: {"window_size": size, "send_every": 1, "send_first_at": 1}}


def mean(alpha):
    return {"exponential_moving_average": {"alpha": alpha, "send_every": 1, "send_first_at": 1}}


def points(pairs):
    return [f"{read} -> {true}" for read, true in sorted(pairs)]


def esphome_cases():
    """(our filters, ESPHome's, the series). Missing values only where both promise the same of them."""
    one_by_one = ["steps", "gaps"]
    yield ["{ offset: -0.35 }"], [{"offset": -0.35}], one_by_one
    yield ["{ multiply: -1.8 }"], [{"multiply": -1.8}], one_by_one
    yield [f"{{ calibrate: {PAIRS} }}"], [{"calibrate_linear": points(PAIRS)}], one_by_one
    bent = {"calibrate_linear": {"method": "exact", "datapoints": points(BENT)}}
    yield [f"{{ calibrate: {BENT} }}"], [bent], one_by_one
    # Three points of the curve itself: what least squares find is the curve.
    fitted = {"calibrate_polynomial": {"degree": 2, "datapoints": points([[0, -1.2], [10, 9.23], [50, 51.55]])}}
    yield [f"{{ polynomial: {CURVE} }}"], [fitted], one_by_one
    yield ["{ clamp: [-1.5, 20.25] }"], [{"clamp": {"min_value": -1.5, "max_value": 20.25}}], ["steps", "repeated"]
    dropped = {"clamp": {"min_value": -1.5, "max_value": 20.25, "ignore_out_of_range": True}}
    yield ["{ within: [-1.5, 20.25] }"], [dropped], ["steps", "repeated", "gaps"]
    for ours, theirs in WINDOWS.items():
        for size in (4, 5):
            yield [f"{{ {ours}: {size} }}"], [window(theirs, size)], ["spikes", "drift"]
    yield ["{ exponential_moving_average: 0.1 }"], [mean(0.1)], ["steps", "drift"]
    yield ["{ skip_initial: 3 }"], [{"skip_initial": 3}], ["noise"]
    # No series in which half-way is so in decimals only: 32 bits and 64 bits may fall to different sides of it.
    yield ["{ round: 1 }"], [{"round": 0}], ["quarters", "steps", "gaps"]
    yield ["{ round: 0.1 }"], [{"round": 1}], ["quarters"]
    yield ["{ round: 0.25 }"], [{"round_to_multiple_of": 0.25}], ["noise", "gaps"]
    ours = [f"{{ calibrate: {BENT} }}", "{ median: 5 }", "{ exponential_moving_average: 0.5 }", "{ multiply: 1.8 }"]
    theirs = [bent, window("median", 5), mean(0.5), {"multiply": 1.8}]
    yield [*ours, "{ offset: 32 }"], [*theirs, {"offset": 32}], ["spikes", "drift"]


GAPS = "ESPHome leaves a missing value out and goes on; here it is no value, and what was before it is forgotten"


def esphome_differences():
    """(our filter, ESPHome's, the series, what differs and why)."""
    for ours, theirs in WINDOWS.items():
        yield f"{{ {ours}: 4 }}", window(theirs, 4), "gaps", GAPS
    yield "{ exponential_moving_average: 0.1 }", mean(0.1), "gaps", GAPS
    counted = "ESPHome counts a missing value; here it is not counted, for it says nothing of how far the sensor has settled"
    yield "{ skip_initial: 3 }", {"skip_initial": 3}, "gaps", counted
    number = "ESPHome makes the lower end of a missing value; here it stays no value"
    yield "{ clamp: [-1.5, 20.25] }", {"clamp": {"min_value": -1.5, "max_value": 20.25}}, "gaps", number
    rank = "ESPHome takes the nearest of the values; here it goes in a straight line between two, as numpy's does"
    nearest = window("quantile", 6)
    nearest["quantile"]["quantile"] = 0.9
    yield "{ quantile: { window: 6, q: 0.9 } }", nearest, "spikes", rank
    even = "ESPHome takes half-way to the even multiple; here it goes away from 0, as in ESPHome's own `round`"
    yield "{ round: 0.5 }", {"round_to_multiple_of": 0.5}, "quarters", even
    line = "ESPHome's default is one line that fits best and need not go through any pair; here it goes through all"
    yield f"{{ calibrate: {BENT} }}", {"calibrate_linear": points(BENT)}, "steps", line


def from_esphome():
    """The cases and the differences."""
    wanted = [(ours, theirs, name, None) for ours, theirs, names in esphome_cases() for name in names]
    wanted += [([ours], [theirs], name, note) for ours, theirs, name, note in esphome_differences()]
    with tempfile.TemporaryDirectory() as folder:
        found = oracle.results(Path(folder), [(theirs, SERIES[name]) for _, theirs, name, _ in wanted])
    reference = f"esphome {version('esphome')}"
    made = [case(ours, reference, name, values, note) for (ours, _, name, note), values in zip(wanted, found)]
    return [case for case in made if "note" not in case], [case for case in made if "note" in case]


def short(value):
    """Twelve digits are a thousand times finer than the finest tolerance."""
    if isinstance(value, float):
        return None if numpy.isnan(value) else float(f"{value:.12g}") + 0.0
    if isinstance(value, list):
        return [short(item) for item in value]
    return value


def line(entry):
    return json.dumps({key: short(value) for key, value in entry.items()}, ensure_ascii=False)


def main():
    cases = []
    for filter_, reference, compute, names in numpy_cases():
        for name in names:
            note = RUNS if None in SERIES[name] else None
            cases.append(case([filter_], reference, name, by_runs(compute, SERIES[name]), note))
    agreeing, differing = from_esphome()
    cases += [*other_cases(), *agreeing, *unit_cases()]
    named = ",\n".join(f"{json.dumps(name)}: {json.dumps(values)}" for name, values in SERIES.items())
    parts = [f'"series": {{\n{named}\n}}']
    for part, entries in (("cases", cases), ("differences", differing)):
        parts.append(f'"{part}": [\n' + ",\n".join(map(line, entries)) + "\n]")
    (Path(__file__).parent / "references.json").write_text("{\n" + ",\n".join(parts) + "\n}\n")


main()
