#!/usr/bin/env bash
# Fuzz everything that reads bytes from others: each tests/fuzz/fuzz_*.py for INPUTS inputs; and the core of trust
# (tests/unit/trust_model.py) for five steps each, when no target is named.
# usage: tests/fuzz/run.sh [INPUTS [TARGET...]]      (default: 200000 inputs of every target)
# A crash leaves its input in tests/fuzz/crashes and ends with an error. Corpora are kept in $NFTRTSP_CORPUS
# (default: a temporary folder that is removed at the end).
set -euo pipefail
cd "$(dirname "$0")/../.."
inputs=${1:-200000}
[ $# -gt 0 ] && shift
python=.venv/bin/python

if ! $python -c 'import atheris' 2>/dev/null; then
  echo "tests/fuzz: skipped, atheris is not installed (it has wheels for x86_64 only)" >&2
  exit 0
fi

corpus=${NFTRTSP_CORPUS:-}
if [ -z "$corpus" ]; then
  corpus=$(mktemp -d)
  trap 'rm -rf "$corpus"' EXIT
fi

targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(tests/fuzz/fuzz_*.py)
for target in "${targets[@]}"; do
  name=$(basename "$target" .py)
  mkdir -p "$corpus/$name" tests/fuzz/crashes
  echo "==> $name: $inputs inputs" >&2
  status=0
  PYTHONPATH=. $python "$target" -runs="$inputs" -max_len=2048 -timeout=10 -rss_limit_mb=2048 \
    -artifact_prefix=tests/fuzz/crashes/ -print_final_stats=1 -verbosity=0 "$corpus/$name" \
    >"$corpus/$name.log" 2>&1 || status=$?
  if [ "$status" -ne 0 ]; then
    tail -40 "$corpus/$name.log" >&2
    echo "tests/fuzz: $name failed, its input is in tests/fuzz/crashes" >&2
    exit 1
  fi
  grep 'stat::number_of_executed_units' "$corpus/$name.log"
done
if [ $# -eq 0 ]; then
  echo "==> trust_steps: $((5 * inputs)) steps" >&2
  $python -m tests.fuzz.trust_steps $((5 * inputs))
fi
rmdir tests/fuzz/crashes 2>/dev/null || true
