# `make train` trains the default network, `make test` runs every check. Both make .venv first if
# need be, with only the packages that they use; nothing else has to be installed but
# Python >= 3.11, make and git.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check \
	--constraint constraints.txt --editable

.PHONY: train test check install clean

train: $(VENV)/package
	$(BIN)/python -m kan_exp.train

test: $(VENV)/development check
	$(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder

check: $(VENV)/development
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

install: $(VENV)/development

$(VENV)/package: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP_INSTALL) .
	@touch $@

$(VENV)/development: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP_INSTALL) '.[dev]'
	@touch $(VENV)/package $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "kan_exp needs Python 3.11 or newer: set PYTHON=... to one."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' \
		|| { echo "$(PYTHON) has no venv module: install it (on Debian: python3-venv)."; exit 1; }
	$(PYTHON) -m venv $(VENV)

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache
