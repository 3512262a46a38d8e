#!/usr/bin/env bash
# The tests that need other kernels than this machine's: Debian 12 (6.1) and Debian 13 (6.12), each in a virtual machine,
# and the DKMS script in a copy of Debian 12. usage: tests/kernel/run.sh [pytest arguments]      (root)
#
# The first run builds the images (images.sh: a few minutes); later ones boot them at once. Ends with the counts of all.
set -euo pipefail
cd "$(dirname "$0")/../.."
[ "$(id -u)" -eq 0 ] || { echo "tests/kernel/run.sh: this needs root, to build images and to make namespaces" >&2; exit 1; }

results=$(mktemp -d)
children=()
finish() {
  [ ${#children[@]} -eq 0 ] || { kill "${children[@]}" 2>/dev/null && wait; } || true
  rm -rf "$results"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# In the background and waited for, so that a signal to this script is acted on at once.
begin() { "$@" & children+=($!); }
finished() { local child; for child in "${children[@]}"; do wait "$child" || status=$?; done; children=(); }
status=0

started=$SECONDS
begin tests/kernel/images.sh >/dev/null
finished
[ "$status" -eq 0 ] || exit "$status"

mkdir "$results/dkms"
echo "==> contrib/dkms/install.sh in a copy of Debian 12"
NFTRTSP_DKMS_OUT=$results/dkms begin .venv/bin/python -m pytest -q --junitxml="$results/dkms.xml" "$@" \
  tests/kernel/test_dkms.py
finished

# Side by side: a guest has one processor. A line tells by its first word whose it is.
guest() {
  RESULTS=$results exec tests/kernel/guest.sh "$1" python3 -m pytest -v -p no:cacheprovider --durations=5 \
    --junitxml="/results/$1.xml" "${@:2}" tests/kernel/guest > >(exec sed -u "s/^/$1: /")
}
echo "==> the same tests in virtual machines with Debian 12 (bookworm) and Debian 13 (trixie)"
export NFTRTSP_GUEST_SECONDS=2400
begin guest bookworm "$@"
begin guest trixie "$@"
finished

.venv/bin/python -m tests.kernel.counts "$results" "$((SECONDS - started))" dkms bookworm trixie
