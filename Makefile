# make install | demo | test | check | bench     (each makes what it needs; the second time is quick)
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
ARGS ?=

.PHONY: install demo test check bench chromium clean

install: $(INSTALLED)

# Torch first and alone: on a machine without a GPU, point PIP_INDEX_URL at a CPU build if you want a smaller one.
$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "SampleScope needs Python 3.11 or newer; $$($(PYTHON) --version) was found. Try: make PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
	  { echo "Could not make $(VENV): install venv, on Debian with apt-get install python3-venv."; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

demo: install
	$(BIN)/samplescope demo $(ARGS)

# The whole suite, with the browser; ARGS="tests/methods -k fsi" runs a part.
test: install chromium
	$(BIN)/python -m pytest $(ARGS)

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: install
	$(BIN)/python -m tests.benchmarks.fsi $(ARGS)
	$(BIN)/python -m tests.benchmarks.fsi_scaling
	$(BIN)/python -m tests.benchmarks.hydra
	$(BIN)/python -m tests.benchmarks.influence
	$(BIN)/python -m tests.benchmarks.app
	$(BIN)/python -m tests.benchmarks.live
	$(BIN)/python -m tests.benchmarks.live --features 1025
	$(BIN)/python -m tests.benchmarks.estimate

# A browser for the tests: the system's, else Debian's package, else Playwright's own.
chromium: install
	@sh tests/install_chromium.sh $(BIN)/python

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
