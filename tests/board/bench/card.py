"""Files on the SD card while the board is off, and a program pushed into the guest while it runs."""
import gzip
import hashlib
import shlex
import socket
import subprocess
import sys
import threading
from pathlib import Path

from machine import CARD, die, guest, must_be_off, new_card


def debugfs(request, write=False, may_fail=False):
    """One request to debugfs, which reports its errors in words only."""
    must_be_off()
    done = subprocess.run(["debugfs", *(["-w"] if write else []), "-R", request, str(CARD)], capture_output=True, text=True)
    errors = "\n".join(reported for reported in done.stderr.splitlines() if not reported.startswith("debugfs 1."))
    if errors and not may_fail:
        die(errors)
    return errors


def put(source, place, mode):
    """Writes a file onto the card; after a power cut only when fsck has replayed the journal."""
    if not CARD.exists():
        new_card()
    folder = ""
    for part in Path(place).parent.parts[1:]:
        folder += f"/{part}"
        if "File not found" in debugfs(f"stat {folder}", may_fail=True):
            debugfs(f"mkdir {folder}", write=True)
    debugfs(f"rm {place}", write=True, may_fail=True)
    debugfs(f"write {source} {place}", write=True)
    debugfs(f"set_inode_field {place} mode 0{0o100000 | int(mode, 8):o}", write=True)
    for field in ("uid", "gid"):
        debugfs(f"set_inode_field {place} {field} 0", write=True)


def get(source, place):
    """Reads a file off the card."""
    debugfs(f"dump {source} {place}")


def check():
    """Replays the card's journal and checks its file system."""
    must_be_off()
    done = subprocess.run(["e2fsck", "-fp", str(CARD)])
    sys.exit(0 if done.returncode in (0, 1) else done.returncode)


def push(source, place, mode):
    """Copies a file into the running guest over its network."""
    content = Path(source).read_bytes()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(90)

    def serve():
        connection, _ = listener.accept()
        with connection:
            connection.sendall(gzip.compress(content, 6))

    threading.Thread(target=serve, daemon=True).start()
    port, to = listener.getsockname()[1], shlex.quote(place)
    # The board may be up before its network is.
    online = "for i in $(seq 300); do ip -4 route get 10.0.2.2 >/dev/null 2>&1 && break; sleep 0.2; done"
    reported = guest(f"{online}; set -e -o pipefail; mkdir -p $(dirname {to}); gzip -dc </dev/tcp/10.0.2.2/{port} >{to}.part;"
                 f"chmod {mode} {to}.part; mv {to}.part {to}; sha256sum <{to}", 300)
    if reported.split()[0] != hashlib.sha256(content).hexdigest():
        die(f"{place}: the copy differs")
