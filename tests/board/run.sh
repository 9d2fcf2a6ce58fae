#!/bin/sh
# Shows the main job on the real interfaces of a Linux board: an emulated Raspberry Pi with its kernel, its I2C and GPIO
# devices and its systemd, and a Mosquitto on this machine that sees all of it. The package is installed, first used and purged
# in the words of README.md.
#
#   sh tests/board/run.sh [PART]       all phases on one board, or those of a part of parts.py; two boards may run at a time
#   sh tests/board/run.sh --packages   only asks apt for what is missing, so that a run does not need apt's lock
#   sh tests/board/run.sh --prepare    only makes the image and the package, which a run then finds
#
# Needs Debian 12 on x86-64, root, and apt with a network; without them it says LEFT OUT and ends with 77, in CI (CI is set)
# with 1. What the bench builds once (5 minutes, 1 GB) stays in PI_BENCH_DIR, the program in CARGO_TARGET_DIR. Every check
# prints PASS or FAIL; one FAIL and the script ends with 1.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
bench=$root/tests/board/bench
PI_BENCH_DIR=${PI_BENCH_DIR:-$HOME/.cache/pi-bench}
PI_BENCH_NAME=fieldgate-$$
CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target/pi}
export PI_BENCH_DIR PI_BENCH_NAME CARGO_TARGET_DIR
made=$CARGO_TARGET_DIR/board
mine=$PI_BENCH_DIR/run-$PI_BENCH_NAME # the bench's folder of this board, which board.py removes

left_out() {
    echo "LEFT OUT: the test on an emulated board: $1"
    [ -z "${CI:-}" ] || { echo "It cannot be left out in CI." >&2; exit 1; }
    exit 77
}

needs() {
    [ "$(id -u)" = 0 ] || left_out "it needs root"
    [ "$(uname -m)" = x86_64 ] || left_out "it needs an x86-64 machine"
    grep -q '^VERSION_CODENAME=bookworm' /etc/os-release 2>/dev/null || left_out "it needs Debian 12"
    command -v apt-get >/dev/null || left_out "it needs apt"
}

missing() {
    for tool in "$@"; do
        command -v "$tool" >/dev/null || return 0
    done
    return 1
}

# apt is asked only when something is missing: it takes a network and a minute.
packages() {
    if missing qemu-system-aarch64 mmdebstrap qemu-aarch64-static aarch64-linux-gnu-gcc make fdtput cpio debugfs python3 \
        mosquitto mosquitto_sub mosquitto_pub || [ ! -e /usr/aarch64-linux-gnu/include/stdio.h ]; then
        "$bench/pi-bench" deps || left_out "QEMU and what else it needs cannot be installed, see above"
    fi
}

# Built again when the bench's own files have changed, and then only what they change: several clones may share one image, and what
# runs on the board must fit the bench that talks to it.
image() {
    wanted=$(cd "$bench" && find build-image.sh guest modules -type f | LC_ALL=C sort | xargs sha256sum)
    built=$(cat "$PI_BENCH_DIR/bench.version" 2>/dev/null) || built=
    for part in 3b.dtb initrd.gz vmlinuz sdcard.img; do
        [ -s "$PI_BENCH_DIR/$part" ] || built=
    done
    [ "$built" != "$wanted" ] || return 0
    rm -f "$PI_BENCH_DIR/bench.version"
    "$bench/pi-bench" build || return 1
    echo "$wanted" >"$PI_BENCH_DIR/bench.version"
}

# Made again when any of the sources is newer, for to pack the same program again takes half a minute.
program() {
    if [ -x "$made/output-watch" ]; then
        newer=$(find "$root" \( -path "$root/target" -o -path "$root/.git" \) -prune -o -newer "$made/begun" -print -quit)
        [ -n "$newer" ] || return 0
    fi
    rm -rf "$made"
    mkdir -p "$made"
    touch "$made/begun"
    # As it is shipped, but for the optimiser's looks at the whole program, which would take minutes.
    package=$(CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 sh "$root/deploy/build-deb.sh" arm64) || return 1
    cp "$root/$(echo "$package" | tail -1)" "$made/" || return 1
    aarch64-linux-gnu-gcc -O2 -Wall -Wextra -Werror -static -o "$made/output-watch" "$root/tests/board/watch.c"
}

timed() {
    begun=$(date +%s)
    "$@"
    echo "time  $1: $(($(date +%s) - begun)) s"
}

# The image is made while the program is built: neither needs both of two cores for long.
both() {
    image >"$PI_BENCH_DIR/build.log" 2>&1 &
    building=$!
    code=0
    program || code=$?
    wait "$building" || code=$?
    cat "$PI_BENCH_DIR/build.log"
    return "$code"
}

# Another run may want the same at the same time. What this one starts with is its own.
prepare() {
    mkdir -p "$PI_BENCH_DIR" "$CARGO_TARGET_DIR"
    exec 9>"$PI_BENCH_DIR/lock"
    flock 9
    timed both
    if [ "${1:-}" != --prepare ]; then
        mkdir -p "$mine"
        cp "$made"/* "$mine/"
    fi
    exec 9>&-
}

needs
timed packages
[ "${1:-}" != --packages ] || exit 0
prepare "$@"
[ "${1:-}" != --prepare ] || exit 0
exec python3 "$root/tests/board/board.py" "$bench/pi-bench" "$mine"/fieldgate_*.deb "$mine/output-watch" "$root" "$@"
