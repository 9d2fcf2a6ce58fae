#!/bin/sh
# Makes a release from a tag: programs, packages, bills of materials, licences and checksums. See `sh deploy/release.sh --help`.
set -eu
unset CDPATH

usage() {
    cat <<'TEXT'
usage: sh deploy/release.sh vX.Y.Z [--sign KEY] [--only ARCH…]

Checks the tag out into a clean folder, builds there, and puts into target/release-vX.Y.Z/

  fieldgate-X.Y.Z-ARCH            the program, with the list of its dependencies inside (cargo auditable)
  fieldgate_X.Y.Z-1_ARCH.deb      the package
  fieldgate-X.Y.Z-ARCH.cdx.json   bill of materials (CycloneDX 1.5), verified against Cargo.lock and the program
  fieldgate-X.Y.Z.tar.gz          the sources
  LICENCES.txt  toolchains.txt  SHA256SUMS

ARCH is amd64, arm64, armhf, armv6 and armv6-gnu, or those after --only, for a try. --sign makes SHA256SUMS.asc with that key
of gpg. The tag, Cargo.toml and CHANGELOG.md must agree, and nothing may be uncommitted. The same tag gives the same bytes
where toolchains.txt is the same. Before it is packed, each program is run, emulated where it must be, against a Mosquitto
(tests/emulated.sh). Needs Debian 12 on x86-64, Rust, mosquitto, mosquitto-clients, qemu-user-static, and what deploy/cross.sh says.
TEXT
}

CYCLONEDX_VERSION=0.5.9
cd "$(dirname "$0")/.."
root=$(pwd)
PATH="$PATH:${CARGO_HOME:-${HOME:-/root}/.cargo}/bin"
export PATH

say() { printf '%s\n' "$@"; }

fail() {
    say "release.sh: $*" >&2
    exit 1
}

tag='' key='' architectures="amd64 arm64 armhf armv6 armv6-gnu"
while [ $# -gt 0 ]; do
    case $1 in
        --help | -h) usage; exit 0 ;;
        --sign) [ $# -ge 2 ] || { usage >&2; exit 2; }; key=$2; shift ;;
        --only) [ $# -ge 2 ] || { usage >&2; exit 2; }; shift; architectures=$*; break ;;
        v[0-9]*) tag=$1 ;;
        *) usage >&2; exit 2 ;;
    esac
    shift
done
[ -n "$tag" ] || { usage >&2; exit 2; }
version=${tag#v}
work=$root/target/release-work-$tag
# Complete, or not there at all.
out=$work/release

tag_is_there() {
    [ -z "$(git status --porcelain)" ] || fail "there are changes that are not committed"
    git rev-parse --quiet --verify "refs/tags/$tag^{commit}" >/dev/null || fail "there is no tag $tag"
}

clean_checkout() {
    rm -rf "$work"
    mkdir -p "$out"
    git clone --quiet --no-checkout "$root" "$work/source"
    git -C "$work/source" -c advice.detachedHead=false checkout --quiet "refs/tags/$tag"
}

# In the folder of the tag, whatever is checked out outside.
tag_fits() {
    said=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
    [ "$said" = "$version" ] || fail "Cargo.toml of $tag says version $said"
    grep -qE "^## \[$(say "$version" | sed 's/\./\\./g')\] - [0-9]{4}-[0-9]{2}-[0-9]{2}$" CHANGELOG.md ||
        fail "CHANGELOG.md of $tag has no section [$version] with a date"
    cargo metadata --locked --format-version 1 >/dev/null || fail "Cargo.lock of $tag does not fit Cargo.toml"
}

# Unoptimised, for it runs seconds, and not among what is built here.
install_cyclonedx() {
    ! cargo install --list | grep -qxF "cargo-cyclonedx v$CYCLONEDX_VERSION:" || return 0
    env -u CARGO_TARGET_DIR CARGO_PROFILE_DEV_DEBUG=0 \
        cargo install cargo-cyclonedx --version "$CYCLONEDX_VERSION" --locked --debug --quiet --force
}

bill_of_materials() {
    cargo cyclonedx -qq --format json --spec-version 1.5 --no-build-deps --no-default-features --target "$1" --override-filename bill
    # The standard library in the program is that of the compiler which built it.
    [ "$arch" = amd64 ] || export RUSTC="${PI_BENCH_DIR:-$HOME/.cache/pi-bench}/cross/$arch/rustc"
    python3 deploy/parts.py sbom "$1" bill.json "$2" >"$out/fieldgate-$version-$arch.cdx.json"
    unset RUSTC
    rm bill.json
}

architecture() {
    arch=$1
    say "== $arch"
    begun=$(date +%s)
    sh deploy/build.sh "$arch" --auditable >"$work/program" || fail "$arch was not built"
    built=$(tail -n 1 "$work/program")
    program=$out/fieldgate-$version-$arch
    install -m 755 "$built" "$program"
    sh tests/emulated.sh "$arch" "$program" || fail "$arch does not work"
    sh deploy/build-deb.sh "$arch" --program "$program" >"$work/package" || fail "$arch was not packed"
    cp "$(tail -n 1 "$work/package")" "$out/"
    # The path ends in TRIPLE/release/fieldgate.
    triple=${built%/release/fieldgate}
    bill_of_materials "${triple##*/}" "$program"
    say "$arch: $(stat -c %s "$program") bytes, $(($(date +%s) - begun)) s"
}

toolchains() {
    for arch in $architectures; do
        if [ "$arch" = amd64 ]; then
            say "$arch: $(rustc --version); $(cc --version | head -n 1); $(ld --version | head -n 1)"
        else
            say "$arch: $(sh deploy/cross.sh "$arch" versions)"
        fi
    done
    cargo --version
    # `cargo auditable --version` prints that of cargo.
    cargo install --list | awk '/^cargo-(auditable|cyclonedx|deb) / { sub(":$", ""); print }'
}

vulnerabilities() {
    cargo deny --log-level error check bans licenses sources
    if timeout 120 cargo deny fetch db >"$work/fetch" 2>&1; then
        cargo deny check --disable-fetch advisories
    else
        say "LEFT OUT: known vulnerabilities of dependencies: the advisory database could not be fetched" >&2
    fi
}

checksums() {
    (cd "$out" && LC_ALL=C && export LC_ALL && sha256sum -- fieldgate* LICENCES.txt toolchains.txt >SHA256SUMS)
    [ -z "$key" ] || gpg --local-user "$key" --armor --detach-sign --output "$out/SHA256SUMS.asc" "$out/SHA256SUMS"
}

tag_is_there
clean_checkout
cd "$work/source"
umask 022
tag_fits
install_cyclonedx
vulnerabilities
CARGO_TARGET_DIR=$work/build
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export CARGO_TARGET_DIR SOURCE_DATE_EPOCH
for each in $architectures; do
    architecture "$each"
done
python3 deploy/parts.py licences >"$out/LICENCES.txt"
toolchains >"$out/toolchains.txt"
git archive --format=tar.gz --prefix="fieldgate-$version/" --output="$out/fieldgate-$version.tar.gz" HEAD
checksums
cd "$root"
rm -rf "target/release-$tag"
mv "$out" "target/release-$tag"
rm -rf "$work"
say "" "target/release-$tag:"
cat "target/release-$tag/SHA256SUMS"
