"""Writes reference.tsv beside this file: what psychrolib and MetPy say of moist air.

    python3 -m venv venv && venv/bin/pip install psychrolib==2.5.0 metpy==1.7.1
    venv/bin/python reference_weather.py

Neither has all: psychrolib (ASHRAE, Hyland and Wexler) takes humidity over ice below the triple point, where sensors and ours take
it over water, so MetPy (Ambaum 2020) is asked there. MetPy's own dew point is another form of ours, so its vapour pressure is
solved for the temperature instead. Its heat index corrects moderate values for dry air too, which the weather service does to
the regression alone; those rows are left out.
"""

import math
import pathlib
import warnings

import metpy
import metpy.calc
import psychrolib
from metpy.units import units
from scipy.optimize import brentq

warnings.simplefilter("ignore")  # MetPy does not like heat indices of cool air.
psychrolib.SetUnitSystem(psychrolib.SI)

TRIPLE_POINT = 0.01
PSYCHROLIB = "psychrolib 2.5.0"
METPY = f"MetPy {metpy.__version__}"
PRESSURE_HPA = 1013.25

TEMPERATURES = [-45, -40, -25, -10, -1, 1, 10, 20, 30, 40, 50, 60]
HUMIDITIES = [1, 10, 35, 65, 90, 100]


def saturation_over_water(celsius):
    return float(metpy.calc.saturation_vapor_pressure(celsius * units.degC, phase="liquid").m_as("hPa"))


def vapour_pressure(celsius, percent):
    if celsius > TRIPLE_POINT:
        return psychrolib.GetVapPresFromRelHum(celsius, percent / 100) / 100, PSYCHROLIB
    return percent / 100 * saturation_over_water(celsius), METPY


def dew_point(celsius, percent):
    pressure, _ = vapour_pressure(celsius, percent)
    if celsius > TRIPLE_POINT and pressure > saturation_over_water(TRIPLE_POINT):
        return psychrolib.GetTDewPointFromRelHum(celsius, percent / 100), PSYCHROLIB
    return brentq(lambda t: saturation_over_water(t) - pressure, -100, 1), METPY


def absolute_humidity(celsius, percent):
    pressure, reference = vapour_pressure(celsius, percent)
    if reference == PSYCHROLIB:
        ratio = psychrolib.GetHumRatioFromVapPres(pressure * 100, PRESSURE_HPA * 100)
        return 1000 * ratio / psychrolib.GetMoistAirVolume(celsius, ratio, PRESSURE_HPA * 100), reference
    ratio = metpy.calc.mixing_ratio(pressure * units.hPa, PRESSURE_HPA * units.hPa)
    density = metpy.calc.density(PRESSURE_HPA * units.hPa, celsius * units.degC, ratio)
    return (density * ratio / (1 + ratio)).m_as("g/m^3"), reference


def is_moderate_and_dry(celsius, percent):
    fahrenheit = celsius * 1.8 + 32
    return percent < 13 and fahrenheit >= 80 and 1.1 * fahrenheit - 10.3 + 0.047 * percent < 79


def heat_index(celsius, percent):
    index = metpy.calc.heat_index(celsius * units.degC, percent * units.percent, mask_undefined=False)
    return float(index.m_as("degC")[0]), METPY


def sea_level_pressure(hectopascal, celsius, metres):
    return psychrolib.GetSeaLevelPressure(hectopascal * 100, metres, celsius) / 100, PSYCHROLIB


def standard_atmosphere():
    """The standard atmosphere at a height, which must have the standard pressure at sea level."""
    for metres in (-500, -100, 0, 50, 200, 500, 1000, 1500, 2000, 3000):
        pressure = psychrolib.GetStandardAtmPressure(metres) / 100
        temperature = psychrolib.GetStandardAtmTemperature(metres)
        yield "sea_level_pressure", (round(pressure, 4), temperature, metres), PRESSURE_HPA, f"{PSYCHROLIB}, standard atmosphere"


def rows():
    air = [(celsius, percent) for celsius in TEMPERATURES for percent in HUMIDITIES]
    for celsius, percent in air:
        yield "vapour_pressure", (celsius, percent), *vapour_pressure(celsius, percent)
        yield "absolute_humidity", (celsius, percent), *absolute_humidity(celsius, percent)
        temperature, reference = dew_point(celsius, percent)
        if temperature >= -45:
            yield "dew_point", (celsius, percent), temperature, reference
    for celsius in (-10, 4, 6, 18, 24, 26, 27, 28, 30, 31, 36, 44, 46, 50):
        for percent in (0, 8, 12, 14, 40, 70, 84, 86, 100):
            index, reference = heat_index(celsius, percent)
            if index <= 58.3 and not is_moderate_and_dry(celsius, percent):
                yield "heat_index", (celsius, percent), index, reference
    for metres in (-400, 0, 120, 900, 2500, 5000):
        for celsius in (-30, 0, 30):
            pressure = round(PRESSURE_HPA * math.exp(-metres / 8000))
            yield "sea_level_pressure", (pressure, celsius, metres), *sea_level_pressure(pressure, celsius, metres)
    yield from standard_atmosphere()


def main():
    lines = ["# Made by reference_weather.py.", "function\targuments\tresult\treference"]
    for function, arguments, result, reference in sorted(rows(), key=lambda row: row[0]):
        numbers = " ".join(f"{argument:g}" if argument == round(argument, 2) else str(argument) for argument in arguments)
        lines.append(f"{function}\t{numbers}\t{result:.6g}\t{reference}")
    pathlib.Path(__file__).with_name("reference.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
