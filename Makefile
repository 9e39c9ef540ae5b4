# SPDX-License-Identifier: MIT
#
# make run     an example on http://127.0.0.1:8000        (python3 ≥ 3.11 and make are all it needs)
# make test    every check and every test
#
# Everything is installed into .venv, and again only when pyproject.toml has changed. Other variables:
# PYTHON, the interpreter that makes .venv; EXAMPLE, BIND and OPTIONS of `make run`; PYTEST_ARGS.

PYTHON  ?= python3
EXAMPLE ?= hello
BIND    ?= 127.0.0.1:8000
OPTIONS ?=
PYTEST_ARGS ?=
CONFORMANCE_ARGS ?=

VENV := .venv
BIN  := $(VENV)/bin
PIP  := $(BIN)/python -m pip --disable-pip-version-check --quiet

# An example is a module of examples/, or a folder there with an app.py, and maybe a trioserve.toml.
APP  = $(if $(wildcard examples/$(EXAMPLE)/app.py),app:app --app-dir examples/$(EXAMPLE),$(EXAMPLE):app --app-dir examples)
TOML = $(addprefix --config ,$(wildcard examples/$(EXAMPLE)/trioserve.toml))

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test test-fast lint format coverage conformance bench clean

help: ## What there is
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1 \2/p' Makefile | awk '{ printf "%s %-11s", $$1, $$2; $$1 = $$2 = ""; print }'

run: $(VENV)/examples.stamp ## An example on 127.0.0.1:8000 (EXAMPLE=hello BIND=… OPTIONS=…)
	$(BIN)/trioserve $(APP) $(TOML) --bind $(BIND) $(OPTIONS)

test: lint ## Every check and every test
	$(BIN)/python -m pytest $(PYTEST_ARGS)

test-fast: $(VENV)/dev.stamp ## The tests that take less than half a second, without the variants
	$(BIN)/python -m pytest -m "not slow" $(PYTEST_ARGS)

lint: $(VENV)/dev.stamp ## Style, types and the floors
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/dev.stamp ## Rewrite the code as `make lint` wants it
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

coverage: $(VENV)/dev.stamp ## Lines and branches that no test reaches, processes included
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(PYTEST_ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

conformance: $(VENV)/dev.stamp ## The 517 cases of the Autobahn test suite, over each WebSocket engine
	$(BIN)/python -m tests.conformance.autobahn $(CONFORMANCE_ARGS)

bench: ## Measure against other servers, in .venv-bench (docs/benchmarking.md)
	$(PYTHON) benchmarks/run.py

clean: ## Remove all that make has made
	rm -rf $(VENV) .venv-bench .coverage .coverage.* htmlcov build dist
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find trioserve tests examples benchmarks docs -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is newer than what its environment was made from. An install that was interrupted leaves
# none, and is done again.
$(VENV)/pip.stamp:
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "trioserve needs Python 3.11 or later; name one: make PYTHON=python3.12 …" >&2; exit 2; }
	@"$(PYTHON)" -c 'import ensurepip, venv' || { \
		echo "$(PYTHON) has no venv; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 2; }
	@echo "Making $(VENV)"
	@"$(PYTHON)" -m venv $(VENV)
	@$(PIP) install --upgrade 'pip>=25.1'
	@touch $@

$(VENV)/%.stamp: $(VENV)/pip.stamp pyproject.toml
	@echo "Installing trioserve and its group $* into $(VENV)"
	@$(PIP) install --editable . --group $*
	@touch $@

.PRECIOUS: $(VENV)/%.stamp
