"""Runs one reference driver on a chip that is simulated elsewhere.

    python reference.py FILE

Everything goes over standard input and output, one JSON object a line. First we send what FILE says of itself: the ranges of
the world that its chip is put into, the differences that it allows, the settings to try. Then, for each `{"settings": …}` that
comes in, the reference takes one sampling, or with `"drive": …` makes its output do that; the transfers that it makes are asked
for, and at the end `{"result": …}` or `{"error": …}` is sent.
"""

import importlib.util
import json
import sys
import time
import traceback
import types

# What the reference prints must not get between the lines of the protocol.
say, sys.stdout = sys.stdout, sys.stderr


def send(message):
    say.write(json.dumps(message) + "\n")
    say.flush()


def ask(question):
    send(question)
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


class SPI:
    """As CircuitPython's busio.SPI. Each call is one transaction with its own chip select."""

    def try_lock(self):
        return True

    def unlock(self):
        pass

    def configure(self, **_):
        pass

    def write(self, buffer, *, start=0, end=None):
        self._exchange(bytes(buffer[start:end]))

    def readinto(self, buffer, *, start=0, end=None, write_value=0):
        end = len(buffer) if end is None else end
        buffer[start:end] = self._exchange(bytes([write_value]) * (end - start))

    def write_readinto(self, out_buffer, in_buffer, *, out_start=0, out_end=None, in_start=0, in_end=None):
        in_end = len(in_buffer) if in_end is None else in_end
        in_buffer[in_start:in_end] = self._exchange(bytes(out_buffer[out_start:out_end]))

    def _exchange(self, out):
        return bytes.fromhex(ask({"spi": out.hex()})["read"])


class UART:
    """As CircuitPython's busio.UART."""

    def write(self, data):
        ask({"send": bytes(data).hex()})
        return len(data)

    def read(self, size=1):
        return bytes.fromhex(ask({"receive": size})["read"]) or None

    def reset_input_buffer(self):
        pass

    def close(self):
        pass


class PWM:
    """As CircuitPython's pwmio.PWMOut: 16 bits a period."""

    @property
    def frequency(self):
        return ask({"pwm": {}})["frequency"]

    @property
    def duty_cycle(self):
        return round(ask({"pwm": {}})["percent"] / 100 * 0xFFFF)

    @duty_cycle.setter
    def duty_cycle(self, duty):
        ask({"pwm": {"percent": duty / 0xFFFF * 100}})


class Files:
    """The files of the simulated kernel."""

    def read(self, path):
        return ask({"file": str(path)})["text"]

    def list(self, path):
        return ask({"folder": str(path)})["names"]

    def copy(self, path, folder):
        """All of a folder's files, into one that a reference can open."""
        for name in self.list(path):
            (folder / name).write_text(self.read(f"{path}/{name}") + "\n")


BUSES = {"i2c": I2C, "spi": SPI, "uart": UART, "pwm": PWM, "files": Files}


def stand_in():
    """The modules that a reference imports for the sake of real hardware, and a clock that does not make it wait."""
    sys.modules["micropython"] = types.SimpleNamespace(const=lambda value: value)
    busio = types.ModuleType("busio")
    busio.I2C, busio.SPI, busio.UART = I2C, SPI, UART
    sys.modules["busio"] = busio
    line = types.SimpleNamespace(switch_to_output=lambda value=False: None, value=True)
    digitalio = types.ModuleType("digitalio")
    digitalio.DigitalInOut = lambda pin=None: line
    digitalio.Direction = type("Direction", (), {"INPUT": 0, "OUTPUT": 1})
    digitalio.Pull = type("Pull", (), {"UP": 1, "DOWN": 2})
    sys.modules["digitalio"] = digitalio
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
            "world": getattr(reference, "WORLD", {}),
            "tolerance": getattr(reference, "TOLERANCE", {}),
            "settings": getattr(reference, "SETTINGS", [None]),
        }
    )
    while True:
        try:
            bus = BUSES[getattr(reference, "BUS", "i2c")]()
            if "drive" in request:
                reference.drive(bus, request["settings"], request["drive"])
                answer = {"result": {}}
            else:
                answer = {"result": reference.read(bus, request["settings"])}
        except Exception:
            answer = {"error": traceback.format_exc()}
        request = ask(answer)


main()
