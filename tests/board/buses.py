"""Buses that are not there, that go and come back, and outputs behind drivers of the kernel.

The bus is /dev/i2c-9 of bench/modules/board-chips.c: what comes and goes is the kernel's adapter with its device node, and the
chips that acknowledge there.
"""
import time

from stage import CONFIG

CHIPS = "0x4d:1:2,0x45:2:8,0x41:1:1,0x20:0:1"
LOFT, DIMMER, RELAYS = 0x4D, 0x41, 0x20

BUSES = """  spare: { type: i2c, device: /dev/i2c-9 }
  motor: { type: pwm, chip: 1 }                   # a PCA9685 on that bus
  relays: { type: gpio, chip: pcf8574 }           # a PCF8574 on that bus
"""
SENSORS = """  loft: { driver: lm75, bus: spare, every: 1s, settings: { address: 0x4d } }
  attic: { driver: sht3x, bus: spare, every: 1s, settings: { address: 0x45 } }
"""
ACTUATORS = """  dimmer: { driver: pwm-output, bus: motor, settings: { channel: 2, frequency: 1000 }, safe_state: 40, safe_after: never }
  siren: { driver: gpio-output, bus: relays, settings: { line: "3" }, safe_state: "off", safe_after: never }
"""


def half_missing(s):
    """A start with a bus that is not there."""
    more = s.config
    for section, entries in (("buses", BUSES), ("sensors", SENSORS), ("actuators", ACTUATORS)):
        more = more.replace(f"{section}:\n", f"{section}:\n{entries}", 1)
    s.board.write(CONFIG, more)
    since = s.heard.mark()
    restarted = s.board.run("systemctl restart fieldgate", 90)
    s.check("it starts without one of its buses", restarted.code == 0 and s.show("ActiveState") == ["active"], restarted.text)
    s.check("what is there is read", bool(s.reading("rack")))
    status = s.status("loft", ("down",), 30, since)
    s.check("what is not there is down, with the reason", "/dev/i2c-9" in status["error"], status["error"])
    s.pid, = s.show("MainPID")
    since = s.heard.mark()
    plug_in(s)
    s.status("loft", ("ok",), 30, since)
    s.status("attic", ("ok",), 30, since)
    reading = s.reading("loft")
    s.check("they are taken up when the bus comes", reading["temperature"] == 25.5 and s.show("MainPID") == [s.pid],
            str(reading))


def plug_in(s):
    """The bus with its chips: 25.5 °C; 25 °C and 50 %."""
    s.board.run(f"modprobe board-chips chips={CHIPS} && i2ctransfer -y 9 w3@0x4d 0x00 0x19 0x80"
                " w8@0x45 0x24 0x00 0x66 0x66 0x93 0x80 0x00 0xa2").ok()


def unplug_and_replug(s, unplug, replug, sensors):
    """One alarm for each sensor, and readings again within their period, in the same process."""
    clock = s.board.run("date '+%F %T'").ok().strip()
    since = s.heard.mark()
    s.board.run(unplug).ok()
    for sensor in sensors:
        s.status(sensor, ("down",), 30, since)
    time.sleep(5)
    for sensor in sensors:
        alarms = [heard for heard in s.heard.since(since, f"sensors/{sensor}/status") if heard.json()["status"] == "down"]
        lines = s.board.run(f"journalctl -u fieldgate F_SENSOR={sensor} -o cat --no-pager --since '{clock}' |"
                            " grep -c 'Sensor failed'").text.strip()
        # A sensor has one line a minute in the log, and it may have had its line when the bus was not there yet.
        s.check(f"{sensor}: one alarm, one line in the log at most", len(alarms) == 1 and lines in ("0", "1"),
                f"{lines} lines; " + "; ".join(heard.json()["error"] for heard in alarms))
    s.check("the others go on", bool(s.reading("rack")))
    since, begun = s.heard.mark(), time.monotonic()
    s.board.run(replug).ok()
    for sensor in sensors:
        s.heard.wait(f"sensors/{sensor}", lambda text: True, 20, since)
    s.check("readings come again", True, f"within {time.monotonic() - begun:.1f} s")
    pid, restarts = s.show("MainPID", "NRestarts")
    s.check("without a new start", pid == s.pid, f"process {pid}, {restarts} restarts")


def chip_unplugged(s):
    """A chip that does not acknowledge any more."""
    parameter = "/sys/module/board_chips/parameters/unplugged"
    unplug_and_replug(s, f"echo {LOFT} >{parameter}", f"echo 0 >{parameter}; i2ctransfer -y 9 w3@0x4d 0x00 0x19 0x80", ["loft"])


def adapter_unplugged(s):
    """The adapter goes. The kernel waits until nobody has it open any more, so this ends only if the service lets go."""
    parameter = "/sys/module/board_chips/parameters/gone"
    unplug_and_replug(s, f"timeout 30 sh -c 'echo 1 >{parameter}' && ! [ -e /dev/i2c-9 ]", f"echo 0 >{parameter}",
                      ["loft", "attic"])


def registers(s, address, words):
    """Bytes out of a chip's memory."""
    return s.board.run(f"i2ctransfer -f -y 9 {words.replace('@', f'@{address:#04x}')}").ok().split()


def duty(s):
    """Of 4096, in the registers of the third channel (NXP PCA9685, 7.3.3)."""
    on_low, on_high, off_low, off_high = (int(byte, 16) for byte in registers(s, DIMMER, "w1@ 0x0e r4"))
    # Entirely off wins over entirely on.
    if off_high & 0x10:
        return 0
    return 4096 if on_high & 0x10 else (off_high << 8 | off_low) - (on_high << 8 | on_low)


def kernel_outputs(s):
    """A PWM channel and a line of chips that the kernel drives."""
    since = s.heard.mark()
    s.board.run("modprobe pwm-pca9685; modprobe gpio-pcf857x; cd /sys/bus/i2c/devices/i2c-9;"
                f"echo pca9685 {DIMMER:#04x} >new_device; echo pcf8574 {RELAYS:#04x} >new_device; udevadm settle;"
                "ls -l /sys/class/pwm; gpiodetect").ok()
    for actuator in ("dimmer", "siren"):
        s.heard.wait(f"actuators/{actuator}/state", lambda text: True, 60, since)
    prescale, = registers(s, DIMMER, "w1@ 0xfe r1")
    s.proves("pwm-output", "kernel", "pwm-pca9685", "the safe state and the frequency are in the chip's registers",
             abs(duty(s) - 1638) <= 1 and prescale == "0x05", f"{duty(s)} of 4096, prescale {prescale}")
    for percent, expected in ((25, 1024), (100, 4096), (0, 0), (90, 3686)):
        s.switch("dimmer", percent, f"dimmer-{percent}")
        s.proves("pwm-output", "kernel", "pwm-pca9685", f"dimmer {percent}: the register follows",
                 abs(duty(s) - expected) <= 1, f"{duty(s)} of 4096")
    for value, bit in (("on", 8), ("off", 0), ("on", 8)):
        s.switch("siren", value, f"siren-{value}-{time.monotonic()}")
        pins, = registers(s, RELAYS, "r1@")
        s.proves("gpio-output", "kernel", "gpio-pcf857x", f"siren {value}: the pin of the chip follows",
                 int(pins, 16) & 8 == bit, pins)
    since = s.heard.mark()
    s.board.run("systemctl kill -s KILL fieldgate").ok()
    # `lives.killed` has set a pause of 12 s before the new start.
    end, state = time.monotonic() + 10, ""
    while state != "auto-restart" and time.monotonic() < end:
        state, = s.show("SubState")
    pins, = registers(s, RELAYS, "r1@")
    s.check("after a kill the safe-state of another process stays in the chips",
            abs(duty(s) - 1638) <= 1 and not int(pins, 16) & 8 and state == "auto-restart",
            f"{duty(s)} of 4096, pins {pins}, {state}")
    s.heard.wait("status", lambda text: text == "online", 60, since)


def all_removed(s):
    """Back to the first configuration, without these chips."""
    s.board.write(CONFIG, s.config)
    s.board.run("systemctl restart fieldgate && modprobe -r board-chips", 90).ok()
    s.check("nobody holds what the configuration does not name", True)
