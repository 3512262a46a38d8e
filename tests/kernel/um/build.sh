#!/usr/bin/env bash
# Build Debian 12's kernel, from the source that Debian packages, for User Mode Linux (ARCH=um): a kernel that runs as a
# process of this machine, so that nothing is emulated. For benchmarks; the tests run Debian's own binaries.
# usage: tests/kernel/um/build.sh      prints the folder with `linux`, modules/ and any-source/ (the RTSP module for it)
#
# Built in a Debian 12 of its own, thrown away afterwards; 6 minutes and 3 GB on the way, 20 MB left. See images.sh for the
# folder it lies in.
set -euo pipefail
cd "$(dirname "$0")/../../.."

cache=${NFTRTSP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/nftrtsp}
guest=$(tests/kernel/images.sh bookworm)
key=$(cat tests/kernel/um/{build.sh,config} contrib/dkms/any-source.sh | sha256sum | cut -c1-12)
folder=$cache/um-$key
exec 9>"$cache/um.lock"
flock 9

build() {
  local room=$1 done=$2 source
  mmdebstrap --quiet --mode=root --variant=apt --format=directory --aptopt='Apt::Install-Recommends "false"' \
    --include=bc,bison,flex,gcc,kmod,libc6-dev,linux-source-6.1,make,xz-utils bookworm "$room"
  tar -xf "$room"/usr/src/linux-source-6.1.tar.xz -C "$room/usr/src"
  source=/usr/src/linux-source-6.1
  cp tests/kernel/um/config "$room$source/wanted"
  cp -r "$guest/root/opt/nftrtsp/module/any-source" "$room/usr/src/any-source"
  rm -f "$room"/usr/src/any-source/{*.ko,*.o,.*.cmd,*.mod*,Module.symvers,modules.order}
  chroot "$room" make -s -C "$source" ARCH=um KCONFIG_ALLCONFIG=wanted allnoconfig
  # An option that this source does not know, or whose own needs are not met, is silently left out.
  grep -vxFf "$room$source/.config" tests/kernel/um/config && { echo "the kernel takes no such options"; return 1; }
  chroot "$room" make -s -C "$source" -j "$(nproc)" ARCH=um linux modules
  chroot "$room" make -s -C "$source" ARCH=um M=/usr/src/any-source modules
  chroot "$room" make -s -C "$source" ARCH=um INSTALL_MOD_PATH=/usr/src/installed modules_install
  mkdir -p "$done/any-source"
  cp -r "$room/usr/src/installed/lib/modules" "$done/modules"
  rm -f "$done"/modules/*/{build,source}
  cp "$room$source/linux" "$done"
  cp "$room"/usr/src/any-source/*.ko "$done/any-source"
}

if [ ! -d "$folder" ]; then
  echo "==> building Debian 12's kernel for User Mode Linux (once)" >&2
  rm -rf "$cache"/um-*
  set +e # else errors within would not stop the building: bash ignores errexit in what `||` follows
  (set -e; build "$cache/um-room" "$cache/um-new") >"$cache/um.log" 2>&1 </dev/null 9>&-
  status=$?
  set -e
  rm -rf "$cache/um-room"
  if [ "$status" -ne 0 ]; then
    tail -n 20 "$cache/um.log" >&2
    echo "==> that failed; the whole log is $cache/um.log" >&2
    exit 1
  fi
  mv "$cache/um-new" "$folder"
fi
echo "$folder"
