"""The unit as it is shipped, without drop-ins: its sandbox and what works inside, the clock, a wrong file, credentials, a reboot.

Kills, crashes and hangs under this unit are in `failing` and `lives`, its other buses and outputs in `measuring` and `failing`.
"""
import json
import socket
import struct
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

from kernel import write
from lives import goes_on
from rows import ROWS
from stage import BASE, CONFIG, LABEL
from stand import Broker, Listener

BME280 = next(row for row in ROWS if row.driver == "bme280")
PCA9685 = 0x41
BUSES = "  motor: { type: pwm, chip: 1 }\n"
SENSORS = """  attic:
    driver: linux-iio
    every: 1s
    settings:
      device: bme280
      parent: 9-0076
      channels: { temperature: { attribute: in_temp_input, decimals: 3 } }
"""
ACTUATORS = "  blower: { driver: pwm-output, bus: motor, settings: { channel: 2 }, safe_state: 40, safe_after: never }\n"
DUTY = "cd /sys/class/pwm/pwmchip1/pwm2 && d=$(cat duty_cycle) p=$(cat period) && echo $(((100 * d + p / 2) / p))"

PASSWORD = "correct horse battery"
LOCKED = "/etc/fieldgate/credentials/mqtt-password"

# What the board itself says of the unit and of the process.
HELD = r"""pid=$(systemctl show -P MainPID fieldgate)
systemd-analyze security fieldgate --no-pager 2>/dev/null | sed -n 's/.*exposure level.*: \([0-9.]*\) .*/exposure \1/p'
sed -n 's/^\(CapInh\|CapPrm\|CapEff\|CapBnd\|CapAmb\|NoNewPrivs\|Seccomp\):[[:space:]]*/\1 /p' /proc/$pid/status
cd /sys/fs/cgroup/system.slice/fieldgate.service
echo memory.max $(cat memory.max); echo memory.peak $(cat memory.peak); echo pids.max $(cat pids.max)
awk '$5 == "/" || $5 == "/sys" || $5 == "/sys/devices" { sub(",.*", "", $6); print $5, $6 }' /proc/$pid/mountinfo
echo listening $(ss -Hltunp | grep -c fieldgate)"""


def with_more(s):
    """The configuration with a PWM channel and an IIO sensor."""
    more = s.config
    for section, entries in (("buses", BUSES), ("sensors", SENSORS), ("actuators", ACTUATORS)):
        more = more.replace(f"{section}:\n", f"{section}:\n{entries}", 1)
    return more


def held(s):
    """The sandbox, as the board's systemd and kernel see it."""
    words = dict(line.split(" ", 1) for line in s.board.run(HELD).ok().splitlines())
    s.check("exposure on the board at most 1.5", float(words["exposure"]) <= 1.5, words["exposure"])
    caps = {name: words[name] for name in words if name.startswith("Cap")}
    s.check("the process has no capability and can get none", len(caps) == 5 and {int(value, 16) for value in caps.values()} == {0}
            and (words["NoNewPrivs"], words["Seccomp"]) == ("1", "2"), str(caps))
    mounts = [words.get(place) for place in ("/", "/sys", "/sys/devices")]
    s.check("it sees all as read-only but where PWM chips are", mounts == ["ro", "ro", "rw"], str(mounts))
    most, peak, tasks = (words[name] for name in ("memory.max", "memory.peak", "pids.max"))
    s.check("its memory and threads are limited, far above what it used", most.isdigit() and tasks.isdigit()
            and int(peak) < int(most) / 2, f"at most {int(peak) / 1e6:.1f} of {most} bytes, {tasks} tasks")
    s.check("nothing listens", words["listening"] == "0", words["listening"])


def later_devices(s):
    """A PWM chip and an IIO sensor that come while the service runs, taken up with a reload."""
    registers = write(BME280, {**BME280.fixed, **BME280.cases[0]})
    s.board.run(f"modprobe board-chips chips={PCA9685:#x}:1:1,{BME280.address:#x}:{BME280.layout}; modprobe pwm-pca9685;"
                f"modprobe {BME280.module}; {registers} && cd /sys/bus/i2c/devices/i2c-9 &&"
                f"echo pca9685 {PCA9685:#x} >new_device && echo {BME280.device} {BME280.address:#x} >new_device;"
                "udevadm settle").ok()
    s.board.write(CONFIG, with_more(s))
    s.board.run("systemctl reload fieldgate").ok()
    kernel = s.board.run("cat /sys/bus/i2c/devices/9-0076/iio:device*/in_temp_input").ok().strip()
    reading = s.reading("attic")
    s.check("an IIO sensor is read inside the sandbox", abs(reading["temperature"] - float(kernel) / 1000) < 0.002,
            f"{json.dumps(reading)} and {kernel}")
    s.switch("blower", 90, "later")
    duty = s.board.run(DUTY).ok().strip()
    s.check("a PWM channel is driven inside the sandbox", duty == "90", f"{duty} %")


@contextmanager
def time_server(ahead):
    """Answers NTP on this machine's loopback (RFC 5905), so many seconds ahead of this machine's clock."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        # systemd-timesyncd knows no other port.
        server.bind(("127.0.0.1", 123))
        server.settimeout(0.5)
        done = threading.Event()
        thread = threading.Thread(target=answer, args=(server, ahead, done))
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def answer(server, ahead, done):
    """Every query, until it is done."""
    while not done.is_set():
        try:
            query, client = server.recvfrom(512)
        except TimeoutError:
            continue
        now = int((time.time() + ahead + 2_208_988_800) * 2**32) % 2**64
        # No leap second, version 4, server; stratum 2.
        server.sendto(struct.pack("!BBbbII4sQ8sQQ", 0x24, 2, 6, -20, 0, 0, b"test", now, query[40:48], now, now), client)


def clock(s):
    """systemd-timesyncd sets the clock; readings say so from then on."""
    before = s.reading("tick")
    s.check("a clock that nobody has set is reported", before.get("clock") == "unsynchronised", json.dumps(before))
    hour = 3600
    ahead = float(s.board.run("date +%s.%N").ok()) - time.time() + hour
    with time_server(ahead):
        s.board.run("d=/run/systemd/timesyncd.conf.d; mkdir -p $d; printf '[Time]\\nNTP=10.0.2.2\\n' >$d/test.conf;"
                    "systemctl restart systemd-timesyncd").ok()
        after = s.reading("tick", lambda reading: "clock" not in reading, 60)
    s.check("a clock that timesyncd has set is seen inside the sandbox", after["time"] > before["time"],
            f"{before['time']}, then {after['time']}")


def wrong_file(s):
    """A start with a configuration that cannot run: once, clearly, with outputs safe."""
    s.board.write(CONFIG, with_more(s).replace("driver: bme280", "driver: bme208"))
    began = s.board.run("date '+%F %T'").ok().strip()
    started = s.board.run("systemctl restart fieldgate", 90)
    # Twice the unit's RestartSec, after which a service that loops would be there again.
    time.sleep(4)
    state = s.show("ActiveState", "Result", "ExecMainStatus", "NRestarts")
    s.check("a wrong file fails once with 78 and is not tried again",
            started.code != 0 and state == ["failed", "exit-code", "78", "0"], str(state))
    reported = s.board.run(f"journalctl -u fieldgate -o cat --no-pager --since '{began}'").text
    clear = reported.count('no driver is called "bme208"') == 1 and f"--> {CONFIG}:" in reported and 'did you mean "bme280"?' in reported
    s.check("the log says where and what", clear, "" if clear else reported)
    duty = s.board.run(DUTY).ok().strip()
    s.check("its output is in its safe state", duty == "40", f"{duty} %")


def credential(s):
    """A password in the folder of credentials, for a broker that wants one; also the start after the wrong file."""
    with tempfile.TemporaryDirectory() as folder:
        broker = Broker(Path(folder), BASE, ("board", PASSWORD))
        heard = Listener(broker)
        try:
            s.board.run(f"umask 077; echo '{PASSWORD}' >{LOCKED}").ok()
            login = f":{broker.port}\n  username: board\n  password_credential: mqtt-password\n"
            # A spool of its own: what is still waiting belongs to the other broker.
            spool = "spool: { path: /var/lib/fieldgate/locked }\n"
            s.board.write(CONFIG, s.config.replace(f":{s.broker.port}\n", login, 1) + spool)
            s.board.run("systemctl restart fieldgate", 90).ok()
            heard.wait("status", lambda text: text == "online", 60, 0)
            s.check("a password from the folder of credentials opens the broker", True)
            reloaded = s.board.run("systemctl reload fieldgate")
            s.check("a reload does not miss it", reloaded.code == 0, reloaded.text)
        finally:
            heard.stop()
            broker.stop()
    pid, = s.show("MainPID")
    seen = s.board.run(f"grep -c '{PASSWORD}' <(journalctl -u fieldgate -o verbose -n 200 --no-pager) <(systemctl show fieldgate)"
                       f" <(fieldgate check 2>&1) /proc/{pid}/environ /proc/{pid}/cmdline; runuser -u fieldgate -- cat {LOCKED}").text
    hidden = [line[-2:] for line in seen.splitlines()[:5]] == [":0"] * 5 and "Permission denied" in seen
    s.check("it is nowhere else, and the service's own user cannot read the file", hidden, "" if hidden else seen)
    since = s.heard.mark()
    s.board.write(CONFIG, s.config)
    s.board.run(f"rm {LOCKED}; systemctl restart fieldgate", 90).ok()
    s.heard.wait("status", lambda text: text == "online", 60, since)


def reboot(s):
    """An orderly end of the whole board and a start with nobody there."""
    s.board.run("systemctl enable -q fieldgate && sync").ok()
    s.switch_on("reboot")
    since = s.heard.mark()
    s.board.bench("stop")
    s.heard.wait("status", lambda text: text == "offline", 5, since)
    safe = {name: [heard.json() for heard in s.heard.since(since, f"actuators/{name}/state")] for name in ("pump", "fan")}
    s.check("a shutdown makes the outputs safe and says `offline`",
            all(states and (states[-1]["value"], states[-1]["cause"]) == ("off", "stop") for states in safe.values()), str(safe))
    since = s.heard.mark()
    print("info  the board is " + s.board.bench("boot").strip(), flush=True)
    s.heard.wait("status", lambda text: text == "online", 90, since)
    state = s.started("ActiveState", "NRestarts")
    s.check("it comes up by itself, at the first try", state == ["active", "0"], str(state))
    s.board.bench("sim-chip", "--label", LABEL)
    goes_on(s, "a reboot")
