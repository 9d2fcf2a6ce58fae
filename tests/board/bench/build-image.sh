#!/bin/bash
# Builds the parts of the emulated Raspberry Pi from Debian's packages: kernel, device tree, initrd, the modules that Debian
# leaves out, and the image of an SD card.
#
#   build-image.sh FOLDER        as root; called by `pi-bench build`
#
# What is in FOLDER already and still fits is not made again. Packages come from the mirror that this machine's apt uses.
set -euo pipefail
out=$(realpath -m "${1:?a folder is needed}")
here=$(cd "$(dirname "$0")" && pwd)
size=1G # a power of two, as the emulated card wants it

# Userland of the guest.
packages=systemd,systemd-sysv,systemd-timesyncd,udev,dbus,kmod,iproute2,nftables,procps,i2c-tools,gpiod,ca-certificates
# What the first ten minutes in the project's README ask apt for: it is here already, for the board need not reach a mirror.
packages+=,apt,sudo,mosquitto,mosquitto-clients

# What the initrd needs to reach the card, and what the board has or may be given. A name that Debian's kernel does not have
# ends the build.
boot_modules=(sdhci-iproc bcm2835 ext4 phy-generic dwc2)
board_modules=(
    cdc_ether i2c-bcm2835 i2c-dev bcm2835_wdt bcm2835-rng bcm2835_thermal pwm-bcm2835 spi-bcm2835 softdog autofs4
    sch_netem nf_tables
    lm75 tmp421 jc42 sht3x sht4x bmp280-i2c ti-ads1015 bh1750 i2c-mux-pca954x
)

step() { printf '[%4ds] %s\n' "$SECONDS" "$*" >&2; }

fail() {
    echo "build-image.sh: $*" >&2
    exit 1
}

# The first source of this machine's apt with that label.
mirror() {
    # shellcheck disable=SC2016 # apt's own words
    apt-get indextargets --format '$(REPO_URI) $(LABEL) $(CODENAME)' 'Created-By: Packages' |
        awk -v label="$1" '$2 == label && $3 ~ /^bookworm/ { print $1; exit }'
}

# A view of apt's own with arm64 and backports, so that the machine's stays as it is.
package_lists() {
    step "package lists"
    main=$(mirror Debian)
    security=$(mirror Debian-Security)
    [ -n "$main" ] || fail "apt knows no Debian 12 mirror; run apt-get update first"
    mkdir -p "$out"/apt/{lists,cache/archives}/partial "$out/dl"
    local suite signed="[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg arch=amd64,arm64]"
    for suite in bookworm bookworm-updates bookworm-backports; do
        echo "deb $signed $main $suite main"
    done >"$out/apt/sources.list"
    [ -z "$security" ] || echo "deb $signed $security bookworm-security main" >>"$out/apt/sources.list"
    apt_options=(
        -q -o "Dir::Etc::sourcelist=$out/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
        -o "Dir::State::lists=$out/apt/lists" -o "Dir::Cache=$out/apt/cache"
        -o APT::Architectures::=arm64 -o APT::Sandbox::User=root
    )
    for _ in 1 2 3; do
        ! apt-get "${apt_options[@]}" update >"$out/apt/update.log" 2>&1 || return 0
        sleep 3
    done
    cat "$out/apt/update.log" >&2
    fail "apt-get update failed"
}

download() { (cd "$out/dl" && apt-get "${apt_options[@]}" download "$@" >/dev/null); }

# Debian's 6.12, the series that Raspberry Pi OS ships.
find_kernel() {
    local image
    image=$(apt-cache "${apt_options[@]}" depends linux-image-6.12-arm64:arm64 linux-image-arm64:arm64/bookworm-backports \
        2>/dev/null | sed -n 's/^ *Depends: *\(linux-image-6[^: ]*\).*/\1/p' | head -1)
    [ -n "$image" ] || fail "no kernel 6.12 for arm64 in bookworm or its backports"
    kernel_package=$image
    release=${image#linux-image-}
    release=${release%-unsigned}
    version=$(apt-cache "${apt_options[@]}" madison "$image:arm64" | awk 'NR == 1 { print $3 }')
}

kernel() {
    [ "$(cat "$out/kernel.version" 2>/dev/null)" != "$release $version" ] || return 0
    step "kernel $release"
    rm -rf "$out"/{kroot,hdr,bb} "$out"/dl/*.deb "$out/modules.version"
    local abi=${release%-arm64} file
    download "$kernel_package:arm64" "linux-headers-$release:arm64" "linux-headers-$abi-common" \
        "linux-kbuild-$abi:amd64" busybox-static:arm64
    mkdir -p "$out"/{kroot,hdr,bb}
    dpkg -x "$out"/dl/linux-image-*.deb "$out/kroot"
    dpkg -x "$out"/dl/busybox-static_*.deb "$out/bb"
    for file in "$out"/dl/linux-headers-*.deb "$out"/dl/linux-kbuild-*.deb; do
        dpkg -x "$file" "$out/hdr"
    done
    depmod -b "$out/kroot" "$release"
    echo "$release $version" >"$out/kernel.version"
}

# Drivers that Debian's arm64 kernel has switched off, from Debian's own kernel source, and our board-chips. They need only
# the headers.
modules() {
    local folder=$out/mod headers=$out/hdr/usr/src/linux-headers-$release wanted
    wanted="$release $version $(cat "$here"/modules/* | sha256sum)"
    [ "$(cat "$out/modules.version" 2>/dev/null)" != "$wanted" ] || return 0
    step "modules"
    rm -rf "$folder" "$out/kroot/lib/modules/$release/extra"
    mkdir "$folder"
    download "linux-source-6.12=$version"
    sed -n 's,^# from linux: ,*/,p' "$here/modules/Kbuild" >"$folder/wanted"
    dpkg-deb --fsys-tarfile "$out"/dl/linux-source-6.12_*.deb | tar -xO ./usr/src/linux-source-6.12.tar.xz |
        tar -xJ -C "$folder" --transform='s,.*/,,' --wildcards -T "$folder/wanted"
    rm -f "$out"/dl/linux-source*
    cp "$here"/modules/* "$folder/"
    cd "$folder"
    mv gpio-sim.c gpio-sim-main.c
    # irq_to_desc() is not exported to modules; irq_get_irq_data() is.
    sed -i -E 's/irq_to_desc\(([a-z_]+)\)/irq_data_to_desc(irq_get_irq_data(\1))/' irq_sim.c
    sed -i "s# /usr/src# $out/hdr/usr/src#" "$headers/Makefile"
    rm -f "$headers/vmlinux"
    make -C "$headers" M="$folder" modules >build.log 2>&1 || { tail -20 build.log >&2; fail "modules"; }
    aarch64-linux-gnu-strip -g ./*.ko
    cd - >/dev/null
    # Among the others, so that they are found with all that they need.
    install -D -m644 -t "$out/kroot/lib/modules/$release/extra" "$folder"/*.ko
    depmod -b "$out/kroot" "$release"
    echo "$wanted" >"$out/modules.version"
}

# The files of these modules and of what they need, in the order of loading.
module_files() {
    local module
    for module; do
        modprobe -d "$out/kroot" -S "$release" --show-depends "$module" 2>/dev/null ||
            fail "this kernel has no module called $module"
    done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }'
}

# Just enough to mount the card.
initrd() {
    step "initrd and device tree"
    local folder name file
    folder=$(mktemp -d)
    mkdir -p "$folder"/{bin,lib,proc,sys,dev,newroot}
    cp "$out/bb/bin/busybox" "$folder/bin/"
    for name in sh mount insmod sleep switch_root dmesg; do
        ln -s busybox "$folder/bin/$name"
    done
    module_files "${boot_modules[@]}" >"$folder/files"
    while read -r file; do
        name=$(basename "$file" .xz)
        xz -dc "$file" >"$folder/lib/$name"
        echo "$name" >>"$folder/lib/order"
    done <"$folder/files"
    install -m755 "$here/guest/init" "$folder/init"
    (cd "$folder" && find . | cpio -o -H newc --quiet | gzip -1) >"$out/initrd.gz"
    rm -rf "$folder"
    cp "$out"/kroot/boot/vmlinuz-* "$out/vmlinuz"
    cp "$out"/kroot/usr/lib/linux-image-*/broadcom/bcm2837-rpi-3-b.dtb "$out/3b.dtb"
    # As dtoverlay=disable-bt does: it frees the first serial port.
    fdtput -r "$out/3b.dtb" /soc/serial@7e201000/bluetooth
}

root_file_system() {
    [ "$(cat "$out/rootfs.version" 2>/dev/null)" != "$packages" ] || return 0
    step "root file system"
    # Lets this machine run the arm64 scripts of the packages.
    local formats=/proc/sys/fs/binfmt_misc
    [ -e $formats/register ] || mount -t binfmt_misc binfmt_misc $formats
    [ -e $formats/qemu-aarch64 ] || cat /usr/lib/binfmt.d/qemu-aarch64.conf >$formats/register
    mmdebstrap --quiet --mode=root --arch=arm64 --variant=minbase --skip=check/qemu \
        --aptopt='APT::Sandbox::User "root"' --dpkgopt=force-unsafe-io \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --include="$packages" bookworm "$out/rootfs.tar" "$main"
    echo "$packages" >"$out/rootfs.version"
}

# Who has set the board up, as Raspberry Pi OS makes this user: sudo without a password, the groups of logs and devices.
first_user() {
    local root=$1 group
    echo 'pi:x:1000:1000::/home/pi:/bin/bash' >>"$root/etc/passwd"
    echo 'pi:!:19000:0:99999:7:::' >>"$root/etc/shadow"
    echo 'pi:x:1000:' >>"$root/etc/group"
    echo 'pi:!::' >>"$root/etc/gshadow"
    for group in adm dialout sudo gpio i2c spi; do
        sed -i "/^$group:/{s/:$/:pi/;t;s/$/,pi/}" "$root/etc/group" "$root/etc/gshadow"
    done
    echo 'pi ALL=(ALL) NOPASSWD: ALL' >"$root/etc/sudoers.d/010_pi-nopasswd"
    chmod 440 "$root/etc/sudoers.d/010_pi-nopasswd"
    install -d -m700 -o 1000 -g 1000 "$root/home/pi"
}

# What a Raspberry Pi OS that was just set up has, and the bench's agent.
guest_files() {
    local root=$1 units=$1/etc/systemd/system group id=900 unit
    install -D -m755 "$here/guest/pi-bench-agent" "$root/usr/local/sbin/pi-bench-agent"
    install -D -m644 "$here/guest/pi-bench-agent.service" "$units/pi-bench-agent.service"
    install -D -m644 "$here/guest/80-pi-bench.network" "$root/etc/systemd/network/80-pi-bench.network"
    install -D -m644 "$here/guest/99-com.rules" "$root/etc/udev/rules.d/99-com.rules"
    mkdir -p "$units"/{sysinit,multi-user,network-online,sockets}.target.wants "$root/var/log/journal"
    ln -sf ../pi-bench-agent.service "$units/sysinit.target.wants/"
    ln -sf /lib/systemd/system/systemd-networkd.service "$units/multi-user.target.wants/"
    ln -sf /lib/systemd/system/systemd-networkd.socket "$units/sockets.target.wants/"
    ln -sf /lib/systemd/system/systemd-networkd-wait-online.service "$units/network-online.target.wants/"
    ln -sf /lib/systemd/system/multi-user.target "$units/default.target"
    # They cost an emulated board time and show nothing.
    for unit in modprobe@drm.service modprobe@efi_pstore.service modprobe@fuse.service sys-kernel-debug.mount \
        sys-kernel-tracing.mount dev-hugepages.mount getty@tty1.service apt-daily.timer apt-daily-upgrade.timer \
        e2scrub_all.timer e2scrub_reap.service fstrim.timer; do
        ln -sf /dev/null "$units/$unit"
    done
    for group in gpio i2c spi; do
        grep -q "^$group:" "$root/etc/group" || {
            echo "$group:x:$id:" >>"$root/etc/group"
            echo "$group:!::" >>"$root/etc/gshadow"
            id=$((id + 1))
        }
    done
    first_user "$root"
    install -D -m755 "$here/guest/raspi-config" "$root/usr/local/bin/raspi-config"
    # What is installed later comes with its documents.
    sed -i /path-exclude/d "$root"/etc/dpkg/dpkg.cfg.d/*
    echo raspberrypi >"$root/etc/hostname"
    echo '127.0.0.1 localhost raspberrypi' >"$root/etc/hosts"
    echo '/dev/mmcblk0 / ext4 defaults,noatime 0 1' >"$root/etc/fstab"
    echo i2c-dev >"$root/etc/modules-load.d/pi.conf"
    : >"$root/etc/machine-id"
}

card() {
    step "SD card image"
    local root=$out/rootfs folder file built=()
    rm -rf "$root"
    mkdir "$root"
    tar -C "$root" -xpf "$out/rootfs.tar"
    guest_files "$root"
    folder=$root/lib/modules/$release
    mkdir -p "$folder"
    cp "$out/kroot/lib/modules/$release"/modules.{builtin,builtin.modinfo,order} "$folder/"
    for file in "$out"/mod/*.ko; do
        built+=("$(basename "$file" .ko)")
    done
    module_files "${boot_modules[@]}" "${board_modules[@]}" "${built[@]}" >"$out/module-files"
    while read -r file; do
        install -D -m644 "$file" "$folder/${file#"$out/kroot/lib/modules/$release/"}"
    done <"$out/module-files"
    depmod -b "$root" "$release"
    rm -f "$out/sdcard.img"
    truncate -s "$size" "$out/sdcard.img"
    mkfs.ext4 -q -F -L rootfs -d "$root" "$out/sdcard.img"
    rm -rf "$root"
    step "done: $(du -h "$out/sdcard.img" | cut -f1) used of $size, kernel $release"
}

package_lists
find_kernel
kernel
modules
initrd
root_file_system
card
