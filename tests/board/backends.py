"""rppal and the kernel's interfaces: what one back end says the other must say too."""
import json

# What differs between the two back ends: the rest of tests/board/twin.yaml is the same for both.
BACKENDS = {
    "linux": {"@I2C@": "", "@GPIO@": "chip: /dev/gpiochip0", "@LAMPS@": ""},
    "rppal": {"@I2C@": ", backend: rppal", "@GPIO@": "backend: rppal", "@LAMPS@":
              "  glow: { driver: pwm-output, bus: header, settings: { line: GPIO25, frequency: 5 }, safe_state: 0,"
              " safe_after: never }\n"},
}
LAMP, KEY, GLOW = 23, 24, 25  # pins that only the twins use


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
    s.check("`fieldgate check` knows that this is a Raspberry Pi", checked.code == 0 and "not a Raspberry Pi" not in checked.text,
            checked.text if checked.code else "")
    for sensor in ("rack", "air", "shed", "absent", "bound"):
        linux, rppal = read("linux", sensor), read("rppal", sensor)
        s.check(f"{sensor}: both say the same", (linux.code, linux.text) == (rppal.code, rppal.text)
                and linux.code == int(sensor in ("absent", "bound")), f"{linux.text.strip()} / {rppal.text.strip()}")
    for level in (1, 0, 1):
        s.board.bench("gpio-set", str(KEY), str(level))
        reported = [read(backend, "key") for backend in BACKENDS]
        s.check(f"key: both see {level}", all(one.code == 0 and json.loads(one.text)["active"] == bool(level) for one in reported),
                " / ".join(one.text.strip() for one in reported))
    for backend in BACKENDS:
        one_life(s, backend, files)


def one_life(s, backend, files):
    """A gateway of its own on one back end: its output follows, its lines are held, and what stays at its end."""
    other = next(name for name in BACKENDS if name != backend)
    since = s.heard.mark()
    s.board.run(f"systemd-run -q --collect --unit=twin fieldgate run --config {files[backend]}").ok()
    reported = lambda value: s.heard.wait("twin/actuators/lamp/state", lambda text: json.loads(text)["value"] == value, 30, since)
    reported("on")
    s.check(f"{backend}: the lamp is on from the start", s.board.level(LAMP))
    for value in ("off", "on", "off"):
        since = s.heard.mark()
        s.broker.publish("twin/actuators/lamp/set", value)
        reported(value)
        s.check(f"{backend}: lamp {value}", s.board.level(LAMP) == (value == "on"))
    read = s.board.run(f"fieldgate read key --config {files[other]}")
    holder = "RPPAL" if backend == "rppal" else "fieldgate"
    s.check(f"{other} reports that {backend} uses an input", read.code == 1 and holder in read.text, read.text.strip())
    if backend == "linux":
        safe = s.board.run(f"fieldgate safe-state --config {files[other]}")
        s.check("rppal reports who uses an output, and drives nothing", safe.code == 1 and "fieldgate" in safe.text
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
        s.check(f"software PWM at {percent} %", s.board.shows(GLOW, levels))
