#!/bin/sh
# Builds Rust for the Raspberry Pis on Debian 12 (x86-64); the machine's own cargo drives it.
#
#   sh deploy/cross.sh ARCH setup                 fetches and unpacks the compiler; no root
#   sh deploy/cross.sh ARCH cargo build --release runs the command with all that it needs for that architecture
#   sh deploy/cross.sh ARCH run PROGRAM …         runs what was built, emulated
#   sh deploy/cross.sh ARCH versions              prints which compilers these are
#
# ARCH: arm64      64-bit Raspberry Pi OS
#       armhf      32-bit Raspberry Pi OS on a Pi 2 and later (ARMv7)
#       armv6      Pi 1 and Zero, and every other 32-bit Raspberry Pi OS: one static program (musl)
#       armv6-gnu  the same boards with the system's own C library (glibc 2.31 or later)
#
# The compiler is Debian's rustc-web with the standard library of each architecture, unpacked below PI_BENCH_DIR: a toolchain
# of rustup cannot use Debian's library of another version, and there may be no way to fetch one of its own. Where Debian has
# none it is built from Debian's rust-web-src, which takes a minute or two. Packages come from the mirror that this machine's
# apt uses. C is compiled and all is linked by Debian's gcc, or for ARMv6, which Debian's gcc and glibc do not know, by zig
# from PyPI.
set -eu
unset CDPATH
folder=${PI_BENCH_DIR:-$HOME/.cache/pi-bench}/cross
ZIG_VERSION=0.17.1
ZIG_SHA256=ea6cc5d87b033cf0aedfbc8f9549a908cae6c50ac31f1698188fa48a74524b54
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

say() { printf '%s\n' "$*"; }

fail() {
    say "cross.sh: $*" >&2
    exit 1
}

usage() {
    sed -n '2,12s/^# \{0,1\}//p' "$0" >&2
    exit 2
}

# What is known about each: the name that Rust has for it, Debian's, the C compiler, how to emulate it.
architecture() {
    name=$1 root=$folder/$1 debian='' gcc='' zig='' flags='' cflags=''
    case $name in
        arm64) triple=aarch64-unknown-linux-gnu debian=arm64 gcc=aarch64-linux-gnu emulator=qemu-aarch64-static processor=max ;;
        # Without these SQLite asks for the times of its files in 32 bits, and no file newer than January 2038 can be opened.
        armhf) triple=armv7-unknown-linux-gnueabihf debian=armhf gcc=arm-linux-gnueabihf emulator=qemu-arm-static processor=cortex-a7
            cflags='-D_FILE_OFFSET_BITS=64 -D_TIME_BITS=64' ;;
        # zig brings musl's start files itself.
        armv6) triple=arm-unknown-linux-musleabihf zig=arm-linux-musleabihf flags=-Clink-self-contained=no
            emulator=qemu-arm-static processor=arm1176 ;;
        # Debian's glibc, which the emulator takes here, is ARMv7; so its processor must be one too.
        armv6-gnu) triple=arm-unknown-linux-gnueabihf zig=arm-linux-gnueabihf.2.31
            emulator=qemu-arm-static processor=cortex-a7 ;;
        *) usage ;;
    esac
    cc=$gcc-gcc ar=$gcc-ar
    if [ -n "$zig" ]; then
        cc=$root/cc ar=$root/ar flags="-Ctarget-cpu=arm1176jzf-s${flags:+ $flags}"
    fi
    case $name in
        arm64) libraries=/usr/aarch64-linux-gnu ;;
        *) libraries=/usr/arm-linux-gnueabihf ;;
    esac
}

environment() {
    lower=$(say "$triple" | tr - _)
    upper=$(say "$lower" | tr '[:lower:]' '[:upper:]')
    export RUSTC="$root/rustc" CARGO_BUILD_TARGET="$triple"
    export "CARGO_TARGET_${upper}_LINKER=$cc" "CC_$lower=$cc" "AR_$lower=$ar"
    export "CARGO_TARGET_${upper}_RUNNER=$emulator -cpu $processor -L $libraries"
    if [ -n "$flags" ]; then
        export "CARGO_TARGET_${upper}_RUSTFLAGS=$flags"
        # Either of these would hide the line above.
        [ -z "${RUSTFLAGS:-}" ] || export RUSTFLAGS="$RUSTFLAGS $flags"
        [ -z "${CARGO_ENCODED_RUSTFLAGS:-}" ] ||
            CARGO_ENCODED_RUSTFLAGS="$CARGO_ENCODED_RUSTFLAGS$(printf ' %s' "$flags" | tr ' ' '\037')"
    fi
    if [ -n "$cflags" ]; then
        eval "before=\${CFLAGS_$lower:-}"
        export "CFLAGS_$lower=${before:+$before }$cflags"
    fi
    unset RUSTUP_TOOLCHAIN RUSTC_WRAPPER
}

# The first source of this machine's apt with that label.
mirror() {
    # shellcheck disable=SC2016 # apt's own words
    apt-get indextargets --format '$(REPO_URI) $(LABEL) $(CODENAME)' 'Created-By: Packages' |
        awk -v label="$1" '$2 == label && $3 ~ /^bookworm/ { print $1; exit }'
}

sources() {
    say "deb [signed-by=$keyring arch=$1] $security bookworm-security main"
    say "deb [signed-by=$keyring arch=$1] $main bookworm main"
}

# A view of apt's own with the other architecture. The newer Rust is in bookworm-security. A mirror may not have the other
# architecture; then its standard library is built here.
package_lists() {
    main=$(mirror Debian)
    security=$(mirror Debian-Security)
    [ -n "$main" ] || fail "apt knows no Debian 12 mirror; run apt-get update first"
    [ -n "$security" ] || fail "apt knows no mirror of Debian 12's security updates"
    mkdir -p "$folder/apt/lists/partial" "$folder/apt/cache/archives/partial"
    cat >"$folder/apt/apt.conf" <<TEXT
Dir::Etc::sourcelist "$folder/apt/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::State::lists "$folder/apt/lists";
Dir::Cache "$folder/apt/cache";
APT::Architectures { "amd64"; ${debian:+\"$debian\";} };
APT::Sandbox::User "root";
TEXT
    export APT_CONFIG="$folder/apt/apt.conf"
    for architectures in ${debian:+amd64,$debian} amd64; do
        sources "$architectures" >"$folder/apt/sources.list"
        apt-get -q update >"$folder/apt/update.log" 2>&1 && return
    done
    cat "$folder/apt/update.log" >&2
    fail "apt-get update"
}

versions() { apt-cache madison "$1" | awk '{ print $3 }' | sort -V; }

# What this version of the package depends on, as far as it matches.
depends() { apt-cache show "$1=$version" | sed -n 's/^Depends: //p' | grep -oE "$2" | head -n 1; }

tools_are_there() {
    for tool in ${gcc:+"$cc"} ${zig:+python3}; do
        command -v "$tool" >/dev/null || fail "$tool is missing. Try:
    apt-get install ${gcc:+gcc-$gcc libc6-dev-$debian-cross} ${zig:+python3-pip}"
    done
}

setup() {
    tools_are_there
    mkdir -p "$folder"
    exec 9>"$folder/lock"
    flock 9 # several at once would share apt's folder
    package_lists
    version=$(versions libstd-rust-web-dev:amd64 | tail -n 1)
    [ -n "$version" ] || fail "Debian has no libstd-rust-web-dev"
    # A library that was built before it had 64 bits of time, or with waits that did not last, is built again.
    wanted=$version
    [ "$name" != armv6 ] || wanted="$version, 64-bit time, waits that last"
    [ "$(cat "$root/version" 2>/dev/null)" = "$wanted" ] || compiler
    say "Debian's rustc-web $version for $name"
}

compiler() {
    abi=$(depends libstd-rust-web-dev:amd64 'libstd-rust-web-[0-9.]+')
    llvm=$(depends "$abi:amd64" 'libllvm[0-9]+')
    library=rust-web-src
    if [ -n "$debian" ] && versions "libstd-rust-web-dev:$debian" | grep -qxF "$version"; then
        library=libstd-rust-web-dev:$debian
    fi
    rm -rf "$root"
    mkdir -p "$root/packages"
    (cd "$root/packages" && apt-get -q download "rustc-web:amd64=$version" "libstd-rust-web-dev:amd64=$version" \
        "$abi:amd64=$version" "$library=$version" "$llvm:amd64" >/dev/null)
    for package in "$root"/packages/*.deb; do
        dpkg -x "$package" "$root"
    done
    cat >"$root/rustc" <<TEXT
#!/bin/sh
R='$root/usr'
LD_LIBRARY_PATH=\$R/lib/x86_64-linux-gnu exec "\$R/bin/rustc" --sysroot "\$R" "\$@"
TEXT
    chmod +x "$root/rustc"
    [ -z "$zig" ] || zig_compiler
    [ "$library" != rust-web-src ] || standard_library
    (cd "$root" && rm -rf packages usr/src usr/share usr/lib/rustlib/src)
    say "$wanted" >"$root/version"
}

# The target is zig's to name, so what the crate `cc` says about it is dropped.
zig_compiler() {
    program=$folder/zig-$ZIG_VERSION/ziglang/zig
    if [ ! -x "$program" ]; then
        say "ziglang==$ZIG_VERSION --hash=sha256:$ZIG_SHA256" >"$folder/zig-requirements.txt"
        python3 -m pip install --quiet --no-deps --only-binary :all: --require-hashes --target "$folder/zig-$ZIG_VERSION" \
            --requirement "$folder/zig-requirements.txt"
    fi
    cat >"$root/cc" <<TEXT
#!/bin/sh
for argument; do
    shift
    case \$argument in
        --target=* | -march=* | -mfpu=* | -mfloat-abi=* | -marm) ;;
        *) set -- "\$@" "\$argument" ;;
    esac
done
export ZIG_GLOBAL_CACHE_DIR='$folder/zig-$ZIG_VERSION/cache'
exec '$program' cc -target $zig -mcpu=arm1176jzf_s "\$@"
TEXT
    printf "#!/bin/sh\nexec '%s' ar \"\$@\"\n" "$program" >"$root/ar"
    chmod +x "$root/cc" "$root/ar"
}

# The library hands its timespec to the kernel's futex as it is. With 64 bits of time in it, a kernel of 32 bits reads the upper
# half of the seconds as nanoseconds: each wait ends up to a second early, and who waits for a time spins until it has come. Two
# words of 32 bits are what that call takes; the clock since the start of the machine fits for 68 years.
waits_that_last() {
    futex=std/src/sys/pal/unix/futex.rs
    sed -i -e 's/\.and_then(|t| t\.to_timespec());/.and_then(|t| t.to_timespec()).map(|t| [t.tv_sec as libc::c_long, t.tv_nsec as libc::c_long]);/' \
        -e 's/|t| t as \*const libc::timespec)/|t| t.as_ptr())/' "$futex"
    { grep -q 't.tv_sec as libc::c_long' "$futex" && grep -q '|t| t.as_ptr())' "$futex"; } ||
        fail "the standard library of $version waits in another way than this script mends"
}

# As Rust's own bootstrap does it: a plain build of the crate `sysroot`. Its paths are written as Debian's own build writes them,
# so that they do not depend on where this folder is.
standard_library() {
    (
        cd "$root"/usr/src/rustc-*/library
        sources=${PWD%/library}
        environment
        RUSTFLAGS="-Zforce-unstable-if-unmarked -Cembed-bitcode=yes --remap-path-prefix=$sources=/usr/src/${sources##*/}"
        RUSTFLAGS="$RUSTFLAGS --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo $flags"
        export RUSTFLAGS RUSTC_BOOTSTRAP=1 __CARGO_DEFAULT_LIB_METADATA=fieldgate
        unset CARGO_ENCODED_RUSTFLAGS
        # Without it the library knows musl's old time of 32 bits, and every look at the clock is a panic when 2038 comes. For the
        # library only: not every crate compiles with it, and those that ask for the date ask the library.
        if [ "$name" = armv6 ]; then
            export RUST_LIBC_UNSTABLE_MUSL_V1_2_3=1
            waits_that_last
        fi
        cargo build --quiet --release --locked --manifest-path sysroot/Cargo.toml --features backtrace \
            --target-dir "$root/packages/built"
        mkdir -p "$root/usr/lib/rustlib/$triple/lib"
        cp "$root/packages/built/$triple"/release/deps/*.rlib "$root/usr/lib/rustlib/$triple/lib/"
    )
}

# What decides about the bytes of a program.
tell_versions() {
    if [ -n "$zig" ]; then
        say "Debian's rustc-web $(cat "$root/version"); zig $ZIG_VERSION"
    else
        say "Debian's rustc-web $(cat "$root/version"); $("$cc" --version | head -n 1); $("${gcc}-ld" --version | head -n 1)"
    fi
}

[ $# -ge 2 ] || usage
architecture "$1"
shift
case $1 in
    setup) setup ;;
    versions) tell_versions ;;
    run)
        shift
        exec "$emulator" -cpu "$processor" -L "$libraries" "$@"
        ;;
    *)
        [ -x "$root/rustc" ] || fail "run first: sh deploy/cross.sh $name setup"
        environment
        export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target/pi}"
        exec "$@"
        ;;
esac
