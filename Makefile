# Two commands on a fresh machine: make demo, make test. Both set everything up in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CORE := .venv-core
PIP := -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test bench clean

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("amiss needs Python 3.10 or newer, this is " + sys.version if sys.version_info < (3, 10) else 0)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python $(PIP) -e ".[demo]"
	touch $@

$(VENV)/.dev: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python $(PIP) -e ".[dev,train]"
	touch $@

# what a factory PC gets: no torch, no development tools
$(CORE)/.core: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(CORE)
	$(CORE)/bin/python $(PIP) -e .
	touch $@

demo: $(VENV)/.demo
	$(BIN)/python examples/solar_cells.py

test: $(VENV)/.dev $(CORE)/.core
	$(BIN)/ruff check src tests examples benchmarks
	$(BIN)/ruff format --check src tests examples benchmarks
	$(BIN)/mypy
	$(BIN)/pytest
	$(BIN)/python -m tests.without_torch fit build/without_torch
	$(CORE)/bin/python -m tests.without_torch judge build/without_torch
	$(BIN)/pytest -m real

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/speed.py

clean:
	rm -rf $(VENV) $(CORE) build/without_torch demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
