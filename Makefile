# Needs Python 3.11+ and make. Everything else is installed into .venv and .cache, which `make clean` removes.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$p && break; done)
BIN := .venv/bin
READY := .venv/ready
export PYTHONDONTWRITEBYTECODE :=
export NO_MKDOCS_2_WARNING := 1
export PYRIGHT_PYTHON_CACHE_DIR := $(CURDIR)/.cache/pyright
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.PHONY: help
help: ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

# -- set-up ---------------------------------------------------------------------------------------------------------

.PHONY: venv
venv: $(READY) ## install everything into .venv

$(READY): pyproject.toml .ci/install.py
	@test -n "$(PYTHON)" || { echo "failwell needs Python 3.11 or later; none was found (make PYTHON=/path/to/python)" >&2; exit 2; }
	@$(BIN)/python -c '' 2>/dev/null || { rm -rf .venv && $(PYTHON) -m venv .venv; }
	@echo "installing into .venv (a minute the first time)"
	@$(BIN)/python .ci/install.py
	@touch $@

# -- the site -------------------------------------------------------------------------------------------------------

.PHONY: site build screenshots
site: $(READY) ## build the site, serve it on this machine and print its address
	@$(BIN)/python -m failwell.site serve

build: $(READY) ## build the site into site/
	@$(BIN)/python -m failwell.site build

screenshots: $(READY) ## every page as PNG files, light and dark, phone and desk, into screenshots/
	@$(BIN)/python -m tests.browser.screenshots

# -- checks ---------------------------------------------------------------------------------------------------------

.PHONY: test lint types pytest soak format snippets coverage
test: lint types pytest ## lint, types and all tests

lint: $(READY) ## ruff
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet

types: $(READY) ## mypy and pyright, both strict
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/pyright

pytest: $(READY) ## all tests
	@$(BIN)/pytest -q -m "not soak" -n 2 --dist loadgroup

coverage: $(READY) ## branch coverage, line by line what is missing
	@$(BIN)/pytest -q -m "not soak and not browser" -n 2 --dist loadgroup --cov --cov-report=term-missing:skip-covered

soak: $(READY) ## the long runs
	@$(BIN)/pytest -q -m soak

format: $(READY) ## let ruff lay out and repair what it can
	@$(BIN)/ruff check --quiet --fix-only
	@$(BIN)/ruff format --quiet

snippets: $(READY) ## rewrite the `#>` output of every snippet in docs, README and docstrings
	@$(BIN)/pytest -q tests/snippets -k prints_what_it_says --update-examples

# -- evidence -------------------------------------------------------------------------------------------------------

.PHONY: bench mutants
bench: $(READY) ## measure the overhead per call beside the peers, and record it for the site
	@$(BIN)/python -m failwell.bench --json docs/evidence/benchmark.json

mutants: $(READY) ## mutation testing of kernel and patterns, recorded for the site (three quarters of an hour; goes on where it was stopped)
	@$(BIN)/python .ci/install.py mutants
	@$(BIN)/python .ci/mutants.py $(if $(SAMPLE),--sample $(SAMPLE)) $(MODULES)

# -- upkeep ---------------------------------------------------------------------------------------------------------

.PHONY: pins clean
pins: $(READY) ## resolve every transitive dependency again and pin it in pyproject.toml
	@$(BIN)/python .ci/install.py --pins

clean: ## remove everything that make made
	rm -rf .venv .cache site screenshots docs/assets/vendor .pytest_cache .mypy_cache .ruff_cache .hypothesis
