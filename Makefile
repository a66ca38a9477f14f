# `make` alone tells what there is. Needs python3 (3.11 or newer) and make; the rest installs itself.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
SEED ?= 1
HOURS ?= 24
MUTMUT := 3.8.1

BIN := .venv/bin
UV := .cache/uv/bin/uv
export UV_PYTHON_DOWNLOADS := never
export UV_NO_PROGRESS := 1
# Coverage, caches and stamps lie in one folder that may be thrown away at any time.
export COVERAGE_FILE := $(CURDIR)/.cache/coverage
export RUFF_CACHE_DIR := $(CURDIR)/.cache/ruff

LOCK := $(UV) pip compile --quiet --universal --generate-hashes --no-header --no-annotate -p 3.11

ROOMS := $(wildcard function_app.py wiring.py settings.py) scaler colibri compute state page cli cloud_init sandbox bench tests

# Every line and branch of these is covered: a decision that no test has seen must not delete a bridge.
PURE := model policy decision lifecycle demand selection limits recycle canary images window scale_in scale_out watch decide explain reflect passive process health noticed commands floors orders doctor preflight advice sheet samples hours costs minutes days boots exposition
PURE_FILES := $(wildcard $(PURE:%=scaler/%.py))
comma := ,
empty :=
space := $(empty) $(empty)

.PHONY: help setup run serve sim machines mutants recount compare bench test lint fmt lock clean

help: ## Show this list
	@echo "jvb-autoscaler: make <target>"
	@sed -nE 's/^([a-z]+):.*## (.*)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 12
	@echo
	@echo "  New here: 'make run' shows a simulated day, 'make test' proves that all is well."
	@echo "  The first of either installs what it needs into .venv, .cache and node_modules."

setup: .cache/python.stamp .cache/npm.stamp ## Install everything (the other targets do it as needed)

run: setup ## Show a simulated day; SEED=1 HOURS=24 choose which and how long
	@$(BIN)/python -m sandbox.day --seed $(SEED) --hours $(HOURS)

serve: setup ## Keep the app up over a simulated day, for the command line and the page; SPEED=30 PORT=7071
	@$(BIN)/python -m sandbox.serve --seed $(SEED) --speed $(or $(SPEED),30) --port $(or $(PORT),7071) \
	    --hours $(if $(filter file,$(origin HOURS)),8,$(HOURS))

sim: setup ## Live through disasters; SEEDS=1000 FIRST=1 HOURS=4 (of faults each) WITH=kind of fault, on all cores
	@$(BIN)/python -m sandbox.sim --seeds $(or $(SEEDS),1000) --first $(or $(FIRST),1) --hours $(if $(filter file,$(origin HOURS)),4,$(HOURS)) $(if $(WITH),--with $(WITH))

machines: setup ## Play the state machines of life, lease and protocol anew for longer; EXAMPLES=1000
	@EXAMPLES=$(or $(EXAMPLES),1000) $(BIN)/python -m pytest tests/simulation -k "TestLife or TestLease or TestProtocol"

mutants: setup ## Change the pure rooms line by line and see which tests notice; MODULES="selection"
	@$(UV) venv --quiet --allow-existing --python $(BIN)/python .cache/mutmut
	@$(UV) pip sync --quiet --python .cache/mutmut/bin/python --require-hashes requirements-dev.txt
	@$(UV) pip install --quiet --python .cache/mutmut/bin/python mutmut==$(MUTMUT)
	@nice .cache/mutmut/bin/python -m sandbox.mutants $(MODULES)

recount: setup ## Count a week of usage once more, from the simulated world (1 min); RECOUNT_HOURS=168
	@RECOUNT_HOURS=$(or $(RECOUNT_HOURS),168) nice $(BIN)/python -m pytest tests/scaler/test_reckon.py -k lived

compare: setup ## Compare with other policies on seeded weeks (5 min) and write docs/comparison.*; SEEDS=2
	@$(BIN)/python -m sandbox.compare --seeds $(or $(SEEDS),2) --docs docs

bench: setup ## Measure what the app costs against floors (15 min) and write bench/results.md, docs/cost.md; RUNS=1
	@$(BIN)/python -m bench --runs $(or $(RUNS),1)

test: setup lint ## Check style, types and imports, then run all tests with coverage
	@$(BIN)/python -m pytest --cov --cov-report=
	@$(BIN)/python -m coverage report --include=$(subst $(space),$(comma),$(strip $(PURE_FILES))) --show-missing \
	    --fail-under=100 > .cache/pure-coverage.log || { echo "The pure part is not fully tested:"; cat .cache/pure-coverage.log; exit 1; }

lint: setup
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .
	@$(BIN)/mypy --cache-dir .cache/mypy --no-error-summary $(ROOMS)
	@$(BIN)/lint-imports --cache-dir .cache/import-linter > .cache/imports.txt || { cat .cache/imports.txt; exit 1; }

fmt: setup ## Format the code and mend what can be mended
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format --quiet .

lock: .cache/uv.stamp .cache/python.stamp ## Resolve the newest allowed versions into the lock files
	@$(LOCK) --upgrade requirements-dev.in -o requirements-dev.txt
	@$(LOCK) requirements.in -c requirements-dev.txt -o requirements.txt
	@$(LOCK) --upgrade requirements-uv.in -o requirements-uv.txt
	@PATH="$(CURDIR)/$(BIN):$$PATH" npm install --package-lock-only --loglevel=error

clean: ## Remove what setup installed
	rm -rf .venv .cache node_modules

# --- set-up, each step once -----------------------------------------------------------------

.cache/uv.stamp: requirements-uv.txt
	@mkdir -p .cache
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "Python 3.11 or newer is needed; say which: make PYTHON=python3.13" >&2; exit 1; }
	@echo "setup: uv"
	@$(PYTHON) -m venv --clear .cache/uv 2> .cache/venv.txt || { cat .cache/venv.txt >&2; \
	    echo "Python has no venv: install your system's package python3-venv" >&2; exit 1; }
	@.cache/uv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.txt
	@touch $@

.cache/python.stamp: .cache/uv.stamp requirements-dev.txt
	@echo "setup: Python packages"
	@[ -x $(BIN)/python ] || $(UV) venv --quiet --python "$$(command -v $(PYTHON))" .venv
	@$(UV) pip sync --quiet --python $(BIN)/python --require-hashes requirements-dev.txt
	@printf '#!/bin/sh\nPYTHONPATH="%s" exec "%s/$(BIN)/python" -m cli "$$@"\n' "$(CURDIR)" "$(CURDIR)" > $(BIN)/jvb-autoscaler
	@chmod +x $(BIN)/jvb-autoscaler
	@touch $@

.cache/npm.stamp: .cache/python.stamp package.json package-lock.json .npmrc $(wildcard sandbox/npm_absent/*)
	@echo "setup: Azurite"
	@PATH="$(CURDIR)/$(BIN):$$PATH" npm ci --loglevel=error > /dev/null
	@touch $@
