#!/usr/bin/env bash
# Build the folders that the virtual machines boot: Debian 12 and Debian 13, each with its kernel, modules and Python.
# usage: tests/kernel/images.sh [bookworm|trixie ...]      prints one folder a line; builds only what is not there
#
# They lie in ${NFTRTSP_CACHE:-${XDG_CACHE_HOME:-~/.cache}/nftrtsp}, named by the hash of what they are made from, so that
# a change here builds anew. A folder is built under another name and renamed when it is whole: half a one is never
# used. No kernel is installed on this machine.
set -euo pipefail
cd "$(dirname "$0")/../.."

cache=${NFTRTSP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/nftrtsp}
say() { printf '==> %s\n' "$*" >&2; }

[ "$(id -u)" -eq 0 ] || { say "building the images needs root (chroot and device nodes)"; exit 1; }
umask 022
mkdir -p "$cache"

# --- what this machine needs: an emulator, a bootstrapper, and a static busybox for the initramfs
missing=()
for package in busybox-static e2fsprogs mmdebstrap qemu-system-x86 python3-venv; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  say "installing Debian packages: ${missing[*]}"
  apt-get -qq -o DPkg::Lock::Timeout=300 update
  DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 \
    install --no-install-recommends "${missing[@]}" >/dev/null
fi

exec 9>"$cache/lock"
flock 9 # two runs at once build once

virtme=virtme-ng==1.42
venv=$cache/virtme
if [ "$(cat "$venv/.stamp" 2>/dev/null)" != "$virtme" ]; then
  say "installing $virtme"
  rm -rf "$venv"
  /usr/bin/python3 -m venv "$venv"
  "$venv/bin/pip" install -q --disable-pip-version-check "$virtme" 2>/dev/null
  echo "$virtme" >"$venv/.stamp"
fi

# --- what is in a guest
common=(
  busybox-static conntrack ethtool iproute2 iptables kmod libnftables1 linux-image-amd64 mount nftables procps python3 systemd udev
  ffmpeg gir1.2-gst-rtsp-server-1.0 gstreamer1.0-{plugins-base,plugins-good,tools} python3-gi
)
# Debian 12 alone still packages the RTSP module, and it builds against 6.1 only.
bookworm=(dkms dpkg-dev gcc libc6-dev linux-headers-amd64 make)
python=(click msgspec pip-nftables psutil pyroute2 textual pytest pytest-asyncio hypothesis)

# Drivers of things that no virtual machine has, and what nobody reads in one: 400 MB a guest.
leave_out=(/usr/share/{man,locale,info,doc,bash-completion}/\*)
for place in /lib /usr/lib; do
  for part in arch sound drivers/{accel,ata,bluetooth,comedi,gpu,hid,hwmon,iio,infiniband,input,isdn,leds,media,mmc,mtd} \
    drivers/{nvme,pcmcia,platform,scsi,staging,thunderbolt,tty,usb,video} drivers/net/{ethernet,usb,wan,wireless} \
    fs/{afs,btrfs,ceph,cifs,gfs2,jfs,nfs,nfsd,ocfs2,smb,ubifs,xfs}; do
    leave_out+=("$place/modules/*/kernel/$part/*")
  done
done

# The module as Debian has it and as contrib/dkms makes it, in /opt/nftrtsp/module/{stock,any-source}; and a folder of
# packages that apt-get in the guest installs from: the module's, and the headers of "the next kernel".
add_module() {
  local folder=$1 kernel repository=$1/opt/nftrtsp/packages kind build
  kernel=$(basename "$folder"/lib/modules/*)
  mkdir -p "$repository" "$folder/opt/nftrtsp/module"
  chroot "$folder" sh -c "cd /opt/nftrtsp/packages && apt-get -qq -o APT::Sandbox::User=root download \
    nat-rtsp-dkms linux-headers-${kernel%-amd64}-cloud-amd64"
  for kind in stock any-source; do
    build=$folder/opt/nftrtsp/module/$kind
    dpkg-deb -x "$repository"/nat-rtsp-dkms_*.deb "$build.deb"
    mv "$build".deb/usr/src/nat-rtsp-* "$build"
    rm -rf "$build.deb"
    [ "$kind" = stock ] || contrib/dkms/any-source.sh "$build"
    chroot "$folder" make -s -C "/lib/modules/$kernel/build" M="/opt/nftrtsp/module/$kind" modules
  done
  chroot "$folder" sh -c 'cd /opt/nftrtsp/packages && dpkg-scanpackages . >Packages'
  rm -f "$folder"/etc/apt/sources.list.d/*
  echo 'deb [trusted=yes] file:/opt/nftrtsp/packages ./' >"$folder/etc/apt/sources.list"
}

add_python() {
  local folder=$1 version=$2
  "$venv/bin/pip" install -q --disable-pip-version-check --target "$folder/opt/nftrtsp/python" \
    --python-version "$version" --only-binary=:all: -c constraints.txt "${python[@]}"
  chroot "$folder" python3 -m compileall -q /opt/nftrtsp/python
  mkdir -p "$folder/opt/nftrtsp/bin"
  printf '%s\n' '#!/usr/bin/python3' 'from nftrtsp.cli import main' 'main()' >"$folder/opt/nftrtsp/bin/nftrtsp"
  chmod +x "$folder/opt/nftrtsp/bin/nftrtsp"
}

# build SUITE PYTHON-VERSION FOLDER: everything of one guest, with nothing of this machine's in it: FOLDER/root, and the
# same as a disk, FOLDER/root.ext4. From the disk Python starts four times faster than over 9p.
build() {
  local suite=$1 version=$2 folder=$3 root=$3/root include=("${common[@]}") options=() pattern
  [ "$suite" != bookworm ] || include+=("${bookworm[@]}")
  for pattern in "${leave_out[@]}"; do options+=("--dpkgopt=path-exclude=$pattern"); done
  mkdir -p "$folder"
  # INITRD=No: the kernel boots with virtme's initramfs; making Debian's would be a minute for nothing.
  INITRD=No mmdebstrap --quiet --mode=root --variant=apt --format=directory \
    --aptopt='Apt::Install-Recommends "false"' "${options[@]}" --include="$(IFS=,; echo "${include[*]}")" \
    --skip=cleanup/apt/lists "$suite" "$root"
  cp /etc/resolv.conf "$root/etc/resolv.conf"
  [ "$suite" != bookworm ] || add_module "$root"
  add_python "$root" "$version"
  mkdir -p "$root/checkout" "$root/results"
  rm -rf "$root"/boot/initrd.img* "$root/etc/resolv.conf" "$root"/var/cache/apt/*.bin "$root"/var/lib/apt/lists/*
  [ "$suite" != bookworm ] || chroot "$root" apt-get -qq update
  mkfs.ext4 -q -O '^has_journal' -d "$root" "$folder/root.ext4" "$(($(du -sm "$root" | cut -f1) * 5 / 4 + 64))M"
}

[ $# -gt 0 ] || set -- bookworm trixie
for suite in "$@"; do
  case $suite in
    bookworm) version=3.11 ;;
    trixie) version=3.13 ;;
    *) say "no such guest: $suite (bookworm or trixie)"; exit 2 ;;
  esac
  # Of the pinned versions those that a guest has: a new linter builds no new guest.
  key=$({ cat tests/kernel/images.sh contrib/dkms/any-source.sh; printf '%s==\n' "${python[@]}" |
    grep -iFf - constraints.txt; } | sha256sum | cut -c1-12)
  folder=$cache/$suite-$key
  if [ ! -d "$folder" ]; then
    started=$SECONDS
    say "building $suite (once)"
    rm -rf "$cache/$suite".new
    set +e # else errors within would not stop the building: bash ignores errexit in what `||` follows
    (set -e; build "$suite" "$version" "$cache/$suite.new") >"$cache/$suite.log" 2>&1 </dev/null 9>&-
    status=$?
    set -e
    if [ "$status" -ne 0 ]; then
      tail -n 20 "$cache/$suite.log" >&2
      say "building $suite failed; the whole log is $cache/$suite.log"
      exit 1
    fi
    # Those of earlier hashes go, but not one that a guest may be running from.
    find "$cache" -maxdepth 1 -name "$suite-*" -mmin +60 -exec rm -rf {} +
    mv "$cache/$suite.new" "$folder"
    say "$suite built in $((SECONDS - started)) s, $(du -sh "$folder" | cut -f1)"
  fi
  echo "$folder"
done
