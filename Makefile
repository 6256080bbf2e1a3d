# Thin aliases. Every target does the set-up that it needs; the environment is .venv, the command .venv/bin/perennial.
SHELL := /bin/bash
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: setup demo up down status test lint bench lock
.DEFAULT_GOAL := setup

setup: $(READY)  ## install everything into .venv

$(READY): requirements.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "error: Python 3.11 is needed; got none called $(PYTHON); allowed: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "error: Python 3.11 is needed; got $$($(PYTHON) --version)" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "error: Python's venv module is needed; on Debian: apt-get install python3.11-venv" >&2; exit 2; }
	@awk '/^[^ #]/ {wanted = /^uv==/} wanted' requirements.txt > $(VENV)/uv.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r $(VENV)/uv.txt
	@echo "installing $$(grep -c '==' requirements.txt) packages into $(VENV)"
	@test -t 2 || quiet=--quiet; $(BIN)/uv pip sync $$quiet --require-hashes --python $(BIN)/python requirements.txt
	$(BIN)/uv pip install --quiet --no-deps --no-build-isolation --python $(BIN)/python --editable .
	@echo "compiling bytecode, once"
	@$(BIN)/python -m compileall -q -j 0 $(VENV)/lib/python3.11/site-packages >/dev/null || true
	@touch $(READY)

demo: $(READY)  ## watch the whole loop on real weather; options: make demo ARGS="--weeks 8"
	$(BIN)/perennial demo $(ARGS)

up: $(READY)  ## start the stack
	$(BIN)/perennial up $(ARGS)

down: $(READY)  ## stop the stack
	$(BIN)/perennial down $(ARGS)

status: $(READY)  ## show the stack
	$(BIN)/perennial status $(ARGS)

lint: $(READY)  ## format, lint, types, layers, schemas
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports --verbose
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yaml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml

# Airflow wants its environment before its first import, and the real stack wants the machine for itself.
test: lint  ## set-up, lint, every test
	$(BIN)/pytest -m "not stack" --ignore tests/dags
	$(BIN)/pytest tests/dags -W default  # the warnings of Airflow are not ours to mend
	$(BIN)/pytest -m stack --ignore tests/dags

bench: $(READY)  ## ours beside peers in one run; one part alone: make bench ARGS=detection
	$(BIN)/python -m benchmarks $(ARGS)

lock: $(READY)  ## compile requirements.in into requirements.txt
	$(BIN)/uv pip compile requirements.in -o requirements.txt --python-version 3.11 --generate-hashes --quiet --no-annotate --no-header $(ARGS)
