"""ESPHome's filters, compiled for Linux by its own `host` platform: series in, series out.

One build holds all cases, each with a sensor of its own, so that nothing is remembered from one to the next. All values are
published one behind the other without waiting: none of these filters computes with time.
"""

import json
import math
import subprocess

TEMPLATE = """
esphome:
  name: oracle
  on_boot:
    priority: -100
    then:
      - lambda: |-
{publish}
          fflush(stdout);
          _exit(0);
host:
logger:
  level: NONE
globals:
  - id: place
    type: int
sensor:
{sensors}
"""

PUBLISH = """
          {{
            static const float values[] = {{ {values} }};
            for (id(place) = 0; id(place) < {count}; id(place)++) id(case_{case}).publish_state(values[id(place)]);
          }}
"""

SENSOR = """
  - platform: template
    id: case_{case}
    name: case {case}
    update_interval: never
    filters: {filters}
    on_value:
      then:
        - lambda: 'printf("value {case} %d %.9g\\n", id(place), x);'
"""


def number(value):
    return "NAN" if value is None else f"{value!r}f"


def results(folder, cases):
    """What ESPHome makes of each (filters as its YAML has them, series); None where it publishes nothing, or NaN."""
    publish = [
        PUBLISH.format(values=", ".join(map(number, series)), count=len(series), case=case)
        for case, (_, series) in enumerate(cases)
    ]
    sensors = [SENSOR.format(case=case, filters=json.dumps(filters)) for case, (filters, _) in enumerate(cases)]
    text = TEMPLATE.format(publish="".join(publish), sensors="".join(sensors))
    (folder / "oracle.yaml").write_text(text)
    built = subprocess.run(["esphome", "compile", "oracle.yaml"], cwd=folder, capture_output=True, text=True)
    if built.returncode:
        raise RuntimeError(built.stdout[-3000:] + built.stderr[-3000:])
    said = (built.stdout + built.stderr).splitlines()
    program = next(line.split("'")[1] for line in said if "compiled program to path" in line)
    found = [[None] * len(series) for _, series in cases]
    for line in subprocess.run([program], capture_output=True, text=True, check=True, timeout=60).stdout.splitlines():
        word, *rest = line.split()
        if word == "value":
            case, place, value = int(rest[0]), int(rest[1]), float(rest[2])
            found[case][place] = None if math.isnan(value) else value
    return found
