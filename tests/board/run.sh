#!/bin/sh
# Shows the main job on the real interfaces of a Linux board: an emulated Raspberry Pi with its kernel, its I2C and GPIO
# devices and its systemd, and a Mosquitto on this machine that sees all of it.
#
#   sh tests/board/run.sh
#
# Needs the test bench ../shared/pi-bench (PI_BENCH names another place), Debian 12 on x86-64, root and apt; without them
# it says LEFT OUT and ends well. What the bench builds once (5 minutes, 1 GB) stays in PI_BENCH_DIR, the program in
# CARGO_TARGET_DIR. Every check prints PASS or FAIL; one FAIL and the script ends with 1.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
bench=${PI_BENCH:-$root/../shared/pi-bench}
PI_BENCH_DIR=${PI_BENCH_DIR:-$HOME/.cache/pi-bench}
PI_BENCH_NAME=fieldgate-$$
CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target/pi}
export PI_BENCH_DIR PI_BENCH_NAME CARGO_TARGET_DIR

left_out() {
    echo "LEFT OUT: the test on an emulated board: $1"
    exit 0
}

# What the bench itself asks for; its own messages are for those who meet these needs.
needs() {
    [ -x "$bench/pi-bench" ] || left_out "there is no $bench"
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
    if missing qemu-system-aarch64 mmdebstrap qemu-aarch64-static aarch64-linux-gnu-gcc debugfs python3; then
        "$bench/pi-bench" deps
    fi
    if missing mosquitto mosquitto_sub mosquitto_pub || [ ! -e /usr/aarch64-linux-gnu/include/stdio.h ]; then
        apt-get -q update
        DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends \
            libc6-dev-arm64-cross mosquitto mosquitto-clients
    fi
}

image() {
    for part in sdcard.img vmlinuz initrd.gz 3b.dtb; do
        [ -s "$PI_BENCH_DIR/$part" ] || { "$bench/pi-bench" build; return; }
    done
}

program() {
    "$bench/pi-cross" setup arm64
    (cd "$root" && "$bench/pi-cross" arm64 cargo build --release --locked)
}

timed() {
    begun=$(date +%s)
    "$@"
    echo "time  $1: $(($(date +%s) - begun)) s"
}

needs
timed packages
timed image
timed program
exec python3 "$root/tests/board/board.py" "$bench/pi-bench" \
    "$CARGO_TARGET_DIR/aarch64-unknown-linux-gnu/release/fieldgate" "$root"
