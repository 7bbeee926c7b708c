PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: setup demo test test-faults bench lint fmt docs services serve wheel clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all,test,lint]'
	touch $(STAMP)

demo: setup
	$(BIN)/python examples/demo/demo.py

services:
	@sh .ci/services

test: setup lint
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-faults: setup
	$(BIN)/python -m pytest -n 2 --dist worksteal -m faults --override-ini=addopts="-ra --strict-markers -p no:cacheprovider" tests

bench: setup
	$(BIN)/python -m benchmarks

lint: setup
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python .ci/check_lengths.py

fmt: setup
	$(BIN)/ruff check --fix src tests benchmarks
	$(BIN)/ruff format src tests benchmarks

docs: setup
	$(BIN)/python -m penstock.testing.docs docs

wheel: setup
	$(BIN)/python -m build --wheel

clean:
	rm -rf $(VENV) dist build
