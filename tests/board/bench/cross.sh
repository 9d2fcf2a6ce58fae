#!/bin/bash
# Builds Rust for a 64-bit Raspberry Pi OS on Debian 12, with Debian's compiler; the machine's own cargo drives it.
#
#   cross.sh setup                   fetches and unpacks the compiler; no root
#   cross.sh cargo build --release   runs the command with all that it needs for the other architecture
#
# The compiler is Debian's rustc-web with the libstd of arm64, unpacked below PI_BENCH_DIR: a toolchain of rustup cannot use
# Debian's libstd of another version, and there may be no way to fetch one of its own. Packages come from the mirror that this
# machine's apt uses. The C compiler and linker is Debian's gcc-aarch64-linux-gnu.
set -euo pipefail
folder=${PI_BENCH_DIR:-$HOME/.cache/pi-bench}/cross
target=aarch64-unknown-linux-gnu

fail() {
    echo "cross.sh: $*" >&2
    exit 1
}

# The first source of this machine's apt with that label.
mirror() {
    # shellcheck disable=SC2016 # apt's own words
    apt-get indextargets --format '$(REPO_URI) $(LABEL) $(CODENAME)' 'Created-By: Packages' |
        awk -v label="$1" '$2 == label && $3 ~ /^bookworm/ { print $1; exit }'
}

# A view of apt's own with arm64. The newer Rust is in bookworm-security.
package_lists() {
    mkdir -p "$folder"/apt/{lists,cache/archives}/partial
    local main security signed="[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg arch=amd64,arm64]"
    main=$(mirror Debian)
    security=$(mirror Debian-Security)
    [ -n "$main" ] || fail "apt knows no Debian 12 mirror; run apt-get update first"
    [ -n "$security" ] || fail "apt knows no mirror of Debian 12's security updates"
    echo "deb $signed $security bookworm-security main" >"$folder/apt/sources.list"
    echo "deb $signed $main bookworm main" >>"$folder/apt/sources.list"
    options=(
        -q -o "Dir::Etc::sourcelist=$folder/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
        -o "Dir::State::lists=$folder/apt/lists" -o "Dir::Cache=$folder/apt/cache"
        -o APT::Architectures::=arm64 -o APT::Sandbox::User=root
    )
    apt-get "${options[@]}" update >"$folder/apt/update.log" 2>&1 || { cat "$folder/apt/update.log" >&2; fail "apt-get update"; }
}

# What this version of the package depends on, as far as it matches.
depends() { apt-cache "${options[@]}" show "$1=$version" | sed -n 's/^Depends: //p' | grep -oE "$2" | head -1; }

setup() {
    package_lists
    local version abi llvm package root=$folder/arm64
    version=$(apt-cache "${options[@]}" madison libstd-rust-web-dev:arm64 | awk '{ print $3 }' | sort -V | tail -1)
    [ -n "$version" ] || fail "Debian has no libstd-rust-web-dev for arm64"
    if [ "$(cat "$root/version" 2>/dev/null)" != "$version" ]; then
        abi=$(depends libstd-rust-web-dev:amd64 'libstd-rust-web-[0-9.]+')
        llvm=$(depends "$abi:amd64" 'libllvm[0-9]+')
        rm -rf "$root"
        mkdir -p "$root/packages"
        (cd "$root/packages" && apt-get "${options[@]}" download "rustc-web:amd64=$version" \
            "libstd-rust-web-dev:amd64=$version" "$abi:amd64=$version" "libstd-rust-web-dev:arm64=$version" "$llvm:amd64" \
            >/dev/null)
        for package in "$root"/packages/*.deb; do
            dpkg -x "$package" "$root"
        done
        # shellcheck disable=SC2016 # for the script that is written
        printf '#!/bin/sh\nR=%s/usr\nLD_LIBRARY_PATH=$R/lib/x86_64-linux-gnu exec $R/bin/rustc --sysroot "$R" "$@"\n' "$root" \
            >"$root/rustc"
        chmod +x "$root/rustc"
        rm -rf "$root/packages"
        echo "$version" >"$root/version"
    fi
    echo "Debian's rustc-web $version for arm64"
}

with_compiler() {
    export RUSTC=$folder/arm64/rustc CARGO_BUILD_TARGET=$target CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target/pi}
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
    export CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc AR_aarch64_unknown_linux_gnu=aarch64-linux-gnu-ar
    unset RUSTUP_TOOLCHAIN RUSTC_WRAPPER
    [ -x "$RUSTC" ] || fail "run first: $0 setup"
    exec "$@"
}

case ${1:-} in
    setup) setup ;;
    "") sed -n '2,6s/^# \?//p' "$0" >&2; exit 2 ;;
    *) with_compiler "$@" ;;
esac
