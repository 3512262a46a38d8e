#!/usr/bin/env bash
# Install what nftrtsp needs on Debian or Ubuntu: packages, then .venv with the command in .venv/bin/nftrtsp.
# usage: contrib/setup.sh run|dev     (dev adds what tests, checks and benchmarks need)
# A second run does nothing: Debian packages that are there are left alone, and .venv carries a stamp.
set -euo pipefail
cd "$(dirname "$0")/.."
mode=${1:-run}

say() { printf '==> %s\n' "$*" >&2; }

packages=(libnftables1 netbase nftables iproute2 python3 python3-venv)
[ "$mode" = dev ] && packages+=(conntrack ethtool gcc libc6-dev procps python3-dev tmux)
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
stamp=.venv/.stamp-$mode
want=$(cat pyproject.toml constraints.txt nftrtsp/__init__.py | sha256sum)
# What dev installs holds all that run needs.
[ "$mode" = run ] && [ "$(cat .venv/.stamp-dev 2>/dev/null)" = "$want" ] && stamp=.venv/.stamp-dev
if [ "$(cat "$stamp" 2>/dev/null)" != "$want" ]; then
  say "making .venv with $($python --version) and what pyproject.toml names ($mode)"
  [ -x .venv/bin/python ] || $python -m venv .venv
  target='.'
  [ "$mode" = dev ] && target='.[dev]'
  .venv/bin/python -m pip install -q --disable-pip-version-check -c constraints.txt -e "$target"
  printf '%s' "$want" >"$stamp"
fi
