# make test    everything, from nothing: linters, types, tests (on the built wheel)
# make demo    vendor, pack and invoke examples/tiler, and print what was saved
# make clean   remove what these made
#
# Only Python (3.11 or newer), pip, make and git are needed; PYTHON=... chooses another Python.

PYTHON ?= python3
# By file, since the tests of one file share what is slow to make; PYTEST_ARGS="-n 0 ..." for one.
PYTEST_ARGS ?= -n auto --dist loadfile
VENV := .venv
BIN := $(VENV)/bin
DEMO := .demo
SOURCES := pyproject.toml $(wildcard README.md LICENSE) \
	$(shell find src -type f ! -name '*.pyc')

# What the caller's shell says must not reach the tools: the tests would import another lambdaslim.
unexport PYTHONPATH PYTHONHOME PYTHONSTARTUP
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore

.PHONY: help test lint types tests wheel demo clean
.DELETE_ON_ERROR:

help:
	@sed -n 's/^# \{0,1\}//p' Makefile | sed '/^$$/,$$d'

test: lint types tests

lint: $(VENV)/.wheel
	@echo "== lint"
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --quiet --check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/python scripts/build_runtimes.py --check
	$(BIN)/python scripts/docs_reference.py --check

types: $(VENV)/.wheel
	@echo "== types"
	$(BIN)/mypy

tests: $(VENV)/.wheel
	@echo "== tests"
	$(BIN)/python -m pytest $(PYTEST_ARGS)

wheel: $(VENV)/.wheel

# A file in the environment marks each step as done; a step is redone when what it read has changed.
$(VENV)/.made:
	@echo "== environment in $(VENV)"
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("lambdaslim needs Python 3.11 or newer: make PYTHON=...")'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	@touch $@

# The groups change only together with pyproject.toml, which also changes for other reasons; pip
# then finds everything installed and is done in a second.
$(VENV)/.tools: $(VENV)/.made pyproject.toml
	@echo "== development tools"
	$(BIN)/python -m pip install --quiet --group dev
	@touch $@

# The wheel is built from the sdist, so the tests also prove that the sdist is complete.
$(VENV)/.wheel: $(VENV)/.tools $(SOURCES)
	@echo "== wheel"
	@rm -rf dist
	$(BIN)/python -m build --quiet --no-isolation --outdir dist .
	$(BIN)/python -m pip install --quiet dist/*.whl
	@# Again, because pip takes the same version for the same wheel.
	$(BIN)/python -m pip install --quiet --force-reinstall --no-deps dist/*.whl
	@touch $@

$(DEMO)/.made: $(SOURCES)
	@echo "== environment in $(DEMO)/venv"
	$(PYTHON) -m venv --clear $(DEMO)/venv
	$(DEMO)/venv/bin/python -m pip install --quiet .
	@touch $@

demo: $(DEMO)/.made
	$(DEMO)/venv/bin/python scripts/demo.py

clean:
	rm -rf $(VENV) $(DEMO) .cache dist build
	rm -rf .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find src tests scripts benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} +
