# `make demo` and `make test` need Python 3.11 or later and make; the rest is made here.
PYTHON ?= python3
# Another Python has an environment of its own: `make test PYTHON=python3.12` makes .venv-3.12.
VENV ?= .venv$(if $(filter-out python3,$(PYTHON)),-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])'))
BIN := $(VENV)/bin

NOTEBOOKS ?= cache

.PHONY: help install demo docs zoo test slow fuzz mutants bench check format lint types lock interface dist clean

help:  ## what can be made
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

install: $(VENV)/installed  ## a virtual environment with everything in it

$(VENV)/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "ltm_pyro needs Python 3.11 or later (make PYTHON=python3.12 ...)"'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	@# Its note on editable installs: Python started in the folder that holds the clone finds that.
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[plots,flows,trackers,quality,storage]' --group dev
	@touch $@

demo: install  ## train, score and sample on the embedded corpus (minutes)
	$(BIN)/ltm demo

# NOTEBOOKS=off leaves the tutorials unrun.
docs: $(VENV)/docs  ## the documentation as a site, into build/docs (the first time minutes; NOTEBOOKS=off)
	LTM_DOCS_NOTEBOOKS=$(NOTEBOOKS) $(BIN)/python -m sphinx -W --keep-going -b html docs build/docs

$(VENV)/docs: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group docs
	@touch $@

zoo: install  ## every prior with every guide, into docs/results/zoo.md (ten minutes or more)
	mkdir -p docs/results
	$(BIN)/python -m ltm_pyro.experiments.zoo --processes 2 --out docs/results/zoo.md

test: install  ## all tests but the slow ones
	$(BIN)/python -m pytest

slow: install  ## the statistical checks at full size, and the rest of sweeps
	$(BIN)/python -m pytest -m slow

fuzz: install  ## a million inputs of every kind: success or an error of ours, never a traceback
	$(BIN)/python -m tests.fuzzing 1000000 --state build/fuzzing.json

mutants: install  ## what tests would not notice in bounds, programs and diagnostics (hours; goes on)
	$(BIN)/python -m tests.mutate --minutes 600

bench: install  ## what an iteration costs against plain torch (two minutes; then ltm-s, longer)
	$(BIN)/python -m benchmarks --shape small
	$(BIN)/python -m benchmarks --shape ltm-s
	@if $(BIN)/python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then \
		$(BIN)/python -m benchmarks.throughput; fi

check: lint types test  ## format, lint, types and tests

lint: install  ## whether the code is in form
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

format: install  ## put the code in form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The type checker cannot follow models/ and guides/ to their places in the package, so it reads
# the package as it is installed.
types: install  ## check types
	rm -rf build/types build/lib
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --target build/types .
	cd build/types && $(if $(filter /%,$(VENV)),,../../)$(BIN)/mypy --config-file ../../pyproject.toml -p ltm_pyro

interface: install  ## record names and signatures, once the changelog tells what changed of them
	$(BIN)/python -m tests.interface --renew

lock:  ## every version of constraints.txt and of what it needs, into requirements.lock (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --all-extras --group dev --group docs --constraint constraints.txt --no-annotate --custom-compile-command 'make lock' --output-file requirements.lock pyproject.toml

dist: install  ## a source distribution and a wheel, into dist/
	rm -rf dist
	$(BIN)/python -m build --outdir dist

clean:  ## remove the environment and what was built
	rm -rf $(VENV) build dist *.egg-info
