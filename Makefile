# Debian's python3 is 3.11; where several Pythons stand beside each other, that one is taken.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
CODE := $(foreach folder,src tests benchmarks examples .ci,$(if $(shell find $(folder) -name "*.py" 2>/dev/null | head -1),$(folder)))
PYTEST := $(BIN)/python -m pytest -n 2 --dist worksteal

.PHONY: setup demo test test-faults bench lint fmt docs services serve wheel clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt .ci/setup
	@PYTHON="$(PYTHON)" VENV="$(VENV)" sh .ci/setup
	@touch $(STAMP)

demo: setup
	$(BIN)/python examples/demo/demo.py

services:
	@PYTHON="$(PYTHON)" sh .ci/services

test: setup lint services
	$(PYTEST)

test-faults: setup services
	$(PYTEST) -m faults

bench: setup
	@PYTHON="$(PYTHON)" sh .ci/services bench
	$(BIN)/python -m benchmarks $(BENCH)

lint: setup
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy $(filter-out .ci,$(CODE))
	$(BIN)/lint-imports
	$(BIN)/python .ci/check_lengths.py

fmt: setup
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

docs: setup services
	$(BIN)/python -m tests.pages

wheel: setup
	$(BIN)/python -m build --wheel

clean:
	sh .ci/services stop
	rm -rf $(VENV) dist build
