# Six words to know: make setup, quickstart, test, test-slow, check, smoke.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

# Where the shell forbids it, each of the processes started here would compile our sources anew.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: setup quickstart test test-slow check schema smoke bench clean

setup: $(READY)  ## create .venv and install everything
$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable . --group dev
	touch $(READY)

quickstart: setup  ## run a whole experiment on drawn faces
	$(BIN)/alo run experiments/quickstart.yaml

test: setup  ## run the tests that need no GPU and at most ten seconds each
	$(BIN)/python -m pytest -q -n 2 -m "not slow"

test-slow: setup  ## run the others: on Ray, killed and begun again, through a server
	$(BIN)/python -m pytest -q -n 2 -m slow

check: setup  ## format, lint, types, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

smoke: setup  ## the shortest run there is: a few seconds, no Ray, no MLflow
	$(BIN)/alo run experiments/tiny/smoke.yaml --root $$(mktemp -d)

schema: setup  ## write the editors' schema of an experiment anew
	$(BIN)/alo config schema > experiments/experiment.schema.json

bench: setup  ## selection, augmentation, training, prediction and round overhead, as ratios
	$(BIN)/python -m benchmarks.selection
	$(BIN)/python -m benchmarks.strategies
	$(BIN)/python -m benchmarks.augmentation
	$(BIN)/python -m benchmarks.pretraining
	$(BIN)/python -m benchmarks.training
	$(BIN)/python -m benchmarks.attacks
	$(BIN)/python -m benchmarks.predicting
	$(BIN)/python -m benchmarks.executors
	$(BIN)/python -m benchmarks.rounds

clean:  ## remove the environment and caches, never runs
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
