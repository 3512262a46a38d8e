#!/usr/bin/env bash
# Run one command in a virtual machine with a Debian kernel; its output and its exit status are the command's.
# usage: tests/kernel/guest.sh bookworm|trixie|um COMMAND [ARGUMENT...]
#   tests/kernel/guest.sh bookworm python3 -m pytest tests/kernel/test_x.py
#   tests/kernel/guest.sh trixie sh -c 'modprobe nfnetlink_cthelper && python3 -m nftrtsp.helper.userspace.helper'
#
# In the guest: root, a copy of the checkout at /checkout (in memory: there the command starts, and what it writes is lost
# with the guest), nftrtsp and its dependencies importable, `nftrtsp` on PATH, $RESULTS (if set) read-write at /results, the
# RTSP module in /opt/nftrtsp/module/{stock,any-source} (bookworm). No network but what the command makes. All is
# emulated, 3 to 20 times slower than here; a boot takes about 20 s. Not so `um`: bookworm's programs with the same kernel
# built as a process of this machine (um/build.sh). There code runs as fast as here, but a system call takes 50 us and a page
# fault 300 us; one processor; the module in any-source only.
# NFTRTSP_GUEST_CPUS (default 1: in emulation, waking another processor costs ten times what changing a process does),
# NFTRTSP_GUEST_MEMORY (default 1G), NFTRTSP_GUEST_SECONDS (default 900): then the machine is stopped, status 124.
set -euo pipefail
checkout=$(cd "$(dirname "$0")/../.." && pwd)
cache=${NFTRTSP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/nftrtsp}
suite=${1:?usage: guest.sh bookworm|trixie|um COMMAND}
shift
[ $# -gt 0 ] || { echo "usage: guest.sh bookworm|trixie|um COMMAND" >&2; exit 2; }

programs=${suite/um/bookworm}
folder=$("$checkout/tests/kernel/images.sh" "$programs")

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
{
  echo '#!/bin/sh'
  # A copy, not a share: each of its files would take milliseconds to open, at every start of nftrtsp.
  echo 'mount -t tmpfs checkout /checkout && tar -xf /run/command/checkout.tar -C /checkout || exit 1'
  echo 'export HOME=/root LC_ALL=C.UTF-8 NFTRTSP_LAB_PATIENCE=5 PYTHONPATH=/checkout:/opt/nftrtsp/python'
  echo 'export PATH=/opt/nftrtsp/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin NFTRTSP_GUEST='"$programs"
  echo 'cd /checkout || exit 1'
  printf 'exec'
  printf ' %q' "$@"
  echo
} >"$work/run"

tar -C "$checkout" -cf "$work/checkout.tar" --exclude=./.git --exclude='./.*_cache' --exclude=./.venv --exclude=__pycache__ \
  --exclude=./.hypothesis --exclude=./docs/pictures --exclude=./tests/unit/__snapshots__ .

memory=${NFTRTSP_GUEST_MEMORY:-1G}
if [ "$suite" = um ]; then
  um=$("$checkout/tests/kernel/um/build.sh")
  cat >"$work/init" <<END
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev && mkdir -p /dev/shm /dev/pts && mount -t devpts devpts /dev/pts && ln -s /proc/self/fd /dev/fd
for place in /tmp /run /dev/shm; do mount -t tmpfs tmpfs \$place; done
mkdir /run/command && mount -t hostfs -o "$work" hostfs /run/command
mount -t hostfs -o "$um/modules" hostfs /lib/modules
mount -t hostfs -o "$um/any-source" hostfs /opt/nftrtsp/module/any-source
ip link set lo up
${RESULTS:+mount -t hostfs -o "$RESULTS" hostfs /results}
bash /run/command/run
echo \$? >/run/command/status
busybox poweroff -f
END
  boot=("$um/linux" "mem=$memory" root=/dev/root rootfstype=hostfs "rootflags=$folder/root" ro quiet con=null con0=null,fd:1
    init=/bin/sh -- -c "\"mount -t proc proc /proc; mount -t hostfs -o $work hostfs /mnt; exec sh /mnt/init\"")
else
  share=(--rodir="/run/command=$work")
  [ -z "${RESULTS:-}" ] || share+=(--rwdir="/results=$RESULTS")
  export PATH=$cache/virtme/bin:$PATH
  # /dev/kvm may exist and still not work. Without erms: `rep movsb` is emulated byte by byte, and so would be every copy of
  # the kernel and of libc (64 KiB: 146 us with it, 42 us without).
  boot=(vng --run "$(echo "$folder"/root/boot/vmlinuz-*)" --root-disk "$folder/root.ext4" --root-fstype ext4 --user root
    --disable-kvm --qemu-opts="-cpu max,-erms,-fsrm" --cpus "${NFTRTSP_GUEST_CPUS:-1}" --memory "$memory" "${share[@]}"
    -- "bash /run/command/run")
fi

# Through cat, since the emulator opens its standard output anew and would truncate a file there. `timeout` leads a process
# group of its own: what ends it ends the emulator.
exec 3> >(cat)
printer=$!
timeout --signal=TERM --kill-after=10 "${NFTRTSP_GUEST_SECONDS:-900}" \
  "${boot[@]}" </dev/null >&3 2>&1 3>&- &
guest=$!
trap 'kill "$guest" 2>/dev/null; wait "$guest"; exit 143' TERM INT HUP
status=0
wait "$guest" || status=$?
exec 3>&-
wait "$printer"
# This kernel's own exit status says nothing of the command's.
[ "$suite" != um ] || [ "$status" -eq 124 ] || status=$(cat "$work/status" 2>/dev/null || echo 125)
exit "$status"
