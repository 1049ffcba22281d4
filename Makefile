# Every install step is here or in .ci/run; nothing else is needed on a fresh machine with Python 3.11 or newer.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help run run-cluster run-demo test faults lint bench lock reference simulate jepsen chaos

help: ## Show these targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-12s %s\n", $$1, $$2}'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements.lock pyproject.toml | $(BIN)/python
	$(BIN)/pip install -q --require-hashes -r requirements.lock
	$(BIN)/pip install -q --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: requirements-dev.lock pyproject.toml | $(BIN)/python
	$(BIN)/pip install -q --require-hashes -r requirements-dev.lock
	$(BIN)/pip install -q --no-deps --no-build-isolation -e .
	@touch $@ $(VENV)/.run

run: $(VENV)/.run ## Start the embedded server: one process, no services needed
	@exec $(BIN)/opsconductor up $(ARGS)

run-cluster: $(VENV)/.run ## Start Kafka, Postgres and Redis natively and every role as its own process; Ctrl-C stops all
	@exec $(BIN)/opsconductor cluster $(ARGS)

run-demo: $(VENV)/.run ## Start a server and an sshd of their own and run a job on it, with live output
	@exec $(BIN)/opsconductor demo $(ARGS)

test: $(VENV)/.dev ## Run all tests, two processes at a time, against real Kafka, Postgres, Redis and sshd (ARGS="-n 0 -s tests/api" for some)
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

faults: $(VENV)/.dev ## The long forms: 200 runs while roles are killed again and again, 200 kills of the embedded server; minutes each
	$(BIN)/pytest -s -m faults $(ARGS)

lint: $(VENV)/.dev ## Check style, types and imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.dev ## Measure ours beside a rival or the physical limit: make bench ARGS="commands --json out.json"
	$(BIN)/python -m bench $(ARGS)

simulate: $(VENV)/.dev ## Seeded simulation on the memory log, a process a processor: make simulate SEEDS=100000 for a night
	$(BIN)/python -m tests.simulate $(or $(SEEDS),1000) $(ARGS)

jepsen: $(VENV)/.dev ## Real Kafka while everything goes wrong: make jepsen ARGS="--minutes 15 --brokers 3" (5 minutes, 1 broker)
	$(BIN)/python -m tests.jepsen $(ARGS)

chaos: $(VENV)/.dev ## Real runs over SSH while everything is killed, frozen and restarted: make chaos ARGS="--runs 500 --minutes 12"
	$(BIN)/python -m tests.chaos $(ARGS)

reference: $(VENV)/.dev ## Generate docs/reference and schemas/published anew from the tables in code
	$(BIN)/opsconductor reference

lock: ## Resolve the lock files anew (needs uv)
	uv pip compile --universal --python-version 3.11 -q --generate-hashes --no-emit-index-url --no-annotate --no-header --extra build pyproject.toml -o requirements.lock
	uv pip compile --universal --python-version 3.11 -q --generate-hashes --no-emit-index-url --no-annotate --no-header --extra dev pyproject.toml -o requirements-dev.lock
