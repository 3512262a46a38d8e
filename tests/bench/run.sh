#!/usr/bin/env bash
# Run the benchmarks one after the other; each writes its section of tests/bench/RESULTS.md.
# usage: tests/bench/run.sh [bench_*.py...]      (default: all of them). Needs root.
set -euo pipefail
cd "$(dirname "$0")/../.."
[ "$(id -u)" -eq 0 ] || { echo "tests/bench: needs root: network namespaces and conntrack" >&2; exit 1; }
scripts=("$@")
[ ${#scripts[@]} -gt 0 ] || scripts=(tests/bench/bench_*.py)
failed=()
for script in "${scripts[@]}"; do
  name=$(basename "$script" .py)
  echo "==> $name" >&2
  .venv/bin/python -m "tests.bench.$name" || failed+=("$name")
done
if [ ${#failed[@]} -gt 0 ]; then
  echo "tests/bench: a bar was missed or a run failed in: ${failed[*]}" >&2
  exit 1
fi
