"""What surrounds the board: temperatures, registers, levels at pins, the network."""
import shlex

from machine import CHIPS, die, guest, qmp, qtest

GPIO = 0x3F200000  # the processor's GPIO block
SIM_LINES = "/sys/devices/platform/gpio-sim.0/gpiochip*/sim_gpio"


def set_temperature(chip, celsius, property_name=None):
    """What an emulated chip measures."""
    name = property_name or ("temperature" if "tmp105" in CHIPS[chip] else "temperature0")
    qmp("qom-set", path=f"/machine/peripheral/{chip}", property=name, value=round(celsius * 1000))


def set_registers(bus, address, register, values):
    """Writes registers of a chip that is memory; REGISTER has 0, 2 or 4 hex digits."""
    register = register.removeprefix("0x")
    body = [register[at:at + 2] for at in range(0, len(register), 2)] + [value.removeprefix("0x") for value in values]
    guest(f"i2ctransfer -f -y {int(bus)} w{len(body)}@{address} " + " ".join("0x" + byte for byte in body))


def pin(name):
    """The number of a pin, the base of its registers, and its bit."""
    number = int(name.upper().removeprefix("GPIO"))
    if not 0 <= number <= 53:
        die("pins are GPIO0 to GPIO53")
    return number, GPIO + 4 * (number // 32), 1 << (number % 32)


def set_level(name, level):
    """The level at a pin of the processor: an input to the guest, without an edge."""
    _, base, bit = pin(name)
    qtest(f"writel {base + (0x1C if level else 0x28):#x} {bit:#x}")


def level(name):
    """The level at a pin of the processor, and what the pin is used for."""
    number, base, bit = pin(name)
    levels, functions = qtest(f"readl {base + 0x34:#x}", f"readl {GPIO + 4 * (number // 10):#x}")
    function = (functions >> 3 * (number % 10)) & 7
    return int(bool(levels & bit)), ("input", "output", "alt5", "alt4", "alt0", "alt1", "alt2", "alt3")[function]


def add_sim_chip(label):
    """A chip of gpio-sim, on which edges work: 28 lines named GPIO0 to GPIO27. Returns its device."""
    return guest(
        "set -e; modprobe gpio-sim; c=/sys/kernel/config/gpio-sim/pi; [ -d $c ] || { mkdir -p $c/b; echo 28 >$c/b/num_lines;"
        f"echo {shlex.quote(label)} >$c/b/label;"
        "for i in $(seq 0 27); do mkdir $c/b/line$i; echo GPIO$i >$c/b/line$i/name; done; echo 1 >$c/live; };"
        "udevadm settle; echo /dev/$(cat $c/b/chip_name)")


def drive_sim_line(line, level):
    """A level at a line of that chip: an input to the guest, with its edge."""
    guest(f"echo pull-{'up' if level else 'down'} >$(echo {SIM_LINES}{line})/pull")


DEVICE = "d=$(basename $(ls -d /sys/class/net/[eu]* | head -1)); "


def network(what, rest):
    """down|up: all packets vanish in silence; unplug|plug: the adapter; drop PORT; netem WORDS…; clear: no drop, no netem"""
    if what in ("down", "up"):
        qmp("set_link", name="net0", up=what == "up")
    elif what == "unplug":  # QEMU 10.0 crashes on device_del of usb-net, so the guest lets go of it
        guest(f"{DEVICE} u=$(basename $(realpath /sys/class/net/$d/device/..)); echo $u >/run/pi-bench.usb;"
              "echo $u >/sys/bus/usb/drivers/usb/unbind")
    elif what == "plug":
        guest("cat /run/pi-bench.usb >/sys/bus/usb/drivers/usb/bind")
    elif what == "drop":
        port = int(rest[0])
        guest("nft add table inet pib; nft add chain inet pib o '{type filter hook output priority 0;}';"
              "nft add chain inet pib i '{type filter hook input priority 0;}';"
              f"nft add rule inet pib o tcp dport {port} drop; nft add rule inet pib i tcp sport {port} drop")
    elif what == "netem":
        guest(f"modprobe sch_netem; {DEVICE} tc qdisc replace dev $d root netem {shlex.join(rest)}")
    elif what == "clear":
        guest(f"nft delete table inet pib 2>/dev/null; {DEVICE} tc qdisc del dev $d root 2>/dev/null; true")
