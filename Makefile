# Everything a person or CI runs. `make help` lists it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast check bench docs format clean

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(STAMP): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "etlmon needs Python 3.11 or newer: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable . --group dev
	@touch $(STAMP)

demo: $(STAMP) ## a server and real jobs over the shipped data, shown live
	$(BIN)/etlmon demo

# Hundreds of tests start, kill and time real processes. One that fails beside the others is run once more alone, and
# said so: it must pass there, and is worth a look all the same.
test: $(STAMP) ## every test
	$(BIN)/python -m pytest -q -n 2 --dist loadgroup || { test $$? -eq 1 && \
	echo "Once more, alone, what failed beside the others:" && $(BIN)/python -m pytest -q --last-failed; }

test-fast: $(STAMP) ## the tests that take a second or two
	$(BIN)/python -m pytest -q -m "not slow"

check: $(STAMP) ## lint, format, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP) ## speed and memory, as ratios in one run, in one table
	$(BIN)/python -m bench

docs: $(STAMP) ## check that docs, example config and OpenAPI say what the code does
	$(BIN)/python -m pytest -q tests/test_docs.py tests/sdk/test_docs.py tests/core/test_config.py tests/api/test_routes.py

format: $(STAMP) ## put the code into the house's form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove what was made here
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .hypothesis .import_linter_cache dist build
