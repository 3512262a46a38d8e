# Each target does all of its own set-up; nothing is installed twice.
SHELL := /bin/bash
.DEFAULT_GOAL := help
NFTRTSP := .venv/bin/nftrtsp

.PHONY: help setup install uninstall demo test attack check test-kernel bench goldens pictures fuzz lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## install Debian packages and .venv (once)
	@contrib/setup.sh run

install: ## on a router: /opt/nftrtsp, /usr/local/bin/nftrtsp and the systemd units; again to upgrade (needs root)
	@contrib/setup.sh install

uninstall: ## undo that; config, state and the live ruleset stay
	@contrib/setup.sh uninstall

setup-dev:
	@contrib/setup.sh dev

demo: setup ## build the lab, without nftrtsp and with it, and show the film arrive (needs root)
	@$(NFTRTSP) lab demo

test: setup-dev ## unit and integration tests (needs root)
	@contrib/run-tests.sh

attack: setup-dev ## all attacks at once on a router where 20 boxes watch films, ATTACK_SECONDS=600 (needs root)
	@.venv/bin/python -m tests.attacks.long

check: setup-dev ## ruff, mypy strict, import-linter
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

test-kernel: setup-dev ## Debian 12 and 13 kernels in a virtual machine (needs root)
	@tests/kernel/run.sh

bench: setup-dev ## ratios against conntrack(8), pyroute2 and nft(8), into tests/bench/RESULTS.md (needs root)
	@tests/bench/run.sh

fuzz: setup-dev ## coverage-guided fuzzing of all that reads bytes from others
	@tests/fuzz/run.sh

goldens: setup-dev ## write the golden rulesets anew; review the diff
	.venv/bin/python -m tests.unit.goldens

pictures: setup-dev ## draw the dashboard's pictures anew from the recording that ships
	.venv/bin/python -m tests.unit.pictures

lock: ## write requirements/*.txt anew from pyproject.toml and constraints.txt; UPGRADE=1: in the newest versions
	@contrib/lock.sh $(if $(UPGRADE),--upgrade)

clean: ## remove the virtual environment and caches of the checkout
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
