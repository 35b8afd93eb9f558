# make demo | install | test | docs | check | check-js | bench | bench-scale     (each installs what it needs; the second time is quick)
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime
DEVELOPMENT := $(VENV)/.development
# Python compiles a module when it is first imported; to compile all of them here takes two minutes. It must keep what it
# compiled, also where the environment says not to, as many containers do: without, each process compiles PyTorch again.
export PYTHONDONTWRITEBYTECODE :=
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile
# Options for the installation of PyTorch alone, such as TORCH="--index-url https://download.pytorch.org/whl/cpu".
TORCH ?=
ARGS ?=
WORKERS ?= 2

.PHONY: demo install test docs check check-js bench bench-scale chromium clean

demo: $(RUNTIME)
	$(BIN)/samplescope demo $(ARGS)

install: $(RUNTIME)

$(RUNTIME): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "SampleScope needs Python 3.11 or newer; $$($(PYTHON) --version) was found. Try: make PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || { echo "Creating $(VENV) with $$($(PYTHON) --version)"; $(PYTHON) -m venv $(VENV); } || \
	  { echo "Could not create $(VENV): install venv, on Debian with apt-get install python3-venv."; exit 1; }
	@echo "Installing PyTorch (with its GPU libraries, about 5 GB on disk; the longest step)"
	@$(PIP) $(TORCH) $$($(BIN)/python -c 'import tomllib; \
	  wanted = tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"]; \
	  print(*(each for each in wanted if each.startswith("torch")))')
	@echo "Installing SampleScope and the rest of what it needs (about 1 GB)"
	@$(PIP) --editable .
	@touch $@

# What tests, checks and documentation need beside the runtime.
$(DEVELOPMENT): $(RUNTIME)
	@echo "Installing what the tests, the checks and the documentation need (about 0.7 GB)"
	@$(PIP) --editable '.[test]'
	@touch $@

# The whole suite; ARGS="tests/methods -k fsi" runs a part, of which either half may be empty (pytest's exit code 5). A
# worker runs neighbors, which share fixtures, and takes over half of what is left to another when it is done. Pages are
# not opened beside the other half, whose trainings may take longer than the tests wait for a page.
EMPTY_IF_PART = || { code=$$?; test $$code -eq 5 -a -n "$(ARGS)"; }
test: $(DEVELOPMENT) chromium
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not browser" $(or $(ARGS),--ignore=tests/browser) $(EMPTY_IF_PART)
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m browser $(or $(ARGS),tests/browser) $(EMPTY_IF_PART)

# The documentation, built into site/ without a network; a broken link or name is an error.
docs: $(DEVELOPMENT)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict $(ARGS)

check: $(DEVELOPMENT)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@mkdir -p .make && ln -sfn ../app .make/samplescope_app  # the app under the name that it is imported by
	MYPYPATH=.make $(BIN)/mypy --num-workers $(WORKERS)
	$(BIN)/lint-imports

# The types of the app's JavaScript, by its comments; nothing is built. It needs npm, which nothing else does.
check-js:
	npx --yes --package typescript@5.9 tsc --project app/components/gallery/jsconfig.json

bench: $(DEVELOPMENT)
	$(BIN)/python -m tests.benchmarks.fsi $(ARGS)
	$(BIN)/python -m tests.benchmarks.fsi_scaling
	$(BIN)/python -m tests.benchmarks.hydra
	$(BIN)/python -m tests.benchmarks.influence
	$(BIN)/python -m tests.benchmarks.app
	$(BIN)/python -m tests.benchmarks.live
	$(BIN)/python -m tests.benchmarks.live --features 1025
	$(BIN)/python -m tests.benchmarks.estimate
	$(BIN)/python -m tests.benchmarks.stages

# Large datasets, for ten minutes and more; ARGS="--data-root DIR" adds MNIST.
bench-scale: $(DEVELOPMENT)
	$(BIN)/python -m tests.benchmarks.scale $(ARGS)

# A browser for the tests: the system's, else Debian's package, else Playwright's own.
chromium: $(DEVELOPMENT)
	@sh tests/install_chromium.sh $(BIN)/python

clean:
	rm -rf $(VENV) build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .make
