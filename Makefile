# Every command a newcomer or CI needs. `make demo` and `make test` do all the set-up themselves.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= $(shell for name in python3 python3.14 python3.13 python3.12 python3.11; do \
    "$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$name" && break; done)
BIN := .venv/bin
LOCK := $(BIN)/uv pip compile -q --generate-hashes --universal --python-version 3.11 --custom-compile-command "make lock"
WORKERS ?= 3

.PHONY: help demo test check screenshots bench setup versions lock clean

help:
	@echo "make demo         a real fleet on this machine, with load, and the console on it"
	@echo "make test         set-up, make check, and every test against real servers"
	@echo "make check        format, lint, types, import contracts"
	@echo "make bench        speed, as ratios in one run"
	@echo "make screenshots  the pictures in screenshots/, from a real lab fleet"
	@echo "make lock         write requirements/*.txt anew"

setup:
	@test -n "$(PYTHON)" || { echo "set-up: Pooldeck needs Python 3.11 or newer on the PATH" >&2; exit 1; }
	@$(PYTHON) -m console.lab.provision
	@$(PYTHON) -m console.lab.venv
	@# Where PYTHONDONTWRITEBYTECODE is set, every start of `pooldeck` would compile all of it anew.
	@$(BIN)/python -m compileall -q console widgets tests

versions: setup
	@$(PYTHON) -m console.lab.provision --versions

demo: setup
	@$(BIN)/pooldeck lab demo

test: versions check
	$(BIN)/pytest -n $(WORKERS) --dist loadgroup

check: setup
	$(BIN)/ruff format --check console widgets tests screenshots
	$(BIN)/ruff check console widgets tests screenshots
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

screenshots: setup
	$(BIN)/python screenshots/make.py

bench: versions
	$(BIN)/python -m tests.bench

lock: setup
	$(LOCK) requirements/uv.in -o requirements/uv.txt
	$(LOCK) pyproject.toml -o requirements/run.txt
	$(LOCK) pyproject.toml --group dev -c requirements/run.txt -o requirements/dev.txt

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
