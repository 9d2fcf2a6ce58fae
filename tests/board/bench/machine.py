"""The emulated machine: QEMU's process, and the three lines to it.

QMP sets what emulated chips measure, qtest reads and writes the board's physical addresses from outside, and the agent on the
second serial port runs commands in the guest, also when its network is cut.
"""
import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

BASE = Path(os.environ.get("PI_BENCH_DIR", Path.home() / ".cache/pi-bench")).resolve()
RUN = BASE / ("run-" + os.environ.get("PI_BENCH_NAME", "0"))
CARD = RUN / "sdcard.img"

# name -> QEMU device; those on i2c-bus.1 are at the header's pins 3 and 5.
CHIPS = {
    "temp0": "tmp105,bus=i2c-bus.1,address=0x48",  # LM75-compatible, temperature settable
    "temp1": "tmp421,bus=i2c-bus.1,address=0x4c",  # temperature0 (local), temperature1 (remote) settable
    # 16-bit command, then read: answers as an SHT3x does.
    "reg44": "at24c-eeprom,bus=i2c-bus.1,address=0x44,rom-size=65536",
    "reg45": "at24c-eeprom,bus=i2c-bus.1,address=0x45,rom-size=65536",  # another, for a second program beside the first
    # 8-bit registers: stands in for a BME280.
    "reg76": "at24c-eeprom,bus=i2c-bus.1,address=0x76,rom-size=256",
    "mux": "pca9548,bus=i2c-bus.1,address=0x70",
    "far": "tmp105,bus=i2c.3,address=0x4a",  # behind channel 3 of it
}


def die(message):
    sys.exit(f"pi-bench: {message}")


def line(name, timeout=20):
    """One of QEMU's sockets."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(timeout)
    connection.connect(str(RUN / name))
    return connection


def qmp(command, **arguments):
    """One command to QEMU; returns its answer."""
    answer = None
    with line("qmp.sock") as connection, connection.makefile("rw") as file:
        file.readline()
        for each in ({"execute": "qmp_capabilities"}, {"execute": command, "arguments": arguments}):
            file.write(json.dumps(each) + "\n")
            file.flush()
            answer = qmp_answer(file, command)
    return answer


def qmp_answer(file, command):
    for text in file:
        answer = json.loads(text)
        if "return" in answer:
            return answer["return"]
        if "error" in answer:
            die(f"{command}: {answer['error']['desc']}")
    return die("QEMU closed the QMP socket")


def qtest(*commands):
    """Reads and writes of the board's physical addresses from outside the guest."""
    answers = []
    with line("qtest.sock") as connection, connection.makefile("rw") as file:
        for command in commands:
            file.write(command + "\n")
            file.flush()
            words = file.readline().split()
            if not words or words[0] != "OK":
                die(f"qtest {command}: {words}")
            answers.append(int(words[1], 16) if len(words) > 1 else None)
    return answers


def agent(script, limit=60, wait=None):
    """Runs a bash script in the guest as root; returns (exit status, output)."""
    deadline = time.monotonic() + (wait or limit + 30)
    tag = f"{os.getpid()}.{time.time_ns()}".encode()
    with line("agent.sock", max(1, deadline - time.monotonic())) as connection:
        connection.sendall(b"\nPB %s %d %s\n" % (tag, limit, quoted(script)))
        return answered(connection, tag, deadline)


def quoted(script):
    """In one line, as bash's printf %b takes it."""
    plain = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,:;/-_=+@#%()[]{}<>|&$*?!~^'\"`"
    text = b"".join(bytes([byte]) if byte in plain else b"\\0%03o" % byte for byte in script.encode())
    # `read` drops blanks at both ends.
    return text if script == script.strip() else b"\\0012" + text + b"\\0012"


def answered(connection, tag, deadline):
    """What the agent says of the script with this tag."""
    rest, output = b"", b""
    while True:
        connection.settimeout(max(0.1, deadline - time.monotonic()))
        received = connection.recv(65536)
        if not received:
            raise EOFError("the guest's control line was closed")
        *lines, rest = (rest + received).split(b"\n")
        for words in map(bytes.split, lines):
            if len(words) != 3 or words[1] != tag:
                continue
            if words[0] == b"PBO":
                output += base64.b64decode(words[2])
            elif words[0] == b"PBE":
                return int(words[2]), output


def guest(script, limit=60):
    """A bash script in the guest that must succeed; its output."""
    status, output = agent(script, limit)
    text = output.decode(errors="replace")
    if status:
        die(f"in the guest, status {status}: {script}\n{text}")
    return text


def running():
    """QEMU's process id, or None when the board is off."""
    try:
        number = int((RUN / "qemu.pid").read_text())
        return number if b"qemu-system-aarch64" in Path(f"/proc/{number}/cmdline").read_bytes() else None
    except (OSError, ValueError):
        return None


def ended(number, seconds):
    """Whether that process ends within this time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if running() != number:
            return True
        time.sleep(0.1)
    return False


def must_be_off():
    if running():
        die("the board must be off")


def new_card():
    """A card as the bench was built with."""
    RUN.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "--sparse=always", str(BASE / "sdcard.img"), str(CARD)], check=True)


def qemu_arguments():
    # writeback: what the guest wrote is in this machine's memory, where the end of QEMU leaves it. Written through, each sector of
    # 512 bytes would wait for this machine's disk while the whole guest stands still.
    chips = [word for name, spec in CHIPS.items() for word in ("-device", f"{spec},id={name}")]
    sockets = {name: f"unix:{RUN}/{name}.sock,server=on,wait=off" for name in ("agent", "qmp", "qtest")}
    return ["qemu-system-aarch64", "-M", "raspi3b", "-kernel", str(BASE / "vmlinuz"), "-dtb", str(BASE / "3b.dtb"),
            "-initrd", str(BASE / "initrd.gz"),
            "-append", "console=ttyAMA0,115200 iomem=relaxed loglevel=5 systemd.show_status=0 maxcpus=4",
            "-drive", f"if=sd,format=raw,file={CARD},cache=writeback",
            "-netdev", "user,id=net0", "-device", "usb-net,netdev=net0,id=nic0",
            "-serial", f"file:{RUN}/console.log", "-serial", sockets["agent"],
            "-qmp", sockets["qmp"], "-qtest", sockets["qtest"], "-qtest-log", "none",
            "-display", "none", "-monitor", "none", *chips]


def boot(fresh, seconds):
    """Powers the board on and waits for its userland."""
    if running():
        die("already running")
    if fresh or not CARD.exists():
        new_card()
    for name in ("qmp", "qtest", "agent"):
        (RUN / f"{name}.sock").unlink(missing_ok=True)
    begun = time.monotonic()
    with open(RUN / "qemu.log", "wb") as log:
        process = subprocess.Popen(qemu_arguments(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                   start_new_session=True)
    (RUN / "qemu.pid").write_text(str(process.pid))
    wait_up(process, seconds)
    print(f"up after {time.monotonic() - begun:.0f} s")


def wait_up(process, seconds):
    end, state = time.monotonic() + seconds, ""
    while time.monotonic() < end:
        if process.poll() is not None:
            die("QEMU ended: " + (RUN / "qemu.log").read_text())
        try:
            if not state:
                agent("true", 20, wait=8)
            # To ask again and again would take from the board what it starts with.
            state = agent("systemctl is-system-running --wait", max(1, int(end - time.monotonic())))[1].decode().strip()
            if state in ("running", "degraded"):
                return
            time.sleep(1)
        except (OSError, EOFError):
            time.sleep(0.5)
    die(f"not up after {seconds} s (last state: {state or 'no answer'}); see {RUN}/console.log")


def stop(seconds):
    """An orderly shutdown; the end of QEMU if there is none in time."""
    number = running()
    if not number:
        return
    try:
        agent("systemctl --no-block poweroff", 20, wait=20)
    except (OSError, EOFError):
        pass  # It may go down before it answers.
    if not ended(number, seconds):
        print("pi-bench: no orderly shutdown in time, ending QEMU", file=sys.stderr)
        power_cut()


def power_cut():
    """Ends QEMU at once."""
    number = running() or die("not running")
    os.kill(number, signal.SIGKILL)
    if not ended(number, 10):
        die("QEMU did not end")
