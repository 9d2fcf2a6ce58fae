#!/usr/bin/env python3
"""The main job on an emulated board, seen from the host's broker. Started by run.sh, which builds what this needs.

    board.py PI-BENCH PROGRAM SOURCES

Each phase is a function; each check in it prints PASS or FAIL, and a phase that breaks off counts as a FAIL. The board is
slow and shares its processor, so every wait has a generous limit: nothing about speed is concluded here.
"""
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from stand import Board, Broker, Listener, Report, Trouble, ended_by_signals

CONFIG = "/etc/fieldgate/fieldgate.yaml"
BASE = "fieldgate/board"
LABEL = "fieldgate-edges"
PUMP, FAN = 22, 27  # pins; fan is active-low

# The chips that are register maps. BME280: calibration and raw values of Bosch's worked example (BST-BMP280-DS001, 3.12),
# 25.08 °C and 1006.53 hPa; the humidity words are merely plausible. SHT3x: the answer to the single shot 0x2400,
# 25.00 °C and 50.0 % with their checksums.
BME280 = {
    "d0": "60",
    "88": "70 6b 43 67 18 fc 7d 8e 43 d6 d0 0b 27 0b 8c 00 f9 ff 8c 3c f8 c6 70 17 00 4b",
    "e1": "72 01 00 13 29 03 1e",
    "f3": "00",
    "f7": "65 5a c0 7e ed 00 6e 6a",
}
SHT3X = {"2400": "66 66 93 80 00 a2"}

# What differs between the two back ends: the rest of tests/board/twin.yaml is the same for both.
BACKENDS = {
    "linux": {"@I2C@": "", "@GPIO@": "chip: /dev/gpiochip0", "@LAMPS@": ""},
    "rppal": {"@I2C@": ", backend: rppal", "@GPIO@": "backend: rppal", "@LAMPS@":
              "  glow: { driver: pwm-output, bus: header, settings: { line: GPIO25, frequency: 5 }, safe_state: 0,"
              " safe_after: never }\n"},
}
LAMP, KEY, GLOW = 23, 24, 25  # pins that only the twins use

WAVE = "  wave: { driver: waveform, every: 1s, settings: { shape: constant, offset: 7 } }\n"


class Stage:
    """What the phases share."""

    def __init__(self, board, broker, heard, report, sources):
        self.board, self.broker, self.heard, self.check = board, broker, heard, report.check
        with_port = lambda name: (sources / "tests/board" / name).read_text().replace("@PORT@", str(broker.port))
        self.config, self.twin = with_port("fieldgate.yaml"), with_port("twin.yaml")
        self.counted = 0  # pulses that were published
        self.freed = 0  # the message from which on `taken` may recover

    def reading(self, sensor, wanted=lambda reading: True, seconds=30):
        """The first reading from now on that is wanted."""
        return self.heard.wait(f"sensors/{sensor}", lambda text: wanted(json.loads(text)), seconds).json()

    def status(self, sensor, wanted, seconds=30, since=0):
        """The first status since the mark that is as wanted."""
        is_wanted = lambda text: text and json.loads(text)["status"] in wanted
        return self.heard.wait(f"sensors/{sensor}/status", is_wanted, seconds, since).json()

    def command(self, actuator, value, name):
        """Sends a command; returns the reply to it."""
        since = self.heard.mark()
        self.broker.publish(f"actuators/{actuator}/set", json.dumps({"value": value, "id": name}))
        is_mine = lambda text: json.loads(text)["id"] == name
        return self.heard.wait(f"actuators/{actuator}/reply", is_mine, 30, since).json()

    def switch_on(self, name):
        """Both outputs on, to be made safe by what the phase does."""
        for actuator in ("pump", "fan"):
            reply = self.command(actuator, "on", f"{name}-{actuator}")
            if reply["outcome"] != "done":
                raise Trouble(f"{actuator}: {reply}")

    def levels(self):
        """Of pump and fan: True is high."""
        return self.board.level(PUMP), self.board.level(FAN)

    def show(self, *names):
        """Properties of the service, in the order of the names."""
        out = self.board.run("systemctl show fieldgate -p " + ",".join(names)).ok()
        properties = dict(line.split("=", 1) for line in out.splitlines())
        return [properties[name] for name in names]


def near(value):
    """Accepts a temperature, to the resolution of the chip."""
    return lambda reading: abs(reading["temperature"] - value) <= 0.07


def power_on(board, program, sources, folder):
    """Puts the service onto a new card, as a package would, and starts the board."""
    slim = folder / "fieldgate"
    subprocess.run(["aarch64-linux-gnu-strip", "-o", slim, program], check=True)
    units = sources / "systemd"
    for source, place, mode in (
        (slim, "/usr/bin/fieldgate", "0755"),
        (units / "fieldgate.service", "/etc/systemd/system/fieldgate.service", "0644"),
        (units / "fieldgate.sysusers", "/usr/lib/sysusers.d/fieldgate.conf", "0644"),
        (units / "fieldgate.tmpfiles", "/usr/lib/tmpfiles.d/fieldgate.conf", "0644"),
    ):
        board.bench("card-put", "--mode", mode, str(source), place)
    print("info  the board is " + board.bench("boot").strip(), flush=True)


def solder(s):
    """What is at hand on a real board: chips, lines, another program that holds one of them."""
    s.board.bench("sim-chip", "--label", LABEL)
    s.board.bench("sim-set", "5", "1")  # gate is active-low: at rest
    s.board.bench("set-temp", "21.5")
    for address, registers in (("0x76", BME280), ("0x44", SHT3X)):
        for register, data in registers.items():
            s.board.bench("reg-set", address, register, *data.split())
    s.board.run("set -e; modprobe tmp421; echo tmp421 0x4c >/sys/bus/i2c/devices/i2c-1/new_device;"
                f"systemd-run -q --unit=holder gpiomon {LABEL} 6").ok()


def start(s):
    """1 and 10: the file is checked, the service becomes ready, its birth is heard."""
    s.board.run("systemd-sysusers && systemd-tmpfiles --create fieldgate.conf && systemctl daemon-reload").ok()
    s.board.write(CONFIG, s.config)
    s.board.run("systemd-tmpfiles --create fieldgate.conf").ok()
    checked = s.board.run(f"fieldgate check --config {CONFIG}")
    s.check("`fieldgate check` accepts the file and lists what it means",
            checked.code == 0 and f"{BASE}/sensors/rack" in checked.text, checked.text if checked.code else "")
    started = s.board.run("systemctl start fieldgate", 90)
    kind, state, text, pid, begun, ready = s.show("Type", "ActiveState", "StatusText", "MainPID",
                                                  "ExecMainStartTimestampMonotonic", "ActiveEnterTimestampMonotonic")
    s.check("systemd was told READY", (started.code, kind, state) == (0, "notify", "active"),
            f"{started.text}{kind}, {state}, {text!r}")
    s.heard.wait("status", lambda text: text == "online", 30, 0)
    s.check("`online` on the host's broker", True)
    user = s.board.run(f"ps -o user= -p {pid}").text.strip()
    s.check("it runs as its own user", user.startswith("fieldga"), user)
    print(f"info  from exec to READY {(int(ready) - int(begun)) / 1000:.0f} ms", flush=True)


def thermometer(s):
    """2: an I2C chip whose temperature is set from outside."""
    for celsius in (31.5, -7.25, 21.5):
        s.board.bench("set-temp", str(celsius))
        reading = s.reading("rack", near(celsius))
        s.check(f"lm75 at 0x48 follows to {celsius} °C", True, json.dumps(reading))
    read = s.board.run("fieldgate read rack")
    s.check("`fieldgate read` works beside the service", read.code == 0 and "21.5" in read.text, read.text.strip())


def register_maps(s):
    """3: chips with the registers of the data sheets' examples."""
    air = s.reading("air")
    s.check("bme280 at 0x76 measures Bosch's example", air["temperature"] == 25.08 and air["pressure"] == 1006.5
            and 0 < air["humidity"] < 100, json.dumps(air))
    shed = s.reading("shed")
    s.check("sht3x at 0x44 measures 25 °C and 50 %", (shed["temperature"], shed["humidity"]) == (25.0, 50.0),
            json.dumps(shed))


def absent_chip(s):
    """4: a chip that is not there is told in words, and the others go on."""
    status = s.status("absent", ("down",))
    s.check("an absent chip is down, with the reason", "0x23" in status["error"], status["error"])
    s.check("the others go on", s.reading("rack") and s.reading("air"))


def outputs(s):
    """5: commands from the host reach the pins."""
    for actuator, pin, on_is_high in (("pump", PUMP, True), ("fan", FAN, False)):
        place = s.board.bench("gpio-get", "-v", str(pin)).strip()
        s.check(f"{actuator} is driven off at the start", place == f"{int(not on_is_high)} output", place)
        for value in ("on", "off"):
            since = s.heard.mark()
            s.broker.publish(f"actuators/{actuator}/set", value)
            reply = s.heard.wait(f"actuators/{actuator}/reply", lambda text: True, 30, since).json()
            s.heard.wait(f"actuators/{actuator}/state", lambda text: json.loads(text)["value"] == value, 30, since)
            high = s.board.level(pin)
            s.check(f"{actuator} {value}: reply, state and the level at GPIO{pin}",
                    reply["outcome"] == "done" and reply["value"] == value and high == (on_is_high == (value == "on")),
                    f"{json.dumps(reply)}, {'high' if high else 'low'}")
    refused = s.command("pump", 7, "odd")
    s.check("what is no switch's value is refused and moves nothing",
            refused["outcome"] == "rejected" and not s.board.level(PUMP), refused["reason"])


def edges(s):
    """6: edges with debounce on a chip found by its label, and lines that somebody holds."""
    for level in (1, 0, 1, 0):
        since = s.heard.mark()
        s.board.bench("sim-set", "17", str(level))
        s.heard.wait("sensors/door", lambda text: json.loads(text)["active"] == bool(level), 20, since)
        s.check(f"door: the edge to {level} is heard", True)
    since = s.heard.mark()
    pull = "/sys/devices/platform/gpio-sim.0/gpiochip*/sim_gpio5/pull"
    s.board.run(f"p=$(echo {pull}); for i in 1 2 3 4; do echo pull-down >$p; echo pull-up >$p; done;"
                "echo pull-down >$p").ok()
    s.heard.wait("sensors/gate", lambda text: json.loads(text)["active"], 20, since)
    time.sleep(1)
    values = [heard.json()["active"] for heard in s.heard.since(since, "sensors/gate")]
    changes = [value for before, value in zip([False, *values], values) if value != before]
    s.check("gate, active-low: a bouncing contact is one edge", changes == [True], str(values))
    for sensor, line, holder in (("door", "GPIO17", "fieldgate"), ("taken", "GPIO6", "gpiomon")):
        read = s.board.run(f"fieldgate read {sensor}")
        s.check(f"`fieldgate read` of a line that {holder} holds: 1, and the holder's name",
                read.code == 1 and line in read.text and holder in read.text.split(line)[1], read.text.strip())
    status = s.status("taken", ("down", "degraded"))
    s.check("the sensor whose line gpiomon holds tells so", "gpiomon" in status["error"], status["error"])
    s.freed = s.heard.mark()
    s.board.run("systemctl stop holder").ok()


def kernel_sensors(s):
    """7: what the kernel itself measures."""
    for celsius in (40, 52.5):
        s.board.bench("set-temp", "--chip", "temp1", str(celsius))
        reading = s.reading("kernel", near(celsius))
        s.check(f"linux-hwmon follows a TMP421 with a kernel driver to {celsius} °C", True, json.dumps(reading))
    reading = s.reading("self")
    s.check("board: processor temperature, load, memory, disk, uptime",
            10 < reading["cpu_temperature"] < 90 and {"load", "memory_used", "disk_used", "uptime"} <= set(reading),
            json.dumps(reading))


def pulses(s):
    """7: pulses faster than any reading, counted by the kernel's edges. The pauses let its thread see each of them."""
    before = s.reading("meter")["total"]
    pull = "/sys/devices/platform/gpio-sim.0/gpiochip*/sim_gpio7/pull"
    s.board.run(f"p=$(echo {pull}); for i in $(seq 100); do echo pull-up >$p; sleep 0.01;"
                "echo pull-down >$p; sleep 0.01; done").ok()
    reading = s.reading("meter", lambda reading: reading["total"] >= before + 100)
    s.counted = reading["total"]
    s.check("100 pulses are 100", s.counted == before + 100, json.dumps(reading))


def goes_on(s, after):
    """The total of the meter is at least what was published before."""
    reading = s.reading("meter", seconds=60)
    s.check(f"the total does not go back after {after}", reading["total"] >= s.counted > 0, json.dumps(reading))


def twin(s, backend):
    """The file for one back end; returns its path."""
    text, path = s.twin, f"/etc/fieldgate/{backend}.yaml"
    for mark, value in BACKENDS[backend].items():
        text = text.replace(mark, value)
    s.board.write(path, text)
    return path


def backends_agree(s):
    """rppal and the kernel's interfaces: the same chips and lines by both in turn. rppal needs root here, for /dev/mem."""
    files = {backend: twin(s, backend) for backend in BACKENDS}
    read = lambda backend, sensor: s.board.run(f"fieldgate read --json {sensor} --config {files[backend]}")
    checked = s.board.run(f"fieldgate check --config {files['rppal']}")
    s.check("`fieldgate check` knows that this is a Raspberry Pi", checked.code == 0 and "no Raspberry Pi" not in checked.text,
            checked.text if checked.code else "")
    for sensor in ("rack", "air", "shed", "absent", "bound"):
        linux, rppal = read("linux", sensor), read("rppal", sensor)
        s.check(f"{sensor}: both say the same", (linux.code, linux.text) == (rppal.code, rppal.text)
                and linux.code == int(sensor in ("absent", "bound")), f"{linux.text.strip()} / {rppal.text.strip()}")
    for level in (1, 0, 1):
        s.board.bench("gpio-set", str(KEY), str(level))
        told = [read(backend, "key") for backend in BACKENDS]
        s.check(f"key: both see {level}", all(one.code == 0 and json.loads(one.text)["active"] == bool(level) for one in told),
                " / ".join(one.text.strip() for one in told))
    for backend in BACKENDS:
        lives(s, backend, files)


def lives(s, backend, files):
    """A gateway of its own on one back end: its output follows, its lines are held, and what stays at its end."""
    other = next(name for name in BACKENDS if name != backend)
    since = s.heard.mark()
    s.board.run(f"systemd-run -q --collect --unit=twin fieldgate run --config {files[backend]}").ok()
    told = lambda value: s.heard.wait("twin/actuators/lamp/state", lambda text: json.loads(text)["value"] == value, 30, since)
    told("on")
    s.check(f"{backend}: the lamp is on from the start", s.board.level(LAMP))
    for value in ("off", "on", "off"):
        since = s.heard.mark()
        s.broker.publish("twin/actuators/lamp/set", value)
        told(value)
        s.check(f"{backend}: lamp {value}", s.board.level(LAMP) == (value == "on"))
    read = s.board.run(f"fieldgate read key --config {files[other]}")
    holder = "RPPAL" if backend == "rppal" else "fieldgate"
    s.check(f"{other} is told that {backend} holds an input", read.code == 1 and holder in read.text, read.text.strip())
    if backend == "linux":
        safe = s.board.run(f"fieldgate safe-state --config {files[other]}")
        s.check("rppal is told who holds an output, and drives nothing", safe.code == 1 and "fieldgate" in safe.text
                and not s.board.level(LAMP), safe.text.strip())
    else:
        glows(s)
    s.board.run("systemctl kill -s KILL twin; while systemctl is-active -q twin; do sleep 0.1; done").ok()
    if backend == "rppal":
        place = s.board.bench("gpio-get", "-v", str(LAMP)).strip()
        s.check("rppal: a killed program leaves the line as it drove it", place == "0 output", place)
        s.board.run(f"fieldgate safe-state --config {files[backend]}").ok()
        place = [s.board.bench("gpio-get", "-v", str(pin)).strip() for pin in (LAMP, GLOW)]
        s.check("rppal: `fieldgate safe-state` drives it and it stays", place == ["1 output", "0 output"], str(place))


def glows(s):
    """Software PWM: steady at both ends, and both levels in between."""
    for percent, levels in ((100, {True}), (50, {True, False}), (0, {False})):
        since = s.heard.mark()
        s.broker.publish("twin/actuators/glow/set", str(percent))
        s.heard.wait("twin/actuators/glow/state", lambda text: json.loads(text)["value"] == percent, 30, since)
        seen = {s.board.level(GLOW) for _ in range(25)}
        s.check(f"software PWM at {percent} %", seen == levels, str(seen))


def link_cut(s):
    """8: for a while all packets from and to the broker vanish in silence."""
    s.switch_on("cut")
    since = s.heard.mark()
    s.board.bench("net", "drop", str(s.broker.port))
    begun = time.monotonic()
    took = s.board.wait_level(PUMP, False, 30)
    s.check("without a link the output goes to its safe state, safe_after 8s", took is not None and took > 5,
            "never" if took is None else f"{took:.1f} s after the cut")
    s.check("safe_after: never keeps the other", s.board.level(FAN) is False)
    time.sleep(max(0, begun + 15 - time.monotonic()))
    s.board.bench("net", "clear")
    late = s.heard.wait("late/tick", lambda text: json.loads(text)["late"], 60, since)
    s.check("readings from the cut arrive late", True, late.payload)
    cause = lambda text: json.loads(text)["cause"] == "safe_state"
    s.check("the state tells why", True, s.heard.wait("actuators/pump/state", cause, 60, since).payload)
    s.reading("tick", seconds=60)
    seqs = sorted(heard.json()["seq"] for topic in ("late/tick", "sensors/tick") for heard in s.heard.since(since, topic))
    s.check("none is missing", sorted(set(seqs)) == list(range(seqs[0], seqs[-1] + 1)),
            f"{seqs[0]} to {seqs[-1]}, {len(seqs) - len(set(seqs))} repeated")


def killed(s):
    """9: the process is killed; systemd makes the outputs safe and starts it again."""
    # A longer pause than the unit's, to look at the pins before the new process drives them.
    s.board.run("mkdir -p /run/systemd/system/fieldgate.service.d; printf '[Service]\\nRestartSec=12\\n' "
                ">/run/systemd/system/fieldgate.service.d/pause.conf; systemctl daemon-reload").ok()
    s.switch_on("kill")
    since = s.heard.mark()
    s.board.run("systemctl kill -s KILL fieldgate").ok()
    safe = s.board.wait_level(PUMP, False, 20) is not None and s.board.wait_level(FAN, True, 20) is not None
    state, = s.show("SubState")
    s.check("ExecStopPost made both outputs safe before the restart", safe and state in ("auto-restart", "stop-post"),
            f"{s.levels()}, {state}")
    s.heard.wait("status", lambda text: text == "offline", 30, since)
    s.check("the will says `offline`", True)
    s.heard.wait("status", lambda text: text == "online", 60, since)
    state, restarts = s.show("ActiveState", "NRestarts")
    s.check("it was started again and says `online`", (state, restarts) == ("active", "1"), f"{state}, {restarts}")
    goes_on(s, "a kill")


def reloads(s):
    """9: a changed file takes effect, a broken one does not."""
    s.switch_on("reload")
    pid, = s.show("MainPID")
    s.board.write(CONFIG, s.config.replace("sensors:\n", "sensors:\n" + WAVE))
    since = s.heard.mark()
    done = s.board.run("systemctl reload fieldgate")
    s.heard.wait("sensors/wave", lambda text: json.loads(text)["value"] == 7, 30, since)
    s.check("reload adds a sensor", done.code == 0, done.text)
    s.check("outputs keep their state over it", s.levels() == (True, False), str(s.levels()))
    s.board.write(CONFIG, s.config.replace("driver: bme280", "driver: bme208"))
    done = s.board.run("systemctl reload fieldgate")
    told = s.board.run("journalctl -u fieldgate -o cat -n 20").text
    s.check("reload of a broken file fails, and the log tells the problem", done.code != 0 and "bme208" in told)
    state, now = s.show("ActiveState", "MainPID")
    s.check("the service goes on as it was", (state, now) == ("active", pid) and s.reading("wave") and s.reading("air"),
            f"{state}, {pid}, {now}")
    s.board.write(CONFIG, s.config)
    since = s.heard.mark()
    s.board.run("systemctl reload fieldgate").ok()
    s.heard.wait("sensors/wave/status", lambda text: text == "", 30, since)
    s.check("reload removes the sensor and clears what was retained of it", True)


def recovered(s):
    """6, its end: retries are spaced, so the freed line is asked for late."""
    s.status("taken", ("ok",), 90, s.freed)
    s.check("the sensor recovered when gpiomon let go of its line", True)


def figures(s):
    """Memory, for the record."""
    pid, = s.show("MainPID")
    rss = s.board.run(f"grep -E 'VmRSS|VmHWM|RssAnon|Threads' /proc/{pid}/status").ok()
    print("info  " + ", ".join(" ".join(line.split()) for line in rss.splitlines()), flush=True)


def power_cut(s):
    """Readings gather without a broker, the power goes, and the board comes up again with nobody there."""
    s.board.run("systemctl enable -q fieldgate && sync").ok()
    run = s.reading("tick")["run"]
    s.board.bench("net", "drop", str(s.broker.port))
    time.sleep(6)
    # The board has a clock of its own, and what it says is in the readings.
    committed = s.board.run("date -u +%FT%T").ok().strip()
    # A second until the commit, and as long as a slow card may take for it.
    time.sleep(4)
    since = s.heard.mark()
    s.board.bench("power-cut")
    print("info  the board is " + s.board.bench("boot").strip(), flush=True)
    s.heard.wait("status", lambda text: text == "online", 90, since)
    s.check("after a power cut it starts by itself", s.show("ActiveState") == ["active"])
    of_old = lambda text: json.loads(text)["run"] == run
    s.heard.wait("late/tick", lambda text: of_old(text) and json.loads(text)["time"] >= committed, 60, since)
    s.reading("tick", lambda reading: reading["run"] != run and reading["seq"] >= 5, 60)
    s.check("what was on the card when the power went arrives late", True)
    old = [heard.json() for topic in ("sensors/tick", "late/tick") for heard in s.heard.since(0, topic)]
    seqs = {reading["seq"] for reading in old if reading["run"] == run}
    missing = set(range(min(seqs), max(seqs) + 1)) - seqs
    s.check("of that run none is missing", not missing, f"{min(seqs)} to {max(seqs)} {sorted(missing) or ''}")
    health = s.heard.wait("health", lambda text: True, 60, since).json()
    s.check("the spool was whole", health["spool"]["error"] is None, json.dumps(health["spool"]))
    s.board.bench("sim-chip", "--label", LABEL)
    goes_on(s, "a power cut")


def stop(s):
    """9 and 10: an orderly end."""
    s.switch_on("stop")
    since, begun = s.heard.mark(), time.monotonic()
    s.board.run("systemctl stop fieldgate").ok()
    took = time.monotonic() - begun
    s.heard.wait("status", lambda text: text == "offline", 20, since)
    s.check("`offline` at an orderly stop", True, f"systemctl stop took {took:.1f} s")
    s.check("the outputs are safe", s.levels() == (False, True), str(s.levels()))
    state, result = s.show("ActiveState", "Result")
    s.check("it ended well", (state, result) == ("inactive", "success"), f"{state}, {result}")
    drivers = s.board.run("fieldgate drivers; fieldgate drivers lm75")
    s.check("`fieldgate drivers` shows table and page", drivers.code == 0 and "TMP105" in drivers.text)


def nothing_is_missing(s):
    """All that was heard: no number is missing, and each topic kept its order."""
    seen, newest, disorder, repeated = {}, {}, [], 0
    for heard in s.heard.all:
        topic = heard.topic.split("/")
        if topic[0] == "loss":
            loss = heard.json()
            seen.setdefault((loss["run"], loss["sensor"]), set()).update(range(loss["from_seq"], loss["to_seq"] + 1))
        if topic[0] not in ("sensors", "late") or len(topic) != 2:
            continue
        reading = heard.json()
        key, seq = (reading["run"], topic[1]), reading["seq"]
        numbers = seen.setdefault(key, set())
        repeated += seq in numbers
        if seq not in numbers and seq < newest.get((key, topic[0]), 0):
            disorder.append((heard.topic, seq))
        numbers.add(seq)
        newest[key, topic[0]] = seq
    holes = {key: sorted(set(range(1, max(numbers) + 1)) - numbers) for key, numbers in seen.items()}
    holes = {key: missing for key, missing in holes.items() if missing}
    total = sum(map(len, seen.values()))
    s.check("over the whole test no reading is missing", total > 100 and not holes,
            f"{total} readings, {repeated} repeated {holes or ''}")
    s.check("each topic kept its order", not disorder, str(disorder or ""))


PHASES = (solder, start, thermometer, register_maps, absent_chip, outputs, edges, kernel_sensors, pulses,
          backends_agree, link_cut, recovered,
          killed, reloads, figures, power_cut, stop, nothing_is_missing)


def show_on(board, broker, report, sources):
    """All phases on a board that runs; the log of the service if something failed."""
    heard = Listener(broker)
    try:
        stage = Stage(board, broker, heard, report, sources)
        for phase in PHASES:
            with report.phase(phase.__name__):
                phase(stage)
    finally:
        heard.stop()
    if report.failed:
        print(board.run("journalctl -u fieldgate -o short-monotonic -n 150 --no-pager").text)


def main():
    """Starts what is needed, runs the phases, ends all of it."""
    pi_bench, program, sources = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    ended_by_signals()
    board, report = Board(pi_bench), Report()
    with tempfile.TemporaryDirectory() as folder:
        broker = Broker(Path(folder), BASE)
        try:
            with report.phase("power_on"):
                power_on(board, program, sources, Path(folder))
            if not report.failed:
                show_on(board, broker, report, sources)
        finally:
            board.off()
            broker.stop()
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
