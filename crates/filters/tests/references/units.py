"""Every ordered pair of the units of one kind, as pint converts them."""

import pint

# Ours, in the kinds and the order of UNITS in src/units.rs, and pint's names for them.
KINDS = [
    {"°C": "degree_Celsius", "°F": "degree_Fahrenheit", "K": "kelvin"},
    {
        "Pa": "pascal", "hPa": "hectopascal", "kPa": "kilopascal", "bar": "bar", "mbar": "millibar",
        "psi": "pound_force_per_square_inch", "inHg": "inch_Hg", "mmHg": "millimeter_Hg",
    },
    {"m": "meter", "cm": "centimeter", "mm": "millimeter", "km": "kilometer", "in": "inch", "ft": "foot"},
    {"V": "volt", "mV": "millivolt"},
    {"A": "ampere", "mA": "milliampere"},
    {"W": "watt", "kW": "kilowatt", "mW": "milliwatt"},
    {"kg": "kilogram", "g": "gram", "lb": "pound", "oz": "ounce"},
    {"L": "liter", "mL": "milliliter", "m³": "meter ** 3", "gal": "US_liquid_gallon"},
    {"m/s": "meter / second", "km/h": "kilometer / hour", "mph": "mile / hour", "kn": "knot"},
    {"Hz": "hertz", "kHz": "kilohertz"},
]

VALUES = [-40.0, 0.0, 1.0, 1013.25]


def unit_cases():
    registry = pint.UnitRegistry()
    for kind in KINDS:
        for ours, theirs in kind.items():
            for other, wanted in kind.items():
                if ours == other:
                    continue
                yield {
                    "unit": ours,
                    "filters": ["{ to: %s }" % other],
                    "reference": f"pint {pint.__version__}",
                    "series": [*VALUES, None],
                    "expected": [float(registry.Quantity(value, theirs).to(wanted).magnitude) for value in VALUES] + [None],
                }
