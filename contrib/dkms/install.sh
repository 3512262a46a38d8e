#!/usr/bin/env bash
# Install Debian 12's RTSP conntrack module through DKMS, made any-source, and load it at boot; or undo all that.
# usage: contrib/dkms/install.sh [--ports 554,1554]      contrib/dkms/install.sh --undo      (root)
#
# Only `rtsp.helper = "kernel"` needs it; `userspace` and `pinhole` need no module. What it puts where:
#   nat-rtsp-dkms, dkms, kernel headers    Debian's packages; DKMS rebuilds at each kernel upgrade, any-source again
#   /usr/local/lib/nftrtsp/any-source.sh   the change to the source
#   /etc/dkms/nat-rtsp.conf                tells DKMS to run it before each build
#   /etc/modules-load.d/nftrtsp.conf       loads the module at boot
#   /etc/modprobe.d/nftrtsp.conf           only with --ports: the ports other than 554
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

module=nat-rtsp
version=0.7+5.3
change=/usr/local/lib/nftrtsp/any-source.sh
dkms_conf=/etc/dkms/$module.conf
load_conf=/etc/modules-load.d/nftrtsp.conf
ports_conf=/etc/modprobe.d/nftrtsp.conf

say() { printf '==> %s\n' "$*" >&2; }
fail() { printf 'install.sh: %s\n' "$*" >&2; exit 1; }
installed() { dpkg-query -W -f='${Status}' "$1" 2>/dev/null | grep -q 'ok installed'; }
apt() { DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@"; }

# Every kernel whose headers are here; the package would build for two of them only.
kernels() { for build in /lib/modules/*/build; do [ -e "$build" ] && basename "$(dirname "$build")"; done || true; }

is_any_source() { [[ $(modinfo -k "$1" -F version nf_conntrack_rtsp 2>/dev/null) == *any-source ]]; }

# rebuild any-source|stock: for each kernel whose module is not that already.
rebuild() {
  local wanted=$1 kernel
  for kernel in $(kernels); do
    if [ "$wanted" = any-source ] && is_any_source "$kernel"; then continue; fi
    say "building for Linux $kernel"
    if ! dkms build --force -m "$module" -v "$version" -k "$kernel" >/dev/null 2>&1; then
      tail -n 5 "/var/lib/dkms/$module/$version/build/make.log" >&2 2>/dev/null || true
      return 1
    fi
    dkms install --force -m "$module" -v "$version" -k "$kernel" >/dev/null
  done
}

# A module in use stays loaded, with the code it had: say so rather than pull it from under a ruleset.
load() {
  [ -d "/lib/modules/$(uname -r)" ] || { say "this kernel ($(uname -r)) has no modules here: not loaded"; return; }
  if [ -d /sys/module/nf_conntrack_rtsp ] && ! modprobe -r nf_nat_rtsp nf_conntrack_rtsp 2>/dev/null; then
    say "the module that is loaded is in use and stays until a reboot, or: nftrtsp remove; modprobe -r nf_nat_rtsp"
    return
  fi
  # Where a userspace helper has registered the name rtsp, the module's own failure to do so crashes the kernel: its init()
  # unregisters what was never registered. Without nfnetlink_cthelper no such registration is left.
  if [ -d /sys/module/nfnetlink_cthelper ] && ! modprobe -r nfnetlink_cthelper 2>/dev/null; then
    say "a userspace helper is registered: not loaded now. It is at the next boot, with rtsp.helper = \"kernel\""
    return
  fi
  modprobe nf_nat_rtsp || fail "the module does not load: see dmesg. Secure Boot refuses modules signed with a key it does \
not know (mokutil --import /var/lib/dkms/mok.pub); helper = \"userspace\" needs no module"
}

undo() {
  say "undoing"
  rm -f "$load_conf" "$ports_conf" "$change"
  rmdir --ignore-fail-on-non-empty "${change%/*}" 2>/dev/null || true
  local kept=no
  if [ -e "$dkms_conf" ]; then
    grep -q '^# nat-rtsp-dkms was here before$' "$dkms_conf" && kept=yes
    rm -f "$dkms_conf"
  fi
  modprobe -r nf_nat_rtsp nf_conntrack_rtsp 2>/dev/null || true
  [ ! -d /sys/module/nf_conntrack_rtsp ] || say "the loaded module is in use, and stays until a reboot"
  if [ "$kept" = yes ] && installed nat-rtsp-dkms; then
    say "nat-rtsp-dkms was installed before: kept, and built as Debian has it"
    rebuild stock || fail "Debian's own source does not build: see /var/lib/dkms/$module/$version/build/make.log"
  elif installed nat-rtsp-dkms; then
    apt purge nat-rtsp-dkms >/dev/null
  fi
  say "done; dkms and the kernel headers stay (apt-get autoremove takes what nothing else needs)"
}

ports=
while [ $# -gt 0 ]; do
  case $1 in
    --ports) ports=${2:?--ports 554,1554}; shift 2 ;;
    --undo) undoing=yes; shift ;;
    *) sed -n '2,3s/^# //p' "$0" >&2; exit 2 ;;
  esac
done
[ "$(id -u)" -eq 0 ] || fail "this needs root"
[[ $ports =~ ^([0-9]+(,[0-9]+){0,7})?$ ]] || fail "--ports takes up to eight numbers with commas, as 554,1554"
[ "${undoing:-no}" = no ] || { undo; exit; }

command -v apt-get >/dev/null || fail "this is for Debian 12; other systems are in docs/kernel-module.md"
if ! installed nat-rtsp-dkms; then
  # The lists of packages may be old or not there yet.
  apt-cache show nat-rtsp-dkms >/dev/null 2>&1 || apt update || true
  apt-cache show nat-rtsp-dkms >/dev/null 2>&1 || fail "nat-rtsp-dkms is not to be had here ($(. /etc/os-release &&
    echo "$PRETTY_NAME")); Debian 13 dropped it: use helper = \"userspace\", which needs no module"
fi

say "telling DKMS to make the source any-source before each build"
install -D -m 755 "$here/any-source.sh" "$change"
before='# nat-rtsp-dkms was not here before'
if installed nat-rtsp-dkms; then before='# nat-rtsp-dkms was here before'; fi
[ ! -e "$dkms_conf" ] || before=$(grep '^# nat-rtsp-dkms was ' "$dkms_conf") || before='# nat-rtsp-dkms was here before'
install -d /etc/dkms
cat >"$dkms_conf" <<CONF
# Written by nftrtsp's contrib/dkms/install.sh; its --undo takes it away and reads the next line.
$before
MAKE[0]="$change . && make -C \${kernel_source_dir} M=\${dkms_tree}/$module/$version/build modules"
CONF

architecture=$(dpkg --print-architecture)
say "installing nat-rtsp-dkms and the kernel headers"
# The metapackage: with it every kernel upgrade brings its headers, and DKMS builds.
if ! installed nat-rtsp-dkms; then
  apt install --no-install-recommends nat-rtsp-dkms "linux-headers-$architecture" >/dev/null ||
    fail "the packages do not install; the build's log, if it came so far, is /var/lib/dkms/$module/$version/build/make.log"
else
  apt install --no-install-recommends "linux-headers-$architecture" >/dev/null
fi
[ -e "/usr/src/$module-$version/dkms.conf" ] || fail "this nat-rtsp-dkms is not $version: not the one this script knows"
rebuild any-source || fail "the module does not build; with Linux 6.8 or newer it cannot: use helper = \"userspace\""
for kernel in $(kernels); do
  is_any_source "$kernel" || fail "Linux $kernel has another nf_conntrack_rtsp, which is not any-source: \
$(modinfo -k "$kernel" -n nf_conntrack_rtsp 2>/dev/null || echo none)"
done

install -m 644 "$here/../modules-load.d/nftrtsp.conf" "$load_conf"
rm -f "$ports_conf"
[ -z "$ports" ] || echo "options nf_conntrack_rtsp ports=$ports" >"$ports_conf"
load
say "done: nf_conntrack_rtsp is any-source for Linux $(kernels | tr '\n' ' ')"
