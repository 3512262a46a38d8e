#!/usr/bin/env bash
# Run one command in a virtual machine with a Debian kernel; its output and its exit status are the command's.
# usage: tests/kernel/guest.sh bookworm|trixie COMMAND [ARGUMENT...]
#   tests/kernel/guest.sh bookworm python3 -m pytest tests/kernel/test_x.py
#   tests/kernel/guest.sh trixie sh -c 'modprobe nfnetlink_cthelper && python3 -m nftrtsp.rtsp.userspace'
#
# In the guest: root, a copy of the checkout at /checkout (in memory: there the command starts, and what it writes is lost
# with the guest), nftrtsp and its dependencies importable, `nftrtsp` on PATH, $RESULTS (if set) read-write at /results, the
# RTSP module in /opt/nftrtsp/module/{stock,any-source} (bookworm). No network but what the command makes. All is
# emulated, 3 to 20 times slower than here; a boot takes about 20 s.
# NFTRTSP_GUEST_CPUS (default 1: in emulation, waking another processor costs ten times what changing a process does),
# NFTRTSP_GUEST_MEMORY (default 1G), NFTRTSP_GUEST_SECONDS (default 900): then the machine is stopped, status 124.
set -euo pipefail
checkout=$(cd "$(dirname "$0")/../.." && pwd)
cache=${NFTRTSP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/nftrtsp}
suite=${1:?usage: guest.sh bookworm|trixie COMMAND}
shift
[ $# -gt 0 ] || { echo "usage: guest.sh bookworm|trixie COMMAND" >&2; exit 2; }

folder=$("$checkout/tests/kernel/images.sh" "$suite")
kernel=$(echo "$folder"/root/boot/vmlinuz-*)
export PATH=$cache/virtme/bin:$PATH

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
{
  echo '#!/bin/sh'
  # A copy, not a share: each of its files would take milliseconds to open, at every start of nftrtsp.
  echo 'mount -t tmpfs checkout /checkout && tar -xf /run/command/checkout.tar -C /checkout || exit 1'
  echo 'export HOME=/root LC_ALL=C.UTF-8 NFTRTSP_LAB_PATIENCE=5 PYTHONPATH=/checkout:/opt/nftrtsp/python'
  echo 'export PATH=/opt/nftrtsp/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin NFTRTSP_GUEST='"$suite"
  echo 'cd /checkout || exit 1'
  printf 'exec'
  printf ' %q' "$@"
  echo
} >"$work/run"

tar -C "$checkout" -cf "$work/checkout.tar" --exclude=./.git --exclude='./.*_cache' --exclude=./.venv --exclude=__pycache__ \
  --exclude=./.hypothesis --exclude=./docs/pictures --exclude=./tests/unit/__snapshots__ .

share=(--rodir="/run/command=$work")
[ -z "${RESULTS:-}" ] || share+=(--rwdir="/results=$RESULTS")
# /dev/kvm may exist and still not work. Without erms: `rep movsb` is emulated byte by byte, and so would be every copy of
# the kernel and of libc (64 KiB: 146 us with it, 42 us without). Through cat, since the emulator opens its standard output anew and would truncate
# a file there. `timeout` leads a process group of its own: what ends it ends the emulator.
exec 3> >(cat)
printer=$!
timeout --signal=TERM --kill-after=10 "${NFTRTSP_GUEST_SECONDS:-900}" \
  vng --run "$kernel" --root-disk "$folder/root.ext4" --root-fstype ext4 --user root --disable-kvm \
  --qemu-opts="-cpu max,-erms,-fsrm" \
  --cpus "${NFTRTSP_GUEST_CPUS:-1}" --memory "${NFTRTSP_GUEST_MEMORY:-1G}" "${share[@]}" -- "bash /run/command/run" </dev/null >&3 2>&1 3>&- &
guest=$!
trap 'kill "$guest" 2>/dev/null; wait "$guest"; exit 143' TERM INT HUP
status=0
wait "$guest" || status=$?
exec 3>&-
wait "$printer"
exit "$status"
