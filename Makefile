# All set-up is done here: `make demo` and `make test` work on a fresh checkout with Python >= 3.11.

PYTHON ?= python3
BIN := .venv/bin
OUT ?= demo
JOBS ?= 2
BENCHMARKS ?= augmentation curves losses

.DEFAULT_GOAL := help
.PHONY: help demo test check docs bench

help:
	@echo "make demo   make sample images, train on them for two minutes, evaluate and predict"
	@echo "make test   run the tests ($(JOBS) at a time; JOBS=N changes that)"
	@echo "make check  formatting, lint, types, import layers"
	@echo "make docs   write the reference of all settings anew"
	@echo "make bench  run the benchmarks (quiet machine, minutes)"

demo: .venv/.installed
	$(BIN)/delineate demo --out $(OUT)

test: .venv/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile

check: .venv/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: .venv/.installed
	$(BIN)/python docs/write_settings.py
	$(BIN)/python docs/write_schema.py

bench: .venv/.installed-dev
	for name in $(BENCHMARKS); do $(BIN)/python benchmarks/$$name.py || exit 1; done

.venv/bin/python:
	@command -v $(PYTHON) >/dev/null || { \
	  echo "There is no '$(PYTHON)' here: install Python 3.11 or newer, or say 'make PYTHON=/path/to/python'."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$$($(PYTHON) --version) is too old: install Python 3.11 or newer, or say 'make PYTHON=/path/to/python'."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) cannot make virtual environments: on Debian or Ubuntu run 'apt-get install python3-venv'."; exit 1; }
	$(PYTHON) -m venv .venv

.venv/.installed: pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/pip install --quiet -c constraints.txt -e .
	@touch $@

.venv/.installed-dev: pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	@touch .venv/.installed $@
