# Everything a person types here. `make` alone lists the targets.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test slow ray load chaos fuzz screenshots lint format bench-indexer bench-distill clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt -e '.[indexer,service,distill,demo,dev]'
	@touch $@

setup: $(INSTALLED)  ## make the virtual environment with all extras

demo: $(INSTALLED)  ## the whole way, small: corpus, index, transfer sets, students, a table of who won
	$(BIN)/transferset demo

# A core a test file, one thread each: two processes of two threads each would wait for one another on two cores.
test: $(INSTALLED)  ## pass the tests
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n auto --maxprocesses 4 --dist loadfile

slow: $(INSTALLED)  ## the tests that take minutes
	$(BIN)/pytest -q -m 'slow and not ray'

ray: $(INSTALLED)  ## the tests that need Ray (240 MB), on clusters of two one-core nodes, killed and cut
	$(BIN)/pip install --quiet -c constraints.txt -e '.[ray]'
	$(BIN)/pytest -q -m ray

load: $(INSTALLED)  ## the service under load: throughput beside the library's, tails, overload, building beside a script
	$(BIN)/pip install --quiet -c constraints.txt -e '.[bench]'
	$(BIN)/python -m benchmarks.service

chaos: $(INSTALLED)  ## 200 kills of api and workers in the midst of jobs, on SQLite and PostgreSQL: nothing lost, nothing twice
	$(BIN)/python -m benchmarks.chaos --kills 200
	$(BIN)/python -m benchmarks.pickup

fuzz: $(INSTALLED)  ## 20,000 requests by schemathesis and 10,000 mutated uploads: no server error, no hang, bounded memory
	$(BIN)/python -m benchmarks.fuzz

screenshots: $(INSTALLED)  ## docs/screenshots anew, out of the console's tests (needs Chromium)
	TRANSFERSET_SCREENSHOTS=1 $(BIN)/pytest -q -m '' tests/service/console

lint: $(INSTALLED)  ## ruff, mypy --strict and the import rules
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports

format: $(INSTALLED)  ## let ruff format and mend
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .

bench-indexer: $(INSTALLED)  ## lexical search, indexing, encoding and dense search beside their peers
	$(BIN)/pip install --quiet -c constraints.txt -e '.[bench,ray]'
	$(BIN)/python -m benchmarks.lexical
	$(BIN)/python -m benchmarks.encoding
	$(BIN)/python -m benchmarks.dense
	$(BIN)/python -m benchmarks.engines

bench-distill: $(INSTALLED)  ## training beside Hugging Face's Trainer, labelling, memory; a student beside its teacher in every form
	$(BIN)/python -m benchmarks.training
	$(BIN)/python -m benchmarks.labelling
	$(BIN)/python -m benchmarks.streaming
	$(BIN)/python -m benchmarks.shipping

clean:  ## remove the virtual environment (artifacts stay)
	rm -rf $(VENV)
