#!/usr/bin/env bash
# The tests that need other kernels than this machine's: Debian 12 (6.1) and Debian 13 (6.12), each in a virtual machine,
# and the DKMS script in a copy of Debian 12. usage: tests/kernel/run.sh [pytest arguments]      (root)
#
# The first run builds the images (images.sh: a few minutes); later ones boot them at once. Ends with the counts of all.
set -euo pipefail
cd "$(dirname "$0")/../.."
[ "$(id -u)" -eq 0 ] || { echo "tests/kernel/run.sh: this needs root, to build images and to make namespaces" >&2; exit 1; }

results=$(mktemp -d)
child=
finish() {
  [ -z "$child" ] || { kill "$child" 2>/dev/null && wait "$child"; } || true
  rm -rf "$results"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# In the background and waited for, so that a signal to this script is acted on at once.
run() { "$@" & child=$!; wait "$child" && status=0 || status=$?; child=; }

started=$SECONDS
run tests/kernel/images.sh >/dev/null
[ "$status" -eq 0 ] || exit "$status"

mkdir "$results/dkms"
echo "==> contrib/dkms/install.sh in a copy of Debian 12"
NFTRTSP_DKMS_OUT=$results/dkms run .venv/bin/python -m pytest -q --junitxml="$results/dkms.xml" "$@" \
  tests/kernel/test_dkms.py
for suite in bookworm trixie; do
  echo "==> $suite in a virtual machine"
  RESULTS=$results run tests/kernel/guest.sh "$suite" python3 -m pytest -v -p no:cacheprovider --durations=5 \
    --junitxml="/results/$suite.xml" "$@" tests/kernel/guest
done
.venv/bin/python -m tests.kernel.counts "$results" "$((SECONDS - started))" dkms bookworm trixie
