#!/bin/sh
# Builds the release program for one architecture so that the same commit gives the same bytes, wherever it is built, as long
# as the compilers are the same. The last line of its output is the program's path.
#
#   sh deploy/build.sh ARCH [--auditable]
#
# ARCH is amd64, built by the machine's own Rust on x86-64, or one that deploy/cross.sh knows: arm64, armhf, armv6, armv6-gnu.
# With --auditable the program carries the list of its dependencies (section .dep-v0), which `cargo audit bin` and other
# scanners read; cargo-auditable is installed if it is missing. What is built stays in CARGO_TARGET_DIR.
set -eu
unset CDPATH
cd "$(dirname "$0")/.."
root=$(pwd)
PATH="$PATH:${CARGO_HOME:-${HOME:-/root}/.cargo}/bin"
AUDITABLE_VERSION=0.7.7

fail() {
    printf 'build.sh: %s\n' "$*" >&2
    exit 1
}

usage() {
    sed -n '5,9s/^# \{0,1\}//p' "$0" >&2
    exit 2
}

install_auditable() {
    ! cargo install --list | grep -qxF "cargo-auditable v$AUDITABLE_VERSION:" || return 0
    # Unoptimised, for it runs seconds, and not among what is built here.
    env -u CARGO_TARGET_DIR CARGO_PROFILE_DEV_DEBUG=0 \
        cargo install cargo-auditable --version "$AUDITABLE_VERSION" --locked --debug --quiet --force
}

# The folders whose names a compiler would otherwise write into the program, and what is written instead; the later ones lie
# within the earlier ones and win. The standard library's sources are there with rustup's component rust-src only.
folders() {
    compiler=$("${RUSTC:-rustc}" --print sysroot)
    commit=$("${RUSTC:-rustc}" --version --verbose | sed -n 's/^commit-hash: //p')
    printf '%s\n' "${CARGO_HOME:-$HOME/.cargo}=/cargo" "$root=/fieldgate" "$CARGO_TARGET_DIR=/target" "$compiler=/rust" \
        "$compiler/lib/rustlib/src/rust=/rustc/$commit"
}

# options NAME SEPARATOR: the folders as options of a compiler.
options() { folders | sed "s|^|$1=|" | tr '\n' "$2" | sed 's/.$//'; }

export_options() {
    lower=$(printf '%s' "$triple" | tr - _)
    # Separated by a character that no path has.
    CARGO_ENCODED_RUSTFLAGS=$(options --remap-path-prefix '\037')
    export CARGO_ENCODED_RUSTFLAGS
    unset RUSTFLAGS
    export "CFLAGS_$lower=$(options -ffile-prefix-map ' ')"
    SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null) || SOURCE_DATE_EPOCH=0
    LC_ALL=C TZ=UTC
    export SOURCE_DATE_EPOCH LC_ALL TZ
}

case ${1:-} in
    amd64) triple=x86_64-unknown-linux-gnu ;;
    arm64) triple=aarch64-unknown-linux-gnu ;;
    armhf) triple=armv7-unknown-linux-gnueabihf ;;
    armv6) triple=arm-unknown-linux-musleabihf ;;
    armv6-gnu) triple=arm-unknown-linux-gnueabihf ;;
    *) usage ;;
esac
architecture=$1 auditable=
case ${2:-} in
    "") ;;
    --auditable) auditable=auditable ;;
    *) usage ;;
esac

mkdir -p "${CARGO_TARGET_DIR:=target/build}"
CARGO_TARGET_DIR=$(cd "$CARGO_TARGET_DIR" && pwd)
export CARGO_TARGET_DIR
[ -z "$auditable" ] || install_auditable >&2
if [ "$architecture" = amd64 ]; then
    [ "$(uname -m)" = x86_64 ] || fail "amd64 is built on x86-64 only"
    cross=
else
    sh deploy/cross.sh "$architecture" setup >&2
    cross="sh deploy/cross.sh $architecture"
    RUSTC=${PI_BENCH_DIR:-$HOME/.cache/pi-bench}/cross/$architecture/rustc
    export RUSTC
fi
export_options
# The demo, with the broker in it, is for a clone: about 1.5 MB of program that no gateway runs.
# shellcheck disable=SC2086 # words: nothing, or a command and its argument
$cross cargo $auditable build --release --locked --no-default-features --target "$triple" >&2
printf '%s\n' "$CARGO_TARGET_DIR/$triple/release/fieldgate"
