#!/bin/sh
# Runs a program that was built for another processor, emulated, against a real Mosquitto: it reads, obeys, keeps what it has
# read over a dead broker and a kill, and ends in order.
#
#   sh tests/emulated.sh ARCH PROGRAM
#
# ARCH is amd64, which runs as it is, or one of deploy/cross.sh. Needs qemu-user-static, mosquitto and mosquitto-clients. Every
# check prints PASS or FAIL; one FAIL and the script ends with 1.
set -eu
unset CDPATH
cd "$(dirname "$0")/.."
PATH="$PATH:/usr/sbin:/sbin"
arch=${1:?usage: sh tests/emulated.sh ARCH PROGRAM} program=$(realpath "${2:?usage: sh tests/emulated.sh ARCH PROGRAM}")
scratch=$(mktemp -d)
broker='' listener='' gateway='' failed=0

finish() {
    for process in $gateway $listener $broker; do
        kill -9 "$process" 2>/dev/null || true
    done
    rm -rf "$scratch"
}
trap finish EXIT
trap 'exit 130' INT TERM

# check WORDS COMMAND…
check() {
    words=$1
    shift
    if "$@" >"$scratch/out" 2>&1; then
        echo "PASS  $arch: $words"
    else
        echo "FAIL  $arch: $words"
        sed 's/^/      /' "$scratch/out" "$scratch/log"
        failed=1
    fi
}

# The shell becomes the emulator, so that a signal to the one is a signal to the other.
fieldgate() {
    if [ "$arch" = amd64 ]; then
        exec "$program" "$@"
    else
        exec sh deploy/cross.sh "$arch" run "$program" "$@"
    fi
}

prints_version() { (fieldgate --version) | grep -qxF "fieldgate $(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)"; }

is_good() { (fieldgate check --config "$scratch/fieldgate.yaml"); }

# soon COMMAND…: whether it comes true within a minute; an emulator is slow.
soon() {
    for _ in $(seq 300); do
        "$@" && return
        sleep 0.2
    done
    return 1
}

start_broker() {
    mosquitto -c "$scratch/mosquitto.conf" 2>"$scratch/broker" &
    broker=$!
    soon grep -q ' running' "$scratch/broker" || { cat "$scratch/broker" >&2; exit 1; }
    mosquitto_sub -p "$port" -q 1 -F '%t %p' -t 'fieldgate/emulated/#' >>"$scratch/heard" &
    listener=$!
}

stop_broker() {
    kill "$listener" "$broker"
    wait "$listener" "$broker" || true
    listener='' broker=''
}

start_gateway() {
    (fieldgate run --config "$scratch/fieldgate.yaml") >>"$scratch/log" 2>&1 &
    gateway=$!
}

# The numbers of the readings of the first run, whichever topic they came on, in order of their coming.
numbers() {
    run=$(sed -n 's/.*"run":"\([0-9a-f]*\)".*/\1/p' "$scratch/heard" | head -n 1)
    sed -n "s|^fieldgate/emulated/[a-z]*/wave {.*\"run\":\"$run\",\"seq\":\([0-9]*\),.*|\1|p" "$scratch/heard"
}

has_heard() { [ "$(numbers | sort -nu | wc -l)" -ge "$1" ]; }

obeys() {
    reply=$(timeout 60 mosquitto_rr -p "$port" -t fieldgate/emulated/actuators/pump/set \
        -e fieldgate/emulated/actuators/pump/reply -m on) && echo "$reply" && echo "$reply" | grep -q '"outcome":"done"'
}

# From the first to the last, without a gap: a repeat is allowed.
is_whole() {
    numbers | sort -nu | tee "$scratch/numbers" | tr '\n' ' '
    [ "$(tail -n 1 "$scratch/numbers")" -eq "$(wc -l <"$scratch/numbers")" ]
}

# A wait for a time that the kernel takes for an earlier one ends at once, again and again. Without a broker there are some 75
# such calls in 12 s; where waits did not last it was 29,000.
waits_last() {
    [ "$arch" != amd64 ] || return 0
    sed -e 's/, commit_every: 0s//' -e 's/every: 1s, settings/every: 300ms, settings/' "$scratch/fieldgate.yaml" >"$scratch/waits.yaml"
    (QEMU_STRACE=1 fieldgate run --config "$scratch/waits.yaml") >"$scratch/calls" 2>&1 &
    gateway=$!
    soon grep -q 'futex' "$scratch/calls" || return 1
    before=$(grep -c 'futex' "$scratch/calls")
    sleep 8
    waits=$(($(grep -c 'futex' "$scratch/calls") - before))
    kill -9 "$gateway"
    wait "$gateway" 2>/dev/null || true
    gateway=''
    echo "$waits futex calls in 8 s"
    [ "$waits" -le 800 ]
}

ends_in_order() {
    kill "$gateway"
    code=0
    wait "$gateway" || code=$?
    gateway=''
    [ "$code" -eq 0 ]
}

# Below the ports that the kernel gives to outgoing connections.
port=$((18000 + $$ % 13000))
printf 'listener %s 127.0.0.1\nallow_anonymous true\n' "$port" >"$scratch/mosquitto.conf"
cat >"$scratch/fieldgate.yaml" <<TEXT
gateway: { name: emulated }
mqtt: { broker: "mqtt://127.0.0.1:$port" }
spool: { path: "$scratch/spool", commit_every: 0s }
buses:
  lines: { type: sim, state_file: "$scratch/lines.json" }
sensors:
  board: { driver: board, every: 1s }
  wave: { driver: waveform, every: 1s, settings: { shape: counter } }
actuators:
  pump: { driver: gpio-output, bus: lines, settings: { line: GPIO27 }, safe_state: "off", safe_after: 30s }
TEXT
touch "$scratch/log" "$scratch/heard"

check "it prints its version" prints_version
check "the configuration is good" is_good
start_broker
start_gateway
check "readings arrive" soon has_heard 3
check "a command is obeyed" obeys
stop_broker
heard=$(numbers | sort -nu | wc -l)
sleep 4
kill -9 "$gateway"
wait "$gateway" 2>/dev/null || true
start_broker
start_gateway
check "what was read while the broker was dead arrives after a kill" soon has_heard $((heard + 3))
check "nothing is missing" is_whole
check "it ends in order" ends_in_order
stop_broker
check "a wait lasts as long as it was asked to" waits_last
[ "$failed" -eq 0 ]
