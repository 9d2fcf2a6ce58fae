"""Our drivers beside the kernel's own on the same chips."""
import json

from rows import ROWS
from stand import Trouble

CONFIG = "/etc/fieldgate/kernel.yaml"
TMP102 = "/etc/fieldgate/tmp102.yaml"
BUS = 9  # of board-chips

HEAD = """
mqtt: { broker: "mqtt://127.0.0.1:1" }
buses:
  i2c-1: { type: i2c, device: /dev/i2c-1 }
  chips: { type: i2c, device: /dev/i2c-9 }
sensors:
  lm75: { driver: lm75, bus: i2c-1, every: 10s, settings: { address: 0x48, resolution: 12 } }
  hwmon:
    driver: linux-hwmon
    every: 10s
    settings: { device: tmp105, parent: 1-0048, channels: { temperature: { attribute: temp1_input, decimals: 4 } } }
  iio:
    driver: linux-iio
    every: 10s
    settings:
      device: bme280
      parent: 9-0076
      channels:
        temperature: { attribute: in_temp_input, decimals: 3 }
        pressure: { attribute: in_pressure_input, decimals: 3 }
        humidity: { attribute: in_humidityrelative_input, decimals: 3 }
"""

# Two sensors may not be at one address of a configuration.
OTHER = """
mqtt: { broker: "mqtt://127.0.0.1:1" }
buses: { i2c-1: { type: i2c, device: /dev/i2c-1 } }
sensors: { tmp102: { driver: tmp102, bus: i2c-1, every: 10s, settings: { address: 0x48 } } }
"""

MULTIPLEXER = "/etc/fieldgate/multiplexer.yaml"
BEHIND = """
mqtt: { broker: "mqtt://127.0.0.1:1" }
buses:
  i2c-1: { type: i2c, device: /dev/i2c-1 }
  channel: @BUS@
sensors: { far: { driver: lm75, bus: channel, every: 10s, settings: { address: 0x4a, resolution: 12 } } }
"""

# What the functions below have in common: binding, asking and releasing, in the guest.
SHELL = r"""
chips=/sys/bus/i2c/devices
bind() {
    modprobe "$1"; echo "$2 $3" >$chips/i2c-$4/new_device
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        device=$(echo $chips/$4-00${3#0x}/hwmon/hwmon* $chips/$4-00${3#0x}/iio:device* | tr ' ' '\n' | grep -v '\*' | head -1)
        [ -z "$device" ] || return 0
        sleep 0.2
    done
    echo "the kernel did not take $2: $(dmesg | tail -3)"
    return 1
}
release() { echo "$1" >$chips/i2c-$2/delete_device; }
reported() { (cd "$device" && grep -H -s . in_* temp1_input humidity1_input in1_input curr1_input | sed "s/^/kernel $1 /"); }
ours() { echo "ours $1 $(fieldgate read --json "$1" --config "${2:-/etc/fieldgate/kernel.yaml}" 2>&1)"; }
"""


def configuration():
    """All rows as sensors, to be read one by one."""
    rows = [f"  {row.name}: {{ driver: {row.driver}, bus: chips, every: 10s, "
            f"settings: {{ {', '.join(filter(None, (f'address: {row.address:#04x}', row.settings)))} }} }}\n"
            for row in ROWS]
    return HEAD + "".join(rows)


def write(row, registers):
    """The shell line that puts these into a chip."""
    bodies = [bytes.fromhex(register) + content for register, content in registers.items()]
    messages = (f"w{len(body)}@{row.address:#04x} " + " ".join(f"{byte:#04x}" for byte in body) for body in bodies)
    return f"i2ctransfer -f -y {BUS} " + " ".join(messages)


def script(case):
    """Everything for the n-th case of each row: the kernel reads its chip, then we do."""
    parts = [SHELL]
    for row in ROWS:
        registers = {**row.fixed, **row.cases[case % len(row.cases)]}
        put, place = write(row, registers), f"{row.address:#04x}"
        also = "ours iio" if row.driver == "bme280" else ":"
        parts.append(f"{put}; bind {row.module} {row.device} {place} {BUS} && reported {row.name};"
                     f" {also}; release {place} {BUS}; {put}; ours {row.name}")
    return "\n".join(parts)


def understood(text):
    """What the guest printed: the kernel's files by row, and our readings by sensor."""
    kernel, ours = {}, {}
    for line in text.splitlines():
        who, _, rest = line.partition(" ")
        name, _, said = rest.partition(" ")
        if who == "kernel":
            file, _, value = said.partition(":")
            kernel.setdefault(name, {})[file] = value
        elif who == "ours":
            ours[name] = said
        else:
            print(f"info  {line}", flush=True)
    return kernel, ours


def value(files, name):
    """In the kernel's unit: a file that is ready, or a raw one with the offset and scale beside it."""
    for ready in (name, f"{name}_input"):
        if ready in files:
            return float(files[ready])
    offset = float(files.get(f"{name}_offset", 0))
    return (float(files[f"{name}_raw"]) + offset) * float(files.get(f"{name}_scale", 1))


def compare(row, files, said):
    """What both say of each measurement, and whether they agree."""
    if not files or not said.startswith("{"):
        return False, f"the kernel: {files or 'nothing'}; we: {said}"
    reading, good, reported = json.loads(said), True, []
    for measurement, (file, factor, allowed) in row.files.items():
        theirs, mine = value(files, file) * factor, reading[measurement]
        good = good and abs(theirs - mine) <= allowed
        reported.append(f"{measurement} {mine} and {theirs:.4f}")
    return good, ", ".join(reported)


def compare_all(s):
    """Each row with each of its contents."""
    for case in range(max(len(row.cases) for row in ROWS)):
        kernel, ours = understood(s.board.run(script(case), 240).ok())
        for row in ROWS:
            good, reported = compare(row, kernel.get(row.name), ours.get(row.name, ""))
            s.proves(row.driver, "kernel", row.kernel, f"{row.driver} and the kernel's {row.kernel} agree", good, reported)
        bme280 = next(row for row in ROWS if row.driver == "bme280")
        good, reported = compare(bme280, kernel.get(bme280.name), ours.get("iio", ""))
        s.proves("linux-iio", "kernel", "bmp280", "linux-iio says what the kernel's files say", good, reported)


def memory_chips(s):
    """The chips of the table, each with some contents of its registers."""
    chips = ",".join(f"{row.address:#04x}:{row.layout}" for row in ROWS)
    s.board.run(f"modprobe board-chips chips={chips}").ok()
    s.board.write(CONFIG, configuration())
    try:
        compare_all(s)
    finally:
        s.board.run("modprobe -r board-chips")


def thermometer(s):
    """QEMU's TMP105 by the kernel's lm75, by linux-hwmon through it, and by both of our drivers for such chips."""
    s.board.write(CONFIG, configuration())
    s.board.write(TMP102, OTHER)
    for celsius in (21.5, -40, -0.0625, 124.9375):
        s.board.bench("set-temp", str(celsius))
        # The kernel's driver has a conversion of its own cycle to wait for.
        kernel, ours = understood(s.board.run(SHELL + """
            bind lm75 tmp105 0x48 1 && sleep 0.3 && reported lm75 && ours hwmon && echo "ours refused $(
                fieldgate read lm75 --config /etc/fieldgate/kernel.yaml 2>&1)"
            release 0x48 1; ours lm75; ours tmp102 /etc/fieldgate/tmp102.yaml""").ok())
        theirs = float(kernel["lm75"]["temp1_input"]) / 1000
        s.check("the kernel's lm75 measures what QEMU was set to", abs(theirs - celsius) < 0.04, f"{theirs}")
        for sensor, driver, allowed in (("hwmon", "linux-hwmon", 0.0001), ("lm75", "lm75", 0.04), ("tmp102", "tmp102", 0.04)):
            said = ours[sensor]
            good = said.startswith("{") and abs(json.loads(said)["temperature"] - theirs) < allowed
            s.proves(driver, "kernel", "lm75", f"{driver} agrees with the kernel's lm75", good, f"{said} and {theirs}")
            if driver != "linux-hwmon":
                s.proves(driver, "qemu", "tmp105", f"{driver} reads QEMU's TMP105", good and abs(theirs - celsius) < 0.04)
    s.check("an address that the kernel has bound is refused, with the remedy",
            "a driver of the kernel has bound this address; read the chip with linux-hwmon" in ours["refused"],
            ours["refused"])


def multiplexer(s):
    """A TMP105 behind a PCA9548: by the adapter that the kernel's driver makes of the channel, and by our own bus for it."""
    found = s.board.run("modprobe i2c-mux-pca954x; echo pca9548 0x70 >/sys/bus/i2c/devices/i2c-1/new_device;"
                        "readlink /sys/bus/i2c/devices/1-0070/channel-3").ok().strip()
    adapter = found.rsplit("-", 1)[-1]
    if not adapter.isdigit():
        raise Trouble(f"channel 3 of the multiplexer is {found!r}")
    buses = {
        "the kernel's driver of a multiplexer": f"{{ type: i2c, device: /dev/i2c-{adapter} }}",
        "a multiplexer of its own": "{ type: tca9548a, bus: i2c-1, address: 0x70, channel: 3 }",
    }
    for what, bus in buses.items():
        s.board.write(MULTIPLEXER, BEHIND.replace("@BUS@", bus))
        for celsius in (-12.5, 33.25):
            s.board.bench("set-temp", "--chip", "far", str(celsius))
            said = s.board.run(f"fieldgate read --json far --config {MULTIPLEXER}").text.strip()
            s.check(f"a chip behind {what} is read", said.startswith("{")
                    and abs(json.loads(said)["temperature"] - celsius) < 0.07, f"{celsius}: {said}")
        # The kernel holds the multiplexer's address as long as it drives it.
        s.board.run("! [ -e /sys/bus/i2c/devices/1-0070 ] || echo 0x70 >/sys/bus/i2c/devices/i2c-1/delete_device").ok()
