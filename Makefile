# Development tasks. "make" alone prints help.
# Requires Python 3.11 or newer, make and git; everything else is installed into .venv from a lock file with hashes.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
LOCKS  := requirements-demo.lock requirements-dev.lock
MADE   := $(VENV)/.made-$(shell cat $(LOCKS) | cksum | tr ' ' -)
DEMO   := $(VENV)/.demo
LOCKED := $(VENV)/.locked
READY  := $(VENV)/.ready
PEERS  := .venv-peers
WORKERS ?= 4
MARKERS ?= not slow
TESTS  ?=
VERSIONS ?=

.DEFAULT_GOAL := help
.PHONY: help install demo test test-unit test-faults test-matrix test-python soak bench bench-quick bench-peers check format man pictures package release lock clean

help:  ## Print this help
	@sed -n 's/^\([a-z-]*\):.*##/\1 ##/p' $(MAKEFILE_LIST) | awk -F ' ## ' '{printf "  make %-11s %s\n", $$1, $$2}'

install: $(READY)  ## Create the virtual environment .venv

INSTALL_COMMAND = $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .

# The demo needs a few packages only. Those of everything else come on top, into the same environment. It is made anew when
# the content of a lock file changes, not its time, which git changes too.
$(MADE):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "cdc-bridge needs Python 3.11 or newer, but $(PYTHON) is $$($(PYTHON) --version 2>&1). Choose another: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "Creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv --clear $(VENV) || \
	  { echo "$(PYTHON) cannot create virtual environments. On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@touch $@

$(DEMO): $(MADE)
	@$(BIN)/python tests/support/install_locked.py requirements-demo.lock
	@$(INSTALL_COMMAND)
	@touch $@

$(LOCKED): $(MADE)
	@$(BIN)/python tests/support/install_locked.py requirements-dev.lock
	@touch $@ $(DEMO)

$(READY): $(LOCKED) pyproject.toml
	@$(INSTALL_COMMAND)
	@touch $@
	@echo "Installed. To have cdc-bridge in this shell: . $(VENV)/bin/activate"

demo: $(DEMO)  ## Run the demo: the whole bridge on this machine
	@$(BIN)/python -m cdc_bridge demo $(DEMO_FLAGS)

test-unit: $(READY)  ## Run the unit tests (no database; a minute or two)
	@$(BIN)/python -m pytest tests/unit -n 2 --dist worksteal

test: $(READY)  ## Run the tests but the slow ones, or some: make test TESTS="tests/e2e -k status -n 2"
	@$(BIN)/python -m pytest $(if $(TESTS),$(TESTS),-n $(WORKERS) --dist worksteal -m "$(MARKERS)")

test-faults: $(READY)  ## Run the fault tests at full length (about an hour on two cores)
	@CDC_BRIDGE_TEST_LENGTH=long $(BIN)/python -m pytest $(if $(TESTS),$(TESTS),tests/faults tests/unit -n 2 --dist worksteal)

test-matrix: $(READY)  ## Run the database tests on PostgreSQL 15 to 18, and 19 if there is one: VERSIONS="15 18" TESTS="tests/e2e"
	@$(BIN)/python -m tests.support.matrix $(if $(VERSIONS),--versions $(VERSIONS)) -- $(TESTS)

test-python: $(READY)  ## Run the tests that depend on Python on each of 3.12 to 3.14 that is installed: VERSIONS=3.13
	@$(BIN)/python -m tests.support.pythons $(if $(VERSIONS),--versions $(VERSIONS)) -- $(TESTS)

soak: $(READY)  ## Run 10,000 endpoints for 30 minutes while things break: SOAK_FLAGS="--minutes 5 --endpoints 100"
	@$(BIN)/python -m tests.soak $(SOAK_FLAGS)

bench: $(READY)  ## Run the benchmark (about an hour)
	@$(BIN)/python -m tests.bench $(BENCH_FLAGS)

bench-quick: $(READY)  ## Run a short benchmark (about ten minutes), to compare two versions
	@$(BIN)/python -m tests.bench --quick $(BENCH_FLAGS)

bench-peers: $(READY) $(PEERS)/.ready  ## Measure the bridge beside other ways to post changes (half an hour; 300 MB of packages)
	@$(BIN)/python -m tests.bench.peers $(BENCH_FLAGS)

$(PEERS)/.ready: tests/bench/peers/requirements.txt
	@echo "Creating $(PEERS); these packages are not among the locked ones, and nothing else uses them"
	@$(PYTHON) -m venv --clear $(PEERS)
	@$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

check: $(READY)  ## Check format, lint, types, imports and SQL
	@$(BIN)/ruff format --check || { echo "make format formats them."; exit 1; }
	@$(BIN)/ruff check || { echo "make format mends what can be mended without a decision."; exit 1; }
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@for text in install uninstall; do \
	  sql=$$($(BIN)/cdc-bridge $$text --print) && \
	  printf '%s\n' "$$sql" | grep -v '^\\' | $(BIN)/squawk --config sql/.squawk.toml --stdin-filepath "$$text" || exit 1; done
	@$(BIN)/squawk --config sql/.squawk.toml sql/ops/*.sql $(wildcard sql/migrations/*.sql)

format: $(READY)  ## Format the code and apply safe lint fixes
	@$(BIN)/ruff format
	@$(BIN)/ruff check --fix

man: $(READY)  ## Generate the man page and the tables in README and the guides
	@$(BIN)/python -m tests.support.man_page
	@$(BIN)/python -m tests.support.guide_tables

pictures: $(READY)  ## Take the pictures of the dashboard in README and the operator guide (needs Chromium)
	@$(BIN)/python -m tests.support.pictures

package: $(READY)  ## Build wheel and sdist in dist/
	@$(BIN)/python -m hatchling build --directory dist

release: check man  ## Check, build and tag the version that the code names; publishes nothing
	@$(BIN)/python -m tests.support.release

COMPILE = $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
  --no-emit-find-links --no-annotate --custom-compile-command "make lock" --quiet

lock: $(READY)  ## Upgrade the locked dependencies
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(COMPILE) --extra dev --upgrade -o requirements-dev.lock
	@printf 'hatchling\neditables\n' | $(COMPILE) - --extra demo --constraint requirements-dev.lock -o requirements-demo.lock
	@$(COMPILE) --extra receive --constraint requirements-dev.lock -o cdc_bridge/packaging/requirements.lock

clean:  ## Remove the virtual environments, builds and caches
	@rm -rf $(VENV) .venv-* dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
