#!/bin/sh
# Whether the fault suite can fail: it is run against programs that were broken on purpose.
#
#   sh tests/faults/broken.sh [NAME…]      all of tests/faults/broken/*.patch, or those
#   sh tests/faults/broken.sh --build      only builds the programs, which may be done beside anything else; the next run uses
#                                          those whose sources are still the same
#
# Each patch begins with a sentence that says what it breaks and names the rows that must notice. It is applied to a copy of
# the sources, without any fuzz; the program is built from that copy and put under test. A patch that does not apply, a
# row that does not exist and a row that still passes each fail this script.
set -eu
cd "$(dirname "$0")/../.."

target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target"
target=$(cd "$target" && pwd)
# Always the same place, so that only what changed is compiled.
tree=$target/broken
programs=$target/broken-programs
# Long enough for the slowest row; one that waits for ever for a reading is stopped here.
LIMIT=120
# The same lives each time: by chance, all that are in front of a silent broker may be too short to offer anything.
FIELDGATE_SEED=${FIELDGATE_SEED:-11} PROPTEST_RNG_SEED=${PROPTEST_RNG_SEED:-11}
export FIELDGATE_SEED PROPTEST_RNG_SEED

fail() {
    printf '%s\n' "$*" >&2
    exit 1
}

# The package has another name there, so that its program lies beside the true one and shares the compiled dependencies. They are
# shared with the tests, whose dependencies ask for more of some crates, only if something is built that counts as a test.
copy_sources() {
    rm -rf "$tree"
    mkdir -p "$tree"
    cp -R src crates config benches "$tree/"
    for file in Cargo.toml Cargo.lock; do
        sed '0,/^name = "fieldgate"$/s//name = "fieldgate-broken"/' "$file" >"$tree/$file"
    done
    cat >>"$tree/Cargo.toml" <<'TEXT'

[lib]
name = "fieldgate"
TEXT
    mkdir "$tree/examples"
    printf "//! Nothing.\nfn main() {}\n" >"$tree/examples/as_for_tests.rs"
}

# Where the program belongs that is built from these sources, with this patch, by this compiler.
place_of() {
    digest=$({ rustc --version; find src crates config Cargo.toml Cargo.lock "$1" -type f | LC_ALL=C sort | xargs sha256sum; } | sha256sum)
    printf '%s' "$programs/$(basename "$1" .patch)-${digest%% *}"
}

build() {
    CARGO_TARGET_DIR=$target cargo build --offline --quiet --manifest-path "$tree/Cargo.toml" --bin fieldgate-broken \
        --example as_for_tests
}

# Puts the broken program into its place, unless it is there.
build_patch() {
    [ ! -x "$program" ] || return 0
    copy_sources
    patch -d "$tree" -p1 --fuzz=0 --silent <"$patch" || fail "$patch does not apply to these sources: bring it up to date"
    build || fail "$patch does not compile"
    mkdir -p "$programs"
    cp "$target/debug/fieldgate-broken" "$program.part"
    mv "$program.part" "$program"
}

# Expects that the tests with this name fail, at least one.
must_notice() {
    filter=$1
    code=0
    FIELDGATE_PROGRAM=$program timeout "$LIMIT" \
        cargo test --locked --quiet --test faults -- "$filter" >"$programs/log" 2>&1 || code=$?
    if [ "$code" -eq 0 ]; then
        tail -n 20 "$programs/log" >&2
        fail "$name: $filter did not notice, or there is no such row: $words"
    fi
    # Noticed is what a test says, or what it did not come to say in time; anything else is a failure of this script.
    if [ "$code" -ne 124 ] && ! grep -q 'test result: FAILED' "$programs/log"; then
        tail -n 20 "$programs/log" >&2
        fail "$name: $filter could not be run"
    fi
    printf '    noticed by %s\n' "$filter"
}

try_patch() {
    patch=$1
    name=$(basename "$patch" .patch)
    words=$(head -n 1 "$patch")
    rows=$(sed -n 's/^Noticed by: //p' "$patch")
    [ -n "$rows" ] || fail "$patch names no row"
    program=$(place_of "$patch")
    build_patch
    [ -z "$only_build" ] || return 0
    printf '%s: %s\n' "$name" "$words"
    for row in $rows; do
        must_notice "$row"
    done
}

began=$(date +%s)
only_build=
if [ "${1:-}" = --build ]; then
    only_build=yes
    shift
fi
cargo test --locked --quiet --test faults --no-run
if [ $# -gt 0 ]; then
    for one in "$@"; do try_patch "tests/faults/broken/$one.patch"; done
else
    for one in tests/faults/broken/*.patch; do try_patch "$one"; done
fi
rm -rf "$tree"
if [ -n "$only_build" ]; then
    printf 'every broken program is built, in %s s\n' "$(($(date +%s) - began))"
    exit
fi
rm -rf "$programs"
printf 'every broken program was noticed, in %s s\n' "$(($(date +%s) - began))"
