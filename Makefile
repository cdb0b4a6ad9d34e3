# make demo   set up .venv and train on the digits      make test   the same, then the whole test suite
# Any Python from 3.11 on will do; choose one with `make PYTHON=python3.12 demo`.

PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13 python3.14; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
# -qq: errors only
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
BUILD := build/check

.DEFAULT_GOAL := help
.PHONY: help demo test quick lint format types wheel bench asv peers docs pre-commit clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# A stamp for each set of extras, so that pip runs again only after an edit of pyproject.toml.
$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "fastprop needs Python 3.11 or newer; none was found. Try: make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "setting up $(VENV) with $(PYTHON): a minute or two"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml | $(BIN)/python
	@$(PIP) install -e '.[plot]'
	@touch $@

$(VENV)/.test: pyproject.toml $(VENV)/.demo
	@$(PIP) install -e '.[plot,test]'
	@touch $@

$(VENV)/.bench: pyproject.toml $(VENV)/.test
	@$(PIP) install -e '.[bench]'
	@touch $@

$(VENV)/.dev: pyproject.toml $(VENV)/.test
	@$(PIP) install -e '.[dev]'
	@touch $@

$(VENV)/.docs: pyproject.toml $(VENV)/.test
	@$(PIP) install -e '.[docs]'
	@touch $@

demo: $(VENV)/.demo  ## create .venv, install, train on the digits
	@$(BIN)/fastprop demo

# Two processes, a file of tests in each: most tests keep one processor busy (17 minutes one by one, 9 with two).
test: demo $(VENV)/.test  ## the same, then the whole test suite
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

quick: $(VENV)/.test  ## the tests that take seconds
	$(BIN)/python -m pytest -m quick

lint: $(VENV)/.dev  ## ruff: rules and layout
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.dev  ## let ruff lay the code out
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

wheel: $(VENV)/.test  ## build the wheel into dist/
	rm -rf dist build/lib build/bdist.*
	$(PIP) wheel --no-deps -w dist .

# On what the wheel holds, outside the repository's layout: there fastprop.kernels lies where the imports say.
types: $(VENV)/.dev wheel  ## mypy on the built wheel
	rm -rf $(BUILD) && mkdir -p $(BUILD)
	$(PIP) install --no-deps --target $(BUILD) dist/*.whl
	cd $(BUILD) && ../../$(BIN)/mypy --config-file ../../pyproject.toml --cache-dir ../mypy -p fastprop

# BENCH: more options of pytest-benchmark, such as --benchmark-save=before.
bench: $(VENV)/.test  ## time the kernels, one by one
	$(BIN)/python -m pytest -q tests/test_kernel_speed.py --benchmark-only --benchmark-max-time=0.2 \
		--benchmark-columns=min,median,iqr,rounds --benchmark-sort=name $(BENCH)

# ASV: options of `asv run`; ASV= alone runs all of it with good times. asv wants to know the machine first.
ASV ?= --quick
asv: $(VENV)/.bench  ## run the asv suite on what is installed here, each benchmark once
	@test -e ~/.asv-machine.json || $(BIN)/asv machine --yes >/dev/null
	$(BIN)/asv run --python=same $(ASV)

peers: $(VENV)/.test  ## the comparison with the peers that are installed (pip install -e '.[peers]')
	$(BIN)/python benchmarks/peers.py

# GALLERY=0: the scripts of the gallery are shown, not run: a third of the time, and no pictures.
GALLERY ?= 1
docs: $(VENV)/.docs  ## build the documentation, without warnings, and check its links
	rm -rf docs/_build docs/api docs/gallery
	$(BIN)/python -m sphinx -q -W --keep-going -b html -D plot_gallery=$(GALLERY) docs docs/_build/html
	rm -f examples/*.png
	@$(BIN)/python docs/links.py docs/_build/html

pre-commit: $(VENV)/.dev  ## run ruff and mypy before every commit
	$(BIN)/pre-commit install

clean:  ## remove everything that make created, but what asv and pytest-benchmark measured
	rm -rf $(VENV) build dist docs/_build docs/api docs/gallery *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
