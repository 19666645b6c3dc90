# `make train` and `make test` set up everything they need.

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
BIN := $(VENV)/bin
# Newer than setup.py once its packages are installed.
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help train test test-faults test-containers test-tpu .venv-tpu lint bench dist clean
.DELETE_ON_ERROR:

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/'

train: $(INSTALLED)  ## Train the default recipe; ARGS="--config=mnist_dense" for another
	$(BIN)/python -m trainer $(ARGS)

test: lint  ## Check the code and run every test; ARGS="-k config" for some
	$(BIN)/python -m pytest tests/unit --numprocesses=2 --dist=loadfile $(ARGS)
	$(BIN)/python -m pytest tests/cluster tests/faults --numprocesses=2 --dist=loadfile $(ARGS)

test-faults: $(INSTALLED)  ## Kill, cut off and damage many more runs; most of an hour
	$(BIN)/python -m pytest tests/faults tests/cluster --long $(ARGS)

test-containers: $(INSTALLED)  ## Build the image and run the compose files, where a Docker engine answers
	$(BIN)/python -m pytest tests/containers --timeout=900 $(ARGS)

test-tpu: .venv-tpu  ## Compile and run the TPU's programs without one; needs 500 MB of packages of its own
	.venv-tpu/bin/python -m pytest tests/tpu tests/unit/strategies/tpu/runtime_test.py \
	  tests/unit/strategies/tpu/connect_test.py $(ARGS)

lint: $(INSTALLED)  ## Check style, types and spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell

bench: $(INSTALLED)  ## Measure this trainer and its peers; ARGS="--tables=one_process --rounds=1" for less
	$(BIN)/python -m benchmarks.run $(ARGS)

dist: $(INSTALLED)  ## Build the source distribution and the wheel, in dist/
	$(BIN)/python -m build --no-isolation

clean:  ## Remove what make and the tools created, but no runs
	rm -rf $(VENV) .venv-bench .venv-tpu build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): setup.py
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo 'Muster needs Python 3.11 to 3.13. Received: $(PYTHON); try make PYTHON=python3.12' >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@# Before 23.3 pip does not find an extra of two words.
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=24'
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

# In an environment of its own, as tensorflow-tpu overwrites the files of tensorflow.
.venv-tpu: .venv-tpu/.installed
.venv-tpu/.installed: setup.py
	test -x .venv-tpu/bin/python || $(PYTHON) -m venv .venv-tpu
	.venv-tpu/bin/python -m pip install --quiet --upgrade 'pip>=24'
	MUSTER_TENSORFLOW=tensorflow-tpu .venv-tpu/bin/python -m pip install --quiet --editable '.[dev,tpucheck]'
	@touch $@
