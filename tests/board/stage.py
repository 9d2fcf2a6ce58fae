"""What the phases share."""
import json
import time

from stand import Trouble

CONFIG = "/etc/fieldgate/fieldgate.yaml"
BASE = "fieldgate/board"
LABEL = "fieldgate-edges"
PUMP, FAN = 22, 27  # pins; fan is active-low


class Stage:
    """The board, the host's broker and what was heard there."""

    def __init__(self, board, broker, heard, report, sources, package):
        self.board, self.broker, self.heard, self.check, self.sources = board, broker, heard, report.check, sources
        self.package = package  # the name of its file in the folder of `pi`
        with_port = lambda name: (sources / "tests/board" / name).read_text().replace("@PORT@", str(broker.port))
        self.config, self.twin = with_port("fieldgate.yaml"), with_port("twin.yaml")
        self.before, self.last = set(), []  # files before the installation, and the README's commands for the end
        self.counted = 0  # pulses that were published
        self.freed = 0  # the message from which on `taken` may recover
        self.proven = {}  # (driver, "kernel" or "qemu", which): whether all checks of it passed

    def proves(self, driver, kind, which, what, good, detail=""):
        """A check that stands for what the table of drivers claims; `claims` compares the two at the end."""
        key = driver, kind, which
        self.proven[key] = self.proven.get(key, True) and good
        return self.check(what, good, detail)

    def reading(self, sensor, wanted=lambda reading: True, seconds=30):
        """The first reading from now on that is wanted."""
        return self.heard.wait(f"sensors/{sensor}", lambda text: wanted(json.loads(text)), seconds).json()

    def status(self, sensor, wanted, seconds=30, since=0):
        """The first status since the mark that is as wanted."""
        is_wanted = lambda text: text and json.loads(text)["status"] in wanted
        return self.heard.wait(f"sensors/{sensor}/status", is_wanted, seconds, since).json()

    def command(self, actuator, value, name):
        """Sends a command; returns the reply to it. `online` is published before commands are subscribed to, so one that gets no
        answer is sent again, under the same id.
        """
        since, is_mine = self.heard.mark(), lambda text: json.loads(text)["id"] == name
        for _ in range(5):
            self.broker.publish(f"actuators/{actuator}/set", json.dumps({"value": value, "id": name}))
            try:
                return self.heard.wait(f"actuators/{actuator}/reply", is_mine, 6, since).json()
            except Trouble as error:
                unanswered = error
        raise unanswered

    def switch(self, actuator, value, name):
        """A command that must be done."""
        reply = self.command(actuator, value, name)
        if reply["outcome"] != "done":
            raise Trouble(f"{actuator}: {reply}")

    def switch_on(self, name):
        """Both outputs on, to be made safe by what the phase does."""
        for actuator in ("pump", "fan"):
            self.switch(actuator, "on", f"{name}-{actuator}")

    def levels(self):
        """Of pump and fan: True is high."""
        return self.board.level(PUMP), self.board.level(FAN)

    def show(self, *names):
        """Properties of the service, in the order of the names."""
        out = self.board.run("systemctl show fieldgate -p " + ",".join(names)).ok()
        properties = dict(line.split("=", 1) for line in out.splitlines())
        return [properties[name] for name in names]

    def started(self, *names):
        """The same, once systemd has taken in that it is ready, which may be after `online` has reached the broker."""
        end = time.monotonic() + 30
        while self.show("ActiveState") == ["activating"] and time.monotonic() < end:
            time.sleep(0.5)
        return self.show(*names)


def near(value):
    """Accepts a temperature, to the resolution of the chip."""
    return lambda reading: abs(reading["temperature"] - value) <= 0.07
