# Every command a newcomer or CI needs. `make demo` and `make test` do all the set-up themselves.
SHELL := /bin/bash
PY := .venv/bin/python

.PHONY: check lock
check:
	.venv/bin/ruff format --check console widgets tests
	.venv/bin/ruff check console widgets tests
	.venv/bin/mypy
	.venv/bin/lint-imports --no-cache

lock:
	uv pip compile -q --generate-hashes --universal --python-version 3.11 --custom-compile-command "make lock" \
	    pyproject.toml -o requirements/run.txt
	uv pip compile -q --generate-hashes --universal --python-version 3.11 --custom-compile-command "make lock" \
	    pyproject.toml --group dev -c requirements/run.txt -o requirements/dev.txt
