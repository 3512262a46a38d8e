#!/usr/bin/env bash
# The whole test suite, with what was skipped and why. usage: contrib/run-tests.sh [pytest arguments]
# Several processes share the tests ($TEST_PROCESSES), for most of an integration test is waiting. What shares
# a fixture of its file, or a group (pytest.mark.xdist_group), stays in one process.
set -euo pipefail
cd "$(dirname "$0")/.."
[ "$(id -u)" -eq 0 ] || echo "==> not root: the integration tests will be skipped; run it as root for all of them" >&2
exec .venv/bin/python -m pytest -n "${TEST_PROCESSES:-4}" --dist loadgroup "$@"
