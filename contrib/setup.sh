#!/usr/bin/env bash
# Install what nftrtsp needs on Debian or Ubuntu: packages, then .venv with the command in .venv/bin/nftrtsp.
# usage: contrib/setup.sh run|dev     (dev adds what tests, checks and benchmarks need)
#        contrib/setup.sh install     (for a router: into $PREFIX, /opt/nftrtsp, with the systemd units; again to upgrade)
#        contrib/setup.sh uninstall
# What comes from a package registry is what requirements/*.txt names by hash (`make lock`), on amd64 and arm64.
# A second run of run or dev does nothing: Debian packages that are there are left alone, and .venv carries a stamp.
set -euo pipefail
cd "$(dirname "$0")/.."
mode=${1:-run}

say() { printf '==> %s\n' "$*" >&2; }

# --- a router's own: not in anybody's checkout or home, which services do not see
prefix=${PREFIX:-/opt/nftrtsp}
commands=(/usr/local/bin/nftrtsp /usr/local/bin/nftrtsp-helper) # as the units have them
units=(nftrtsp-helper.service nftrtsp-restore.service)
user=nftrtsp # as the units have it
sysusers=/etc/sysusers.d/nftrtsp.conf
case $mode in
  run | dev) ;;
  install | uninstall)
    [ "$(id -u)" -eq 0 ] || { say "$mode needs root: sudo make $mode"; exit 1; }
    for command in "${commands[@]}"; do
      [ ! -e "$command" ] || [ -L "$command" ] || { say "$command is not a link of ours; move it away, then try again"; exit 1; }
    done
    ;;
  *) say "no such thing to set up: $mode (run, dev, install or uninstall)"; exit 2 ;;
esac
# Where systemd runs; in an image that is being made it does not.
systemd() { [ ! -d /run/systemd/system ] || systemctl "$@"; }

# pip_install ENVIRONMENT run|dev WORDS: what requirements/ has, and of that nothing but files whose hashes it names (so no
# code of anybody's runs to build them), then ourselves, as WORDS have it, built by what was just installed.
pip_install() {
  local pip=("$1/bin/python" -m pip install -q --disable-pip-version-check)
  "${pip[@]}" --require-hashes --only-binary=:all: -r "requirements/$2.txt"
  # Many commits have one version: without --force-reinstall, pip would leave an older one in its place.
  "${pip[@]}" --force-reinstall --no-deps --no-build-isolation --no-index "${@:3}"
}

mark=$prefix/.installed-by-nftrtsp # only what bears it is overwritten or removed

uninstall_here() {
  systemd --quiet disable --now "${units[@]}" 2>/dev/null || true
  for command in "${commands[@]}"; do
    [ "$(readlink "$command" || true)" != "$prefix/bin/${command##*/}" ] || rm "$command"
  done
  rm -f "${units[@]/#//etc/systemd/system/}" "$sysusers"
  systemd daemon-reload
  [ ! -e "$mark" ] || rm -rf "$prefix"
  say "removed; left as they are: the user $user, /etc/nftrtsp, /var/lib/nftrtsp and the live ruleset (\`nftrtsp remove\` before this takes it away)"
}

# The helper is not root. Of what an earlier version left, its config may be closed to others; its run directory systemd
# gives to the new user, and its state directory was root's alone and stays so.
add_user() {
  command -v systemd-sysusers >/dev/null || { say "no systemd here, so no user $user for its units"; return 0; }
  mkdir -p "$(dirname "$sysusers")"
  install -m 644 contrib/systemd/nftrtsp.sysusers "$sysusers"
  systemd-sysusers "$sysusers"
  local place
  for place in /etc/nftrtsp /etc/nftrtsp/nftrtsp.toml; do
    [ -n "$(find "$place" -maxdepth 0 ! -perm -o=r ! '(' -group "$user" -perm -g=r ')' 2>/dev/null)" ] || continue
    say "$place: its group is $user now, which may read it"
    chgrp "$user" "$place"
    chmod g+rX "$place"
  done
}

install_here() {
  if [ -e "$prefix" ] && [ ! -e "$mark" ] && [ -n "$(ls -A "$prefix")" ]; then
    say "$prefix holds something else; name another place: make install PREFIX=/opt/another"
    exit 1
  fi
  mkdir -p "$prefix"
  touch "$mark"
  [ -x "$prefix/bin/pip" ] || $python -m venv "$prefix"
  pip_install "$prefix" run .
  add_user
  mkdir -p "${commands[0]%/*}" /etc/systemd/system
  for command in "${commands[@]}"; do ln -sfn "$prefix/bin/${command##*/}" "$command"; done
  install -m 644 "${units[@]/#/contrib/systemd/}" /etc/systemd/system
  systemd daemon-reload
  systemd try-restart nftrtsp-helper.service # films go on meanwhile
  say "$("${commands[0]}" --version) is in $prefix; the command is ${commands[0]}; at boot: systemctl enable --now ${units[*]%.service}"
}

if [ "$mode" = uninstall ]; then
  uninstall_here
  exit 0
fi

packages=(libnftables1 netbase nftables iproute2 python3 python3-venv)
[ "$mode" = dev ] && packages+=(conntrack ethtool gcc kmod libc6-dev procps python3-dev tmux)
# The real RTSP programs of tests/integration/test_peers.py: 70 MB to fetch, 220 MB installed.
[ "$mode" = dev ] && packages+=(ffmpeg gir1.2-gst-rtsp-server-1.0 gstreamer1.0-{plugins-base,plugins-good,tools} python3-gi)

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  say "installing Debian packages: ${missing[*]}"
  as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { say "these need root, and there is no sudo: apt-get install ${missing[*]}"; exit 1; }
    as_root=(sudo)
  fi
  "${as_root[@]}" apt-get -qq -o DPkg::Lock::Timeout=300 update
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=300 \
    -o Dpkg::Use-Pty=0 install --no-install-recommends "${missing[@]}" >/dev/null
fi

# Debian's own Python, so that what is tested is what a router has.
python=/usr/bin/python3

if [ "$mode" = install ]; then
  install_here
  exit 0
fi

stamp=.venv/.stamp-$mode
want=$(cat pyproject.toml requirements/*.txt nftrtsp/__init__.py | sha256sum)
# What dev installs holds all that run needs.
[ "$mode" = run ] && [ "$(cat .venv/.stamp-dev 2>/dev/null)" = "$want" ] && stamp=.venv/.stamp-dev
if [ "$(cat "$stamp" 2>/dev/null)" != "$want" ]; then
  say "making .venv with $($python --version) and what pyproject.toml names ($mode)"
  [ -x .venv/bin/python ] || $python -m venv .venv
  pip_install .venv "$mode" -e .
  printf '%s' "$want" >"$stamp"
fi
