"""The series that the filters are tried on: what sensors say on good and on bad days. None is a sample without a value.

All are rounded to the decimals that such a sensor has, so that the file shows exactly what was computed with.
"""

import numpy


def rounded(values, decimals):
    # Adding 0 turns -0 into 0.
    return [round(float(value), decimals) + 0.0 for value in values]


def all_series():
    chance = numpy.random.default_rng(20261129)
    noise = rounded(chance.normal(21, 0.4, 40), 2)
    steps = rounded(numpy.repeat([4.0, 19.5, 19.5, -7.0, 60.0], 8) + chance.normal(0, 0.2, 40), 1)
    spikes = rounded(chance.normal(21, 0.3, 40), 1)
    # One wrong value; two that agree; three that do not; three that agree, which is a jump that stays.
    spikes[5], spikes[11:13], spikes[18:21], spikes[28:31] = 85.0, [85.0, 85.0], [-127.0, 85.0, 127.9], [60.2, 61.0, 58.4]
    gaps = rounded(chance.normal(0, 5, 40), 2)
    for missing in (0, 4, 11, 12, 20, 22, 31, 32, 33, 39):
        gaps[missing] = None
    return {
        "noise": noise,
        "steps": steps,
        "spikes": spikes,
        "drift": rounded(numpy.linspace(9.5, 10.5, 40) + chance.normal(0, 0.01, 40), 3),
        "negative": rounded(chance.normal(-15, 10, 40), 2),
        "constant": [7.3] * 12,
        "repeated": [float(value) for value in chance.choice([0.0, 1.5, -1.5, 3.0], 40)],
        # Half-way between halves, wholes and twos, exactly so in binary too.
        "quarters": [quarter / 4 for quarter in range(-14, 15)],
        # Half-way between tenths as decimals are written, and never exactly so in binary.
        "twentieths": [round(twentieth * 0.05, 2) + 0.0 for twentieth in range(-21, 22, 2)] + [1.15, 20.35, 4.35, 1.005],
        # Steps of exactly 0.2 as decimals are written, some of which are more in binary.
        "tenths": [0.7, 0.9, 1.1, 0.9, 0.7, 0.5, 0.3, 0.1, -0.1, 0.1, 2.0, 2.2, 2.4, 2.6, 8.1, 8.3, 8.5, 8.3],
        "pascals": rounded(chance.normal(101_325, 40, 40), 0),
        "jumpy": rounded(chance.choice([10.0, 10.0, 10.0, 40.0, 40.0, -30.0], 120) + chance.normal(0, 1.5, 120), 1),
        "gaps": gaps,
        "jumps and gaps": [20.0, None, 50.0, 90.0, None, 90.0, 91.0, 20.0, 20.5, None, 20.0, 80.0, 81.0, 82.0, None, 20.0],
    }
