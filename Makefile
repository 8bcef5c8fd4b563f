# cdc-bridge: everything that is done with a checkout. "make" alone lists it.
# Needs Python 3.11 or newer, make and git; the rest is put into .venv from a locked list with hashes.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
LOCKED := $(VENV)/.locked
READY  := $(VENV)/.ready
TESTS  ?=
VERSIONS ?=

.DEFAULT_GOAL := help
.PHONY: help install demo test test-faults test-matrix bench bench-quick check format man package lock clean

help:  ## List what can be done
	@sed -n 's/^\([a-z-]*\):.*##/\1 ##/p' $(MAKEFILE_LIST) | awk -F ' ## ' '{printf "  make %-11s %s\n", $$1, $$2}'

install: $(READY)  ## Make the virtual environment .venv

$(LOCKED): requirements-dev.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "cdc-bridge needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) --version 2>&1). Name another: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "Making $(VENV) with $$($(PYTHON) --version) (once; about a minute)"
	@$(PYTHON) -m venv --clear $(VENV) || \
	  { echo "$(PYTHON) cannot make virtual environments. On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

$(READY): $(LOCKED) pyproject.toml
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(READY)  ## Show the whole bridge at work on this machine, and break it
	@$(BIN)/cdc-bridge demo $(DEMO_FLAGS)

test: $(READY)  ## Run the tests, all or some: make test TESTS="tests/capture -k position"
	@$(BIN)/python -m pytest $(if $(TESTS),$(TESTS),-n 3 --dist worksteal)

test-faults: $(READY)  ## Break everything that can break, at length (some 20 minutes), and show the figures
	@CDC_BRIDGE_TEST_LENGTH=long $(BIN)/python -m pytest $(if $(TESTS),$(TESTS),tests/faults -n 2 --dist worksteal)

test-matrix: $(READY)  ## Test with PostgreSQL 15, 17 and 18, all or some: VERSIONS="15 18" TESTS="tests/capture"
	@$(BIN)/python -m tests.support.matrix $(if $(VERSIONS),--versions $(VERSIONS)) -- $(TESTS)

bench: $(READY)  ## Measure what it costs and how fast it is, beside references (some 20 minutes)
	@$(BIN)/python -m tests.bench $(BENCH_FLAGS)

bench-quick: $(READY)  ## The same in three minutes, to see whether a change went the right way
	@$(BIN)/python -m tests.bench --quick $(BENCH_FLAGS)

check: $(READY)  ## Run the gates: format, lint, types, imports, SQL
	@$(BIN)/ruff format --check
	@$(BIN)/ruff check
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@for text in install uninstall; do \
	  sql=$$($(BIN)/cdc-bridge $$text --print) && \
	  printf '%s\n' "$$sql" | $(BIN)/squawk --config sql/.squawk.toml --stdin-filepath "$$text" || exit 1; done
	@$(BIN)/squawk --config sql/.squawk.toml sql/ops/*.sql $(wildcard sql/migrations/*.sql)

format: $(READY)  ## Format the code and mend what the linter can
	@$(BIN)/ruff format
	@$(BIN)/ruff check --fix

man: $(READY)  ## Generate the man page and the tables in README and the guides
	@$(BIN)/python -m tests.support.man_page
	@$(BIN)/python -m tests.support.guide_tables

package: $(READY)  ## Make the wheel, in dist/
	@$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir dist .
	@ls dist/*.whl

lock: $(READY)  ## Choose newer versions of the dependencies and lock them
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --upgrade --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --no-annotate --custom-compile-command "make lock" --quiet -o requirements-dev.lock

clean:  ## Remove the virtual environment and what the tools left
	@rm -rf $(VENV) dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
