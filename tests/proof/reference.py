"""Runs one reference driver on a chip that is simulated elsewhere.

    python reference.py FILE

Everything goes over standard input and output, one JSON object a line. First we tell what FILE says of itself: the ranges of
the world that its chip is put into, the differences that it allows, the settings to try. Then, for each `{"settings": …}` that
comes in, the reference takes one sampling; the transfers that it makes are asked for, and at the end `{"result": …}` or
`{"error": …}` is told.
"""

import importlib.util
import json
import sys
import time
import traceback
import types

# What the reference prints must not get between the lines of the protocol.
say, sys.stdout = sys.stdout, sys.stderr


def tell(message):
    say.write(json.dumps(message) + "\n")
    say.flush()


def ask(question):
    tell(question)
    line = sys.stdin.readline()
    if not line:
        sys.exit(0)
    return json.loads(line)


class I2C:
    """As CircuitPython's busio.I2C."""

    def try_lock(self):
        return True

    def unlock(self):
        pass

    def deinit(self):
        pass

    def writeto(self, address, buffer, *, start=0, end=None, stop=True):
        self._transfer(address, bytes(buffer[start:end]), 0)

    def readfrom_into(self, address, buffer, *, start=0, end=None, stop=True):
        end = len(buffer) if end is None else end
        buffer[start:end] = self._transfer(address, None, end - start)

    def writeto_then_readfrom(
        self, address, out_buffer, in_buffer, *, out_start=0, out_end=None, in_start=0, in_end=None, stop=False
    ):
        in_end = len(in_buffer) if in_end is None else in_end
        in_buffer[in_start:in_end] = self._transfer(address, bytes(out_buffer[out_start:out_end]), in_end - in_start)

    def _transfer(self, address, written, wanted):
        question = {"address": address, "write": None if written is None else written.hex(), "read": wanted}
        answer = ask(question)
        if "read" not in answer:
            raise OSError(121, f"no answer at {address:#04x}")
        return bytes.fromhex(answer["read"])


def stand_in():
    """The modules that a reference imports for the sake of real hardware, and a clock that does not make it wait."""
    sys.modules["micropython"] = types.SimpleNamespace(const=lambda value: value)
    busio = types.ModuleType("busio")
    busio.I2C = I2C
    sys.modules["busio"] = busio
    now = [1000.0]

    def sleep(seconds):
        now[0] += seconds

    def monotonic():
        now[0] += 0.000_1
        return now[0]

    time.sleep = sleep
    time.monotonic = monotonic
    time.monotonic_ns = lambda: int(monotonic() * 1e9)


def main():
    stand_in()
    spec = importlib.util.spec_from_file_location("reference", sys.argv[1])
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    request = ask(
        {
            "world": reference.WORLD,
            "tolerance": getattr(reference, "TOLERANCE", {}),
            "settings": getattr(reference, "SETTINGS", [None]),
        }
    )
    while True:
        try:
            answer = {"result": reference.read(I2C(), request["settings"])}
        except Exception:
            answer = {"error": traceback.format_exc()}
        request = ask(answer)


main()
