#!/bin/bash
# Lives of the Debian package: installed, upgraded, refused, removed and purged, on a Debian 12 with its systemd, which runs in
# namespaces of this machine, and on one without a running systemd, as in a container or an image that is being made.
#
#   bash tests/package.sh PACKAGE     an amd64 package of deploy/build-deb.sh
#
# Needs root, an x86-64 Debian, mmdebstrap and python3. The Debian is fetched once (a minute, 210 MB) and kept in PI_BENCH_DIR. Every
# check prints PASS or FAIL; one FAIL and the script ends with 1.
set -euo pipefail

package=$(realpath "${1:?usage: bash tests/package.sh PACKAGE}")
base=${PI_BENCH_DIR:-$HOME/.cache/pi-bench}/package-root.tar
scratch=$(mktemp -d)
root=$scratch/root
group=
booted=
failed=0

finish() {
    [ -z "$booted" ] || kill -9 "$booted" 2>/dev/null || true
    if [ -n "$group" ]; then
        [ ! -e "$group/cgroup.kill" ] || echo 1 >"$group/cgroup.kill"
        for _ in 1 2 3 4 5 6 7 8 9 10; do
            find "$group" -depth -type d -exec rmdir {} + 2>/dev/null && break
            sleep 0.1
        done
    fi
    rm -rf --one-file-system "$scratch"
}
trap finish EXIT
trap 'exit 130' INT TERM

# check WORDS COMMAND...
check() {
    local words=$1
    shift
    if "$@" >"$scratch/out" 2>&1; then
        echo "PASS  $words"
    else
        echo "FAIL  $words"
        sed 's/^/      /' "$scratch/out"
        failed=1
    fi
}

not() { ! "$@"; }

debian() {
    [ ! -f "$base" ] || return 0
    mkdir -p "$(dirname "$base")"
    mmdebstrap --quiet --format=tar --variant=minbase --include=systemd,systemd-sysv,udev,dbus bookworm "$base.part"
    mv "$base.part" "$base"
}

# A fresh one. udev must not ask the kernel of this machine to report its devices again.
unpack() {
    rm -rf --one-file-system "$root"
    mkdir "$root"
    tar -C "$root" -xf "$base" --exclude='./dev/*'
    ln -s /dev/null "$root/etc/systemd/system/systemd-udevd.service"
    ln -s /dev/null "$root/etc/systemd/system/systemd-udev-trigger.service"
    cp "$scratch"/*.deb "$root/root/"
}

# variant FILE VERSION SCHEMA: the package as another version would have it, knowing other schemas of the spool.
variant() {
    rm -rf "$scratch/parts"
    dpkg-deb -R "$package" "$scratch/parts"
    sed -i "s/^Version: .*/Version: $2/" "$scratch/parts/DEBIAN/control"
    sed -i "s/^KNOWN=.*/KNOWN=$3/; s/gt [0-9][^ ;]*/gt $2/" "$scratch/parts/DEBIAN/preinst"
    dpkg-deb -Znone -b "$scratch/parts" "$scratch/$1" >/dev/null
}

variants() {
    schema=$(dpkg-deb --ctrl-tarfile "$package" | tar -xO ./preinst | sed -n 's/^KNOWN=//p')
    variant this.deb 1.0-1 "$schema"
    variant newer.deb 1.1-1 "$((schema + 1))"
    variant older.deb 0.9-1 "$((schema - 1))"
    variant equal.deb 0.9-1 "$schema"
}

# Everything that a purge has to take away again. The lists of packages, logs and caches are not the package's.
snapshot() {
    (
        cd "$root"
        find . -xdev \( -path ./proc -o -path ./sys -o -path ./dev -o -path ./run -o -path ./tmp -o -path ./root -o -path ./var/log \
            -o -path ./var/cache -o -path ./var/lib/dpkg -o -path ./var/lib/apt -o -path ./var/tmp -o -path ./var/lib/systemd/random-seed \
            -o -path ./var/lib/private -o -name '*-' -o -name .pwd.lock -o -path './var/lib/systemd/deb-systemd-helper-*' \
            -o -path ./etc/machine-id \) -prune -o -printf '%M %U %G %p %l\n' | sort
        find var/lib/systemd/deb-systemd-helper-* -name '*fieldgate*' 2>/dev/null || true
        sort etc/passwd etc/group etc/shadow etc/gshadow
    )
}

nothing_is_left() {
    snapshot >"$scratch/after"
    diff "$scratch/before" "$scratch/after"
}

inside() { nsenter -t "$systemd" -a -r env -i -C / PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive TERM=dumb "$@"; }
unit() { inside systemctl --no-pager "$@" fieldgate.service; }
install_() { inside dpkg -i "/root/$1"; }
shows() { [ "$(unit show -P "$1")" = "$2" ] || { unit status || true; return 1; }; }

# systemd as the first process of namespaces of its own.
boot() {
    group=$(mount -t cgroup2 | awk 'NR == 1 { print $3 }')/fieldgate-package.$$
    mkdir "$group"
    # shellcheck disable=SC2016 # for the shell inside
    (
        echo "$BASHPID" >"$group/cgroup.procs"
        R=$root exec unshare --pid --mount --uts --ipc --net --cgroup --fork --kill-child bash -eu -c '
            mount --bind "$R" "$R"; cd "$R"
            mount -t proc proc proc; mount -t sysfs sys sys; mount -t tmpfs run run; mount -t tmpfs dev dev; mount -t tmpfs tmp tmp
            for node in null zero full random urandom tty; do cp -a "/dev/$node" dev/; done
            mkdir dev/pts dev/shm; mount -t devpts -o ptmxmode=666 pts dev/pts; ln -s pts/ptmx dev/ptmx
            mount -t cgroup2 cg sys/fs/cgroup; ip link set lo up
            exec env -i container=fieldgate-package PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot . /lib/systemd/systemd
        '
    ) </dev/null >"$scratch/boot.log" 2>&1 &
    booted=$!
    # Its end is no news.
    disown "$booted"
    for _ in $(seq 100); do
        systemd=$(pgrep -P "$booted" | head -1) || true
        [ -z "$systemd" ] || ! inside systemctl is-system-running --wait >/dev/null 2>&1 || return 0
        [ -z "$systemd" ] || [ "$(inside systemctl is-system-running 2>/dev/null)" != degraded ] || return 0
        sleep 0.2
    done
    cat "$scratch/boot.log"
    return 1
}

# What the spool of the stopped service holds: the number of its first message, and how many there are.
spool() {
    python3 - "$root/var/lib/fieldgate/spool.db" <<'PYTHON'
import sqlite3, sys
file = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True)
print(*file.execute("SELECT min(seq), count(*) FROM message").fetchone())
PYTHON
}

wait_until() {
    for _ in $(seq 100); do
        ! "$@" >/dev/null 2>&1 || return 0
        sleep 0.1
    done
    "$@"
}

mode() { [ "$(inside stat -c '%a %U:%G' "$1")" = "$2" ] || { inside stat "$1"; return 1; }; }

first_installation() {
    check "it installs with apt on a running Debian 12" \
        inside apt-get install --yes --no-install-recommends /root/this.deb
    check "the service is active" wait_until shows ActiveState active
    check "and enabled" unit is-enabled
    check "the shipped configuration passes the check" inside fieldgate check
    check "the service runs as fieldgate" shows User fieldgate
    check "which is in the group gpio" inside sh -c 'id -nG fieldgate | tr " " "\n" | grep -qx gpio'
    check "only root writes the configuration" mode /etc/fieldgate/fieldgate.yaml "640 root:fieldgate"
    check "only root reads credentials" mode /etc/fieldgate/credentials "700 root:root"
    check "the spool is fieldgate's own" mode /var/lib/fieldgate "750 fieldgate:fieldgate"
    check "udev finds no fault with its rules" udev_is_content
    check "PWM files are given to gpio, and others' groups are kept" pwm_rule
    check "Home Assistant's dashboard and blueprints are there" inside sh -c "cd /usr/share/doc/fieldgate/deploy/home-assistant && ls dashboard.yaml blueprints/automation/fieldgate/sensor_down.yaml"
    check "i2c-dev is loaded at each start" inside grep -qx i2c-dev /usr/lib/modules-load.d/fieldgate.conf
}

udev_is_content() {
    inside udevadm test /devices/virtual/mem/null >"$scratch/udev" 2>&1
    grep -q 60-fieldgate.rules "$scratch/udev" || { cat "$scratch/udev"; return 1; }
    not grep -i '60-fieldgate.rules:[0-9]' "$scratch/udev"
}

# The rule's own command, on files that look like those of a chip with one exported channel.
pwm_rule() {
    local chip=$scratch/pwmchip0 command
    mkdir -p "$chip/pwm0" "$chip/pwm1"
    touch "$chip"/{export,unexport,npwm} "$chip"/pwm{0,1}/{period,duty_cycle,polarity,enable,capture}
    chmod 200 "$chip"/{export,unexport}
    chgrp daemon "$chip/pwm1/enable"
    command=$(sed -n "s/^SUBSYSTEM==\"pwm\".*RUN+=\"\/bin\/sh -c '\(.*\)'\"$/\1/p" "$root/usr/lib/udev/rules.d/60-fieldgate.rules")
    # As udev reads it, but for a group that this machine has.
    command=${command//\/sys%p/$chip}
    command=${command//\$\$/\$}
    command=${command//%%/%}
    command=${command//chgrp gpio/chgrp mail}
    [ -n "$command" ]
    sh -c "$command"
    [ "$(cd "$chip" && stat -c '%n %G %a' export npwm pwm0/enable pwm0/capture pwm1/enable pwm1/period | tr '\n' ';')" = \
        "export mail 220;npwm root 644;pwm0/enable mail 664;pwm0/capture root 644;pwm1/enable daemon 644;pwm1/period mail 664;" ]
}

upgrade() {
    local first count first_now count_now before
    inside sed -i 's/every: 10s/every: 1s/; s/^  #name: shed/  name: barn/' /etc/fieldgate/fieldgate.yaml
    check "a changed configuration is reloaded" unit reload
    sleep 3
    unit stop
    read -r first count < <(spool)
    check "readings wait for the broker that is not there" test "$count" -gt 1
    unit start
    check "the same version again keeps a changed configuration" install_ this.deb
    check "the name is still there" inside grep -qx '  name: barn' /etc/fieldgate/fieldgate.yaml
    before=$(unit show -P MainPID)
    check "a newer version is installed over it" install_ newer.deb
    check "the service is active" wait_until shows ActiveState active
    check "it is the new program" not shows MainPID "$before"
    check "it did not end badly on the way" shows NRestarts 0
    check "the name is still there" inside grep -qx '  name: barn' /etc/fieldgate/fieldgate.yaml
    unit stop
    read -r first_now count_now < <(spool)
    check "the readings from before are still there" test "$first_now" = "$first" -a "$count_now" -ge "$count"
    unit start
}

refused_with_reason() {
    ! install_ older.deb >"$scratch/refusal" 2>&1 || return 1
    cat "$scratch/refusal"
    grep -q "is of a newer version (schema $schema)" "$scratch/refusal" && grep -q 'Nothing was changed' "$scratch/refusal"
}

downgrade() {
    local before
    before=$(unit show -P MainPID)
    check "an older version that cannot read the spool is refused with the reason" refused_with_reason
    # shellcheck disable=SC2016 # dpkg's own names
    check "the newer is still installed" \
        inside sh -c '[ "$(dpkg-query -W -f "\${Version} \${Status}" fieldgate)" = "1.1-1 install ok installed" ]'
    check "and has been running all the while" shows MainPID "$before"
    check "an older version that can read the spool is installed" install_ equal.deb
    check "the service is active" wait_until shows ActiveState active
}

decisions_of_the_administrator() {
    unit disable --now --quiet
    check "an upgrade leaves a disabled service off" install_ this.deb
    check "it is not active" shows ActiveState inactive
    check "nor enabled" not unit is-enabled
    unit mask --quiet
    check "an upgrade accepts a masked service" install_ newer.deb
    check "it is still masked" shows LoadState masked
    unit unmask --quiet
    unit enable --now --quiet
    inside sh -c 'printf "#!/bin/sh\nexit 101\n" >/usr/sbin/policy-rc.d; chmod +x /usr/sbin/policy-rc.d'
    local before
    before=$(unit show -P MainPID)
    check "an upgrade asks policy-rc.d" install_ newer.deb
    check "the service was not restarted" shows MainPID "$before"
    inside rm /usr/sbin/policy-rc.d
    inside sh -c 'echo "sensors: {" >/etc/fieldgate/fieldgate.yaml'
    check "a broken configuration does not break an upgrade" install_ newer.deb
    check "the service has failed" wait_until shows ActiveState failed
    check "with 78, once" shows ExecMainStatus 78
}

removal() {
    check "it is removed" inside dpkg -r fieldgate
    check "the service is gone" not unit is-active
    check "the configuration stays" inside test -f /etc/fieldgate/fieldgate.yaml
    check "the spool stays" inside test -f /var/lib/fieldgate/spool.db
    check "an older version is refused below the spool that stayed" refused_with_reason
    check "it is installed again" install_ newer.deb
    check "its configuration is still the administrator's" inside grep -q 'sensors: {' /etc/fieldgate/fieldgate.yaml
    inside sh -c 'echo secret >/etc/fieldgate/credentials/mqtt-password'
    check "it is purged" inside dpkg -P fieldgate
    check "and nothing is left, no file, no user, no group" nothing_is_left
    check "also not in /run" not inside test -e /run/fieldgate
    check "systemd knows no such service" shows LoadState not-found
}

# A group that was there before, or that somebody else has come to use, is not ours to take.
groups() {
    inside groupadd --system gpio
    install_ this.deb >/dev/null 2>&1
    inside usermod -aG spi daemon
    inside dpkg -P fieldgate >/dev/null
    check "a group from before stays" inside getent group gpio
    check "a group with other members stays" inside getent group spi
    check "a group that only the package wanted goes" not inside getent group i2c
}

without_systemd() {
    in_chroot() { chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"; }
    snapshot >"$scratch/before"
    check "without a running systemd it installs" in_chroot dpkg -i /root/this.deb
    check "is enabled for the next start" in_chroot test -L /etc/systemd/system/multi-user.target.wants/fieldgate.service
    check "passes the check" in_chroot fieldgate check
    check "and is purged" in_chroot dpkg -P fieldgate
    check "and nothing is left" nothing_is_left
}

debian
variants
unpack
without_systemd
boot
# What systemd itself makes at its first start is not the package's.
snapshot >"$scratch/before"
first_installation
upgrade
downgrade
decisions_of_the_administrator
removal
groups
[ "$failed" = 0 ] || exit 1
echo "every check passed"
