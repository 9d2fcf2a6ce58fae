"""Ends that nobody asked for, under the real unit and its sandbox: the outputs must be safe soon after each of them.

One output of each kind that there is: lines of the processor, a PWM channel of the kernel, a pin of an expander and an output
of a PCA9685 that the program drives itself. The chips are memory on /dev/i2c-9, so what was written to them can be seen afterwards.
`watch.c` sends the signal on the board and reports when each output was safe.
"""
import json
import signal
import statistics
import time

from stage import CONFIG, FAN, PUMP
from stand import Trouble

CHIPS = "0x41:1:1,0x22:0:1,0x42:1:1"
BUSES = """  spare: { type: i2c, device: /dev/i2c-9 }
  motor: { type: pwm, chip: 1 }                                  # a PCA9685 that the kernel drives
  relays: { type: pcf8574, bus: spare, address: 0x22 }
"""
ACTUATORS = """  blower: { driver: pwm-output, bus: motor, settings: { channel: 2 }, safe_state: 40, safe_after: never }
  siren: { driver: gpio-output, bus: relays, settings: { line: P3 }, safe_state: "off", safe_after: never }
  dimmer: { driver: pca9685, bus: spare, settings: { address: 0x42, channel: 5 }, safe_state: 20, safe_after: never }
"""
# What each is switched to, and where `watch` finds it safe: levels, and the chips' registers.
OUTPUTS = {
    "pump": ("on", f"gpio:{PUMP}:0"),
    "fan": ("on", f"gpio:{FAN}:1"),
    "blower": (90, "i2c:0x41:0e:00006706"),  # 40 % of 4096 steps, rounded up by the kernel: 1639 (NXP PCA9685, 7.3.3)
    "siren": ("on", "i2c:0x22:-:f7"),  # the other pins are as after power-on
    "dimmer": (70, "i2c:0x42:1a:00003303"),  # 20 % are 819
}
POWER_ON = "i2ctransfer -y 9 w1@0x22 0xff w2@0x42 0x00 0x11 w2@0x42 0x01 0x04"

DROP_INS = "/run/systemd/system/fieldgate.service.d"
# WATCHDOG is quicker than the unit's 10 s, PAUSE longer than its 2 s: until then only ExecStopPost can have made outputs safe.
# A machine that emulates this beside other work may take as long as PAUSE for it, and WITHIN is longer.
WATCHDOG, PAUSE, WITHIN = 3, 10, 13
LIMIT_MS = 500
HUNG = "/sys/module/board_chips/parameters/hung"
HELD = "/sys/module/board_chips/parameters/held"
ROUNDS = 5

# A service of the same sandbox around a safe-state that finds no output to drive.
EMPTY = r"""RUNTIME_DIRECTORY=/run/empty; export RUNTIME_DIRECTORY
echo 'gateway: { name: empty }
mqtt: { broker: "mqtt://127.0.0.1:1" }' >/etc/fieldgate/empty.yaml
alone='/usr/bin/fieldgate safe-state --config /etc/fieldgate/empty.yaml'
sed -e 's/^Type=.*/Type=oneshot/' -e "s,^ExecStart=.*,ExecStart=$alone," \
    -e '/^ExecReload\|^ExecStopPost\|^Restart\|^WatchdogSec\|Directory/d' \
    "$(systemctl show -P FragmentPath fieldgate)" >/run/systemd/system/empty.service
systemctl daemon-reload
for each in 1 2 3; do
    begun=$EPOCHREALTIME; $alone || exit 1; end=$EPOCHREALTIME; echo took $((${end/./} - ${begun/./}))
done"""
START = "systemctl start fieldgate"
START_EMPTY = "begun=$EPOCHREALTIME; systemctl start empty; end=$EPOCHREALTIME; echo empty $(((${end/./} - ${begun/./}) / 1000))"


def drop_in(s, *lines):
    """Replaces the drop-ins of the unit, also those of earlier phases."""
    text = "\n".join(("[Service]", *lines, ""))
    s.board.run(f"rm -rf {DROP_INS}; mkdir -p {DROP_INS}; printf %s '{text}' >{DROP_INS}/failing.conf;"
                "systemctl daemon-reload").ok()


def arm(s, name):
    """Everything on, to be made safe by what the phase does. `online` is published before commands are subscribed to, so one that
    gets no answer is sent again, under the same id."""
    since, waiting = s.heard.mark(), list(OUTPUTS)
    for _ in range(10):
        for actuator in waiting:
            s.broker.publish(f"actuators/{actuator}/set", json.dumps({"value": OUTPUTS[actuator][0], "id": f"{name}-{actuator}"}))
        waiting = [actuator for actuator in waiting if not is_done(s, actuator, f"{name}-{actuator}", since)]
        if not waiting:
            return
    raise Trouble(f"no answer from {waiting}")


def is_done(s, actuator, name, since):
    """Whether the command was answered; it must have been done."""
    is_mine = lambda text: json.loads(text)["id"] == name
    try:
        reply = s.heard.wait(f"actuators/{actuator}/reply", is_mine, 2, since).json()
    except Trouble:
        return False
    if reply["outcome"] != "done":
        raise Trouble(f"{actuator}: {reply}")
    return True


def watch(s, seconds, number=0, then="true", outputs=OUTPUTS):
    """Sends the signal to the program; returns the milliseconds after which each output was safe. Without seconds: 0 if it is."""
    places = " ".join(f"{name}={place}" for name, (_, place) in outputs.items())
    script = f"output-watch {seconds} $(systemctl show -P MainPID fieldgate) {int(number)} {places} && {then}"
    s.rest = {word: float(number) for word, number in map(str.split, s.board.run(script, 90).ok().splitlines())}
    took = {name: s.rest.pop(name) for name in outputs}
    s.late = max(s.late, s.rest["late"])
    return took


def watch_end(s, number, then="true"):
    """The same with a signal that ends the program, and behind it the start of what does nothing."""
    took = watch(s, WITHIN, number, f"{START_EMPTY}; {then}")
    s.empty = max(s.empty, s.rest["empty"])
    return took


def listed(took):
    """For the report."""
    return ", ".join(f"{name} {ms:.0f}" for name, ms in took.items()) + " ms"


def all_safe(s):
    """Whether each output is safe at this moment."""
    return not any(watch(s, 0).values())


def back(s, since):
    """Waits until a new process is there."""
    s.heard.wait("status", lambda text: text == "online", 60, since)


def failing_outputs(s):
    """All kinds of outputs; and what it takes here to start a `safe-state` that has nothing to do."""
    s.late = s.empty = 0
    drop_in(s, f"WatchdogSec={WATCHDOG}", f"RestartSec={PAUSE}")
    s.board.run(f"modprobe board-chips chips={CHIPS} && {POWER_ON}; modprobe pwm-pca9685;"
                "echo pca9685 0x41 >/sys/bus/i2c/devices/i2c-9/new_device; udevadm settle").ok()
    s.more = s.config
    for section, entries in (("buses", BUSES), ("actuators", ACTUATORS)):
        s.more = s.more.replace(f"{section}:\n", f"{section}:\n{entries}", 1)
    s.board.write(CONFIG, s.more)
    took = [int(line.split()[1]) / 1000 for line in s.board.run(EMPTY).ok().splitlines() if line.startswith("took")]
    print(f"info  by hand an empty safe-state takes {statistics.median(took):.0f} ms here", flush=True)
    since = s.heard.mark()
    s.board.run("systemctl restart fieldgate", 90).ok()
    back(s, since)
    s.check("outputs of all kinds are safe from the start", all_safe(s))


def in_time(s, took):
    """500 ms, and what systemd takes here to start what does nothing, twice, but before a new start could have done it.

    That depends on what else the machine does on which the board is emulated, so such a start is timed beside each end.
    tests/life.rs holds `safe-state` itself to 500 ms.
    """
    return max(took.values()) <= min(LIMIT_MS + 2 * s.empty, PAUSE * 1000)


def kills(s):
    """A4: SIGKILL, as the kernel sends it when memory runs out; and beside each the start of what does nothing."""
    rounds, empty = [], []
    for number in range(ROUNDS):
        arm(s, f"kill-{number}")
        since = s.heard.mark()
        rounds.append(watch_end(s, signal.SIGKILL, START))
        empty.append(s.rest["empty"])
        back(s, since)
    worst = sorted(max(took.values()) for took in rounds)
    slowest = max(rounds, key=lambda took: max(took.values()))
    print(f"info  systemd starts an empty safe-state in {statistics.median(empty):.0f} ms,"
          f" {min(empty):.0f} to {max(empty):.0f}", flush=True)
    s.check(f"{ROUNDS} kills: every output safe in time", all(in_time(s, took) for took in rounds),
            f"p50 {statistics.median(worst):.0f} ms, {worst[0]:.0f} to {worst[-1]:.0f} ({listed(slowest)})")
    s.check("undisturbed within 500 ms and what systemd takes here to start anything",
            worst[0] <= LIMIT_MS + statistics.median(empty))


def crashes(s):
    """A4: there is no panic by design; this is what one ends with that cannot be caught, and what a broken program does."""
    code = "echo code $(systemctl show -P ExecMainCode fieldgate); echo status $(systemctl show -P ExecMainStatus fieldgate)"
    for number in (signal.SIGABRT, signal.SIGILL):
        arm(s, number.name)
        since = s.heard.mark()
        took = watch_end(s, number, f"{code}; {START}")
        # 3 would be an end with a memory image (CLD_DUMPED).
        s.check(f"{number.name}: safe in time, and no memory image",
                in_time(s, took) and (s.rest["code"], s.rest["status"]) == (2, number), f"{listed(took)}, {s.rest}")
        back(s, since)


def hang(s):
    """A4 and P5: it stops outside the kernel; only the watchdog can notice."""
    arm(s, "hang")
    since = s.heard.mark()
    # As in `in_time`, what the machine takes for a start is measured beside this end, and counts twice.
    took = watch(s, 20, signal.SIGSTOP, f"{{ systemctl show -P Result fieldgate >/run/result; {START_EMPTY}; }}")
    s.empty = max(s.empty, s.rest["empty"])
    result = s.board.run("cat /run/result").ok().strip()
    s.check(f"a hang is safe within WatchdogSec={WATCHDOG} and a second",
            (WATCHDOG - 1) * 1000 < min(took.values()) and max(took.values()) <= (WATCHDOG + 1) * 1000 + 2 * s.empty
            and result == "watchdog", f"{listed(took)}, {result}; an empty start takes {s.rest['empty']:.0f} ms")
    back(s, since)
    arm(s, "hung")
    s.check("started again it obeys", all(watch(s, 0).values()))


def hung_bus(s):
    """P5: a transfer that does not end, on the bus of three outputs. Those that can be reached must not wait for the others."""
    arm(s, "bus")
    since = s.heard.mark()
    s.board.run(f"echo 1 >{HUNG}").ok()
    lines = {name: OUTPUTS[name] for name in ("pump", "fan")}
    took = watch(s, 20, then=f"echo 0 >{HUNG}", outputs=lines)
    result, = s.show("Result")
    # It notices within a second, waits as long as the watchdog, which then waits as long again.
    s.check("with a bus that hangs, the outputs on others are safe within WatchdogSec twice and two seconds",
            WATCHDOG * 1000 < min(took.values()) and max(took.values()) <= (2 * WATCHDOG + 2) * 1000 + s.empty
            and result == "watchdog", f"{listed(took)}, {result}")
    # The new start comes PAUSE after the last process of the old one has ended.
    end, safe = time.monotonic() + PAUSE - 2, all_safe(s)
    while not safe and time.monotonic() < end:
        safe = all_safe(s)
    s.check("its own as soon as it does not hang any more, before the new start", safe)
    s.board.run(START, 90).ok()
    back(s, since)


def held_bus(s):
    """H4: each transfer on the bus of three outputs takes a second and fails, for more than two periods of the watchdog."""
    arm(s, "held")
    process = s.show("MainPID", "NRestarts")
    lines = {name: OUTPUTS[name] for name in ("pump", "fan")}
    s.board.run(f"echo 1 >{HELD}").ok()
    time.sleep(2 * WATCHDOG + 1)
    s.check(f"a bus whose transfers time out is no reason to start again, with WatchdogSec={WATCHDOG}",
            s.show("MainPID", "NRestarts") == process, str(process))
    s.check("outputs on other buses stay as they are, and obey", all(watch(s, 0, outputs=lines).values())
            and s.command("pump", "off", "held-off")["outcome"] == "done")
    # How soon its own outputs are safe then is measured where the machine is as fast as a board: by the row of the fault suite.
    s.board.run(f"echo 0 >{HELD}").ok()
    # The bus rests after its last failure: a command that comes before that is over is refused.
    end, tries = time.monotonic() + 30, 0
    while s.command("siren", "off", f"held-over-{tries}")["outcome"] != "done":
        if time.monotonic() > end:
            raise Trouble("the outputs of the bus do not come back")
        tries += 1
        time.sleep(0.5)


def refused(s, restarts):
    """The one new start ended with 78 and no other is meant to come, which would be shown as `activating`."""
    end = time.monotonic() + 30
    while s.show("ActiveState") != ["failed"] and time.monotonic() < end:
        time.sleep(0.5)
    state = s.show("ActiveState", "Result", "ExecMainStatus", "NRestarts")
    s.check("it ends with 78 and is left alone, its outputs safe",
            state == ["failed", "exit-code", "78", str(restarts + 1)] and all_safe(s), str(state))


def mended(s):
    """The good file again."""
    s.board.write(CONFIG, s.more)
    since = s.heard.mark()
    s.board.run(START, 90).ok()
    back(s, since)


def broken_file(s):
    """K1 and A4: killed while the configuration cannot be read; the last good table is what is left."""
    arm(s, "broken")
    restarts = int(*s.show("NRestarts"))
    s.board.write(CONFIG, "mqtt: [ broken\n")
    took = watch_end(s, signal.SIGKILL)
    s.check("with a broken file a kill is safe in time too", in_time(s, took), listed(took))
    refused(s, restarts)
    mended(s)


def no_safe_state(s):
    """K1: a start that fails finds outputs on. Also what the other phases would say without ExecStopPost: too late."""
    drop_in(s, f"RestartSec={PAUSE}", "ExecStopPost=")
    arm(s, "unguarded")
    restarts = int(*s.show("NRestarts"))
    s.board.write(CONFIG, "mqtt: [ broken\n")
    took = watch(s, PAUSE + WITHIN, signal.SIGKILL)
    s.check("without ExecStopPost nothing is safe before the new start", min(took.values()) > PAUSE * 1000 and not in_time(s, took))
    s.check("a start that is refused makes everything safe", max(took.values()) < float("inf"), listed(took))
    refused(s, restarts)
    mended(s)


def after_the_end(s):
    """What the hardware does when no program is left: docs/buses.md describes it."""
    arm(s, "end")
    s.board.run("systemctl stop fieldgate").ok()
    s.check("after a stop PWM, expander and PCA9685 keep their safe state", all_safe(s))
    places = [s.board.bench("gpio-get", "-v", str(pin)).strip() for pin in (PUMP, FAN)]
    kept = s.board.run("cat /sys/module/pinctrl_bcm2835/parameters/persist_gpio_outputs").ok().strip()
    s.check("and this kernel has made inputs of the lines", kept == "N" and places == ["0 input", "1 input"], f"{kept}, {places}")
    print(f"info  output-watch was {s.late:.1f} ms late at most", flush=True)


def failing_removed(s):
    """Back to the first configuration and the unit as it is."""
    s.board.write(CONFIG, s.config)
    s.board.run(f"rm -rf {DROP_INS} /run/systemd/system/empty.service && systemctl daemon-reload &&"
                "systemctl restart fieldgate && modprobe -r board-chips", 90).ok()
    s.check("nobody holds what the configuration does not name", True)
