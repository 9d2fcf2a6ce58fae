#!/bin/sh
# Makes the Debian package. See `sh deploy/build-deb.sh --help`.
set -eu

usage() {
    cat <<'TEXT'
usage: sh deploy/build-deb.sh ARCH [--program FILE] [--quick]

Makes target/deb/fieldgate_VERSION-1_ARCH.deb and prints its path as the last line. ARCH is one of

  amd64      PCs
  arm64      64-bit Raspberry Pi OS and other boards
  armhf      32-bit Debian, and 32-bit Raspberry Pi OS on a Pi 2 or later (ARMv7)
  armv6      32-bit Raspberry Pi OS on a Pi Zero, Zero W or 1 too: one static program
  armv6-gnu  the same boards, with the C library of the system

  --program FILE   packs this release program; otherwise deploy/build.sh builds it
  --quick          compresses little: for a try

Needs Debian's dpkg, binutils and python3, and cargo-deb, which is installed by cargo when it is missing. No root.
TEXT
}

DEB_VERSION=3.8.0
# What Debian 12 and Raspberry Pi OS of the same age have; `depends` in Cargo.toml says the same.
GLIBC=2.36

cd "$(dirname "$0")/.."
PATH="$PATH:${CARGO_HOME:-${HOME:-/root}/.cargo}/bin"
export PATH

fail() {
    echo "build-deb.sh: $*" >&2
    exit 1
}

arch=
program=
quick=
while [ $# -gt 0 ]; do
    case $1 in
        --help | -h) usage; exit 0 ;;
        --program) [ $# -ge 2 ] || { usage >&2; exit 2; }; program=$2; shift ;;
        --quick) quick=--fast ;;
        -*) usage >&2; exit 2 ;;
        *) [ -z "$arch" ] || { usage >&2; exit 2; }; arch=$1 ;;
    esac
    shift
done

# The control field Architecture is armhf for ARMv6 too: 32-bit Raspberry Pi OS calls itself so.
variant=
case $arch in
    amd64) triple=x86_64-unknown-linux-gnu machine="X86-64" ;;
    arm64) triple=aarch64-unknown-linux-gnu machine=AArch64 ;;
    armhf) triple=armv7-unknown-linux-gnueabihf machine=ARM ;;
    armv6) triple=arm-unknown-linux-musleabihf machine=ARM variant="--variant static" ;;
    armv6-gnu) triple=arm-unknown-linux-gnueabihf machine=ARM ;;
    *) usage >&2; exit 2 ;;
esac

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
package=target/deb/fieldgate_$version-1_$arch.deb

install_cargo_deb() {
    [ "$(cargo deb --version 2>/dev/null)" != "cargo-deb $DEB_VERSION" ] || return 0
    echo "Installing cargo-deb $DEB_VERSION; it takes a minute, once." >&2
    # Unoptimised: it compiles in a third of the time. Without liblzma of its own: the system's xz compresses.
    CARGO_PROFILE_DEV_DEBUG=0 cargo install cargo-deb --version "$DEB_VERSION" --locked --debug --no-default-features \
        --quiet >&2
}

# A package with another machine's program would install and then not run.
holds_the_program() {
    [ -f "$program" ] || fail "there is no program $program"
    readelf -h "$program" | grep -q "Machine:.*$machine" || fail "$program is not for $arch"
    case $arch in
        armv6*) ! readelf -A "$program" | grep -q 'Tag_CPU_arch: v[78]' || fail "$program is for ARMv7" ;;
    esac
    [ -n "$variant" ] || return 0
    ! readelf -l "$program" | grep -q INTERP || fail "$program is not static, as $arch is"
}

# What the package depends on must have every version of glibc's symbols that the program asks for.
holds_glibc() {
    wanted=$(readelf --version-info --wide "$program" | grep -o 'GLIBC_[0-9.]*' | sed 's/GLIBC_//' | sort -uV | tail -1)
    newest=$(printf '%s\n' "$GLIBC" "${wanted:-0}" | sort -V | tail -1)
    [ "$newest" = "$GLIBC" ] || fail "$program needs glibc $wanted, and Debian 12 has $GLIBC; build it there"
}

if [ -z "$program" ]; then
    program=$(sh deploy/build.sh "$arch" | tail -1)
fi
holds_the_program
holds_glibc
install_cargo_deb

SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y Cargo.toml)}
# Files that this script writes must have the same mode for every caller.
umask 022
unset XZ_DEFAULTS XZ_OPT
export SOURCE_DATE_EPOCH

# Where cargo-deb looks for the release program of that target; and what `[package.metadata.deb]` names below target/deb/common.
stage=target/deb/$arch
common=target/deb/common
mkdir -p "$stage/$triple/release" "$common/scripts"
cp "$program" "$stage/$triple/release/fieldgate"

# The newest schema of the spool that this program reads: a downgrade is refused below a newer one.
schema=$(sed -n 's/^pub(super) const SCHEMA_VERSION: i64 = \([0-9]*\);$/\1/p' crates/spool/src/file.rs)
[ -n "$schema" ] || fail "crates/spool/src/file.rs does not say SCHEMA_VERSION"
for script in preinst postinst prerm postrm; do
    sed "s/@SCHEMA@/$schema/g; s/@VERSION@/$version-1/g" "deploy/debian/$script" >"$common/scripts/$script"
done

cat >"$common/changelog" <<TEXT
fieldgate ($version-1) unstable; urgency=medium

  * Version $version. What it brings is in /usr/share/doc/fieldgate/changelog.gz.

 -- $(sed -n 's/^maintainer = "\(.*\)"/\1/p' Cargo.toml)  $(LC_ALL=C date -u -R -d "@$SOURCE_DATE_EPOCH")
TEXT

# Of everything that is compiled in; the copyright file has the licences only, this the authors too.
python3 deploy/parts.py licences >"$common/licences.txt"

# shellcheck disable=SC2086 # no word, one or two
CARGO_TARGET_DIR=$stage cargo deb --quiet --no-build --no-strip --locked --offline --target "$triple" $variant \
    --compress-system $quick --output "$package" >/dev/null
echo "$package"
