# Every target sets up .venv by itself: all packages from requirements.lock, checked by hash, then this project, editable.
# PYTHON=/path/to/python chooses the interpreter of a new .venv; to change that of an existing one, `make clean` first.

SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHONS := python3.12 python3.11 python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input --quiet

.PHONY: help venv run test test-full chaos lint audit format lock manifests docs bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

venv: $(VENV)/.ready ## set up .venv

run: $(VENV)/.ready ## simulate a fleet, run the dataflow with recovery on and say where things are
	$(BIN)/python -m dataflows demo

# Compiled once, not in each worker and in each process that a test starts, whatever the machine says.
export PYTHONDONTWRITEBYTECODE :=

# A worker more than there are cores, since tests wait for brokers and processes now and then; `make test WORKERS=0` runs them in one
# process, as a debugger wants it.
WORKERS := $(shell echo $$(($$(getconf _NPROCESSORS_ONLN) + 1)))

# The tests that run: all but the long ones, of which .ci/run leaves out only the longest.
MARKS := not full and not ci

test: $(VENV)/.ready ## run the tests (PYTEST_FLAGS="-k name" narrows them)
	$(BIN)/python -m pytest -m "$(MARKS)" -n $(WORKERS) $(PYTEST_FLAGS)

test-full: $(VENV)/.ready ## run every test, the long versions too, with 10,000 examples a property
	HYPOTHESIS_PROFILE=full $(BIN)/python -m pytest --timeout=3600 -n $(WORKERS) $(PYTEST_FLAGS)

chaos: $(VENV)/.ready ## kill runs and a Kafka broker under load (CHAOS_FLAGS="--seed 7 --kills 30 --broker-kills 3")
	$(BIN)/python -m tests.chaos.kafka $(CHAOS_FLAGS)

lint: $(VENV)/.ready ## check style, format, types and the borders between packages
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

audit: $(VENV)/.ready ## ask PyPI for known vulnerabilities of what the package needs, and write build/sbom.json
	$(BIN)/python .ci/audit.py

format: $(VENV)/.ready ## mend what ruff can mend
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

lock: $(VENV)/.ready ## bring the lock files up to pyproject.toml (LOCK_FLAGS=--upgrade: newest versions)
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --fork-strategy fewest --generate-hashes \
		--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" --quiet \
		$(LOCK_FLAGS) --output-file requirements.lock
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --fork-strategy fewest --generate-hashes \
		--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" --quiet \
		--constraint requirements.lock --output-file requirements-run.lock

manifests: $(VENV)/.ready ## write the dashboards of the chart, and render k8s/manifests from it
	$(BIN)/python -m tests.k8s.dashboards
	$(BIN)/python -m tests.k8s.manifests

docs: $(VENV)/.ready ## build the documentation as a site into build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo "build/site/index.html"

bench: $(VENV)/.ready ## run the benchmarks
	$(BIN)/python -m benchmarks

clean: ## remove .venv, caches and build output; data, outputs and recovery stores stay
	rm -rf $(VENV) build dist *.egg-info .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Two stamps: a new lock rebuilds .venv from nothing (so that nothing dropped stays), a new pyproject.toml
# only renews the project's own install. The ignored warning is about editable installs in general, and would be all that a first
# `make run` prints for a while.
$(VENV)/.locked: requirements.lock
	@for candidate in $(or $(PYTHON),$(PYTHONS)); do \
		if "$$candidate" -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' \
			>/dev/null 2>&1; then python="$$candidate"; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
		echo 'make: no Python 3.11 or 3.12 with venv among:' $(or $(PYTHON),$(PYTHONS)) >&2; \
		echo 'make: install one, or name it: make PYTHON=/path/to/python3.12' >&2; \
		exit 1; \
	fi; \
	echo "Setting up $(VENV) with $$("$$python" --version)" && "$$python" -m venv --clear $(VENV)
	$(PIP) install --require-hashes --requirement requirements.lock
	@touch $@

$(VENV)/.ready: $(VENV)/.locked pyproject.toml
	PYTHONWARNINGS='ignore:Editable installation' $(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@
