#!/bin/sh
# Whether the fault suite can fail: it is run against a program that was broken on purpose, in one way after the other.
#
#   sh tests/faults/broken.sh [NAME…]      all of tests/faults/broken/*.patch, or those
#   sh tests/faults/broken.sh --build      only builds the program, which may be done beside anything else; the next run uses it if
#                                          its sources are still the same
#
# Each patch begins with a sentence that says what it breaks and names the rows that must notice. All are applied to one copy of
# the sources, without any fuzz, so that one program is built, and not one for each. Each place that a patch changes is as it was
# unless `fieldgate_model::broken("its name")`, which only this copy has: it is so in a process with that name in FIELDGATE_BROKEN.
# A patch that does not apply or does not ask, a row that does not exist and a row that still passes each fail this script.
set -eu
cd "$(dirname "$0")/../.."

target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target"
target=$(cd "$target" && pwd)
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
    # Its tests stay behind.
    sed -i '/^\[\[test\]\]$/,/^$/d' "$tree/Cargo.toml"
    cat >>"$tree/Cargo.toml" <<'TEXT'

[lib]
name = "fieldgate"
TEXT
    mkdir "$tree/examples"
    printf "//! Nothing.\nfn main() {}\n" >"$tree/examples/as_for_tests.rs"
    cat >>"$tree/crates/model/src/lib.rs" <<'TEXT'

/// Whether this process is the one that is broken in this way.
pub fn broken(way: &str) -> bool {
    static ASKED: std::sync::LazyLock<Option<String>> = std::sync::LazyLock::new(|| std::env::var("FIELDGATE_BROKEN").ok());
    ASKED.as_deref() == Some(way)
}
TEXT
}

# Each place that a patch changes must ask for its name, or it would be so for all of them.
apply_patch() {
    asks="fieldgate_model::broken(\"$(basename "$1" .patch)\")"
    awk -v asks="$asks" '
        /^@@/ { if (places++ && !asked) exit 1; asked = 0 }
        /^\+/ && index($0, asks) { asked = 1 }
        END { if (!asked) exit 1 }
    ' "$1" || fail "$1 changes something without asking $asks"
    patch -d "$tree" -p1 --fuzz=0 --silent <"$1" || fail "$1 does not apply to these sources: bring it up to date"
}

# Where the program belongs that is built from these sources, with these patches, by this compiler.
place_of_program() {
    digest=$({
        rustc --version
        find src crates config Cargo.toml Cargo.lock tests/faults/broken tests/faults/broken.sh -type f | LC_ALL=C sort | xargs sha256sum
    } | sha256sum)
    printf '%s' "$programs/${digest%% *}"
}

# Puts the broken program into its place, unless it is there.
build() {
    [ ! -x "$program" ] || return 0
    copy_sources
    for each in tests/faults/broken/*.patch; do apply_patch "$each"; done
    # Cargo knows a crate by its path within the workspace: under the same one, these would take the place of the true ones.
    mv "$tree/crates" "$tree/broken-crates"
    sed -i 's,"crates/,"broken-crates/,' "$tree/Cargo.toml"
    CARGO_TARGET_DIR=$target cargo build --offline --quiet --manifest-path "$tree/Cargo.toml" --bin fieldgate-broken \
        --example as_for_tests || fail "with all patches the sources do not compile"
    mkdir -p "$programs"
    cp "$target/debug/fieldgate-broken" "$program.part"
    mv "$program.part" "$program"
}

# Expects that the tests with this name fail, at least one.
must_notice() {
    filter=$1
    code=0
    FIELDGATE_PROGRAM=$program FIELDGATE_BROKEN=$name timeout "$LIMIT" \
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
    name=$(basename "$patch" .patch)
    words=$(head -n 1 "$patch")
    rows=$(sed -n 's/^Noticed by: //p' "$patch")
    [ -n "$rows" ] || fail "$patch names no row"
    printf '%s: %s\n' "$name" "$words"
    for row in $rows; do
        must_notice "$row"
    done
}

began=$(date +%s)
cargo test --locked --quiet --test faults --no-run
program=$(place_of_program)
build
rm -rf "$tree"
if [ "${1:-}" = --build ]; then
    printf 'the broken program is built, in %s s\n' "$(($(date +%s) - began))"
    exit
fi
if [ $# -gt 0 ]; then
    for name in "$@"; do set -- "$@" "tests/faults/broken/$name.patch"; shift; done
else
    set -- tests/faults/broken/*.patch
fi
for patch in "$@"; do try_patch; done
rm -rf "$programs"
printf 'the broken program was noticed in every way, in %s s\n' "$(($(date +%s) - began))"
