#!/usr/bin/env bash
# Write requirements/{run,dev}.txt: what pyproject.toml names and what that needs in turn, the build tools among it, in the
# versions of constraints.txt, each with the hashes of all its files; one file serves each Python and each architecture.
# usage: contrib/lock.sh [--upgrade]     (--upgrade: the newest versions, which are written to constraints.txt, too)
set -euo pipefail
cd "$(dirname "$0")/.."
uv=uv==0.13.9 # makes the files; nothing else needs it

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
/usr/bin/python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q --disable-pip-version-check --only-binary=:all: "$uv"

/usr/bin/python3 -c 'import tomllib
for one in tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"]: print(one)' >"$work/build.in"

# compile NAME CONSTRAINTS [OPTION...]
compile() {
  echo "# What nftrtsp $1 needs. Made by \`make lock\`; versions are chosen in constraints.txt." >"$work/$1.txt"
  "$work/venv/bin/uv" pip compile -q --no-config --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
    -c "$2" "${@:3}" pyproject.toml "$work/build.in" >>"$work/$1.txt"
}

constraints=constraints.txt
if [ "${1:-}" = --upgrade ]; then
  constraints=$work/none
  touch "$constraints"
fi
compile dev "$constraints" --extra dev
[ "$constraints" = constraints.txt ] || grep -o '^[^# ]*==[^\\]*' "$work/dev.txt" | sed 's/ *$//' >constraints.txt
compile run constraints.txt
mkdir -p requirements
mv "$work"/{run,dev}.txt requirements
