#!/usr/bin/env python3
"""The phases in their order, and those that a board of its own can take, so that two boards share the work.

    parts.py    fails unless the parts have every phase between them, and .ci/run runs each part
"""
import re
import sys
from pathlib import Path

sys.dont_write_bytecode = True  # the sources' folder stays as it is

import account
import backends
import buses
import failing
import kernel
import lives
import measuring
import scanning
import service
import walk

PHASES = (
    measuring.solder, walk.first_minutes, kernel.thermometer, kernel.memory_chips, kernel.multiplexer,
    measuring.start, measuring.thermometer, measuring.register_maps, measuring.absent_chip, measuring.bound_chip, scanning.scan,
    measuring.outputs, measuring.moving_outputs, measuring.edges, measuring.kernel_sensors, measuring.pulses,
    backends.backends_agree,
    lives.link_cut, measuring.recovered, lives.killed, lives.reloads,
    buses.half_missing, buses.chip_unplugged, buses.adapter_unplugged, buses.kernel_outputs, buses.all_removed,
    failing.failing_outputs, failing.kills, failing.crashes, failing.hang, failing.hung_bus, failing.held_bus,
    failing.broken_file,
    failing.no_safe_state, failing.after_the_end, failing.failing_removed,
    service.held, service.later_devices, service.clock, service.wrong_file, service.credential, service.reboot,
    lives.figures, lives.power_cut, lives.stop,
    account.nothing_is_missing, account.claims, walk.last_minute,
)

# They start the board again, which takes longer than all that they look at, and need little of what is before them.
POWER = (service.reboot, lives.power_cut)

PARTS = {
    "work": tuple(phase for phase in PHASES if phase not in POWER),
    "power": (measuring.solder, walk.package_installed, measuring.start, measuring.pulses, *POWER, lives.stop,
              account.nothing_is_missing),
}


def problems(ci):
    """What keeps the parts from being the whole."""
    shared = {phase for part in PARTS.values() for phase in part}
    yield from (f"no part has {phase.__module__}.{phase.__name__}" for phase in PHASES if phase not in shared)
    begun = re.findall(r"--board\b *(\w*)", ci)
    if sorted(begun) != sorted(PARTS):
        yield f".ci/run runs {begun} of the parts {list(PARTS)}"


def main():
    """Prints what is wrong, or how many phases there are."""
    wrong = list(problems((Path(__file__).resolve().parents[2] / ".ci/run").read_text()))
    print("\n".join(wrong) or f"{len(PHASES)} phases, all in " + " or ".join(PARTS))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
