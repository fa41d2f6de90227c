# `make up` runs the server, `make test` runs its tests. Nothing else has to be installed first but
# Python 3.11 with venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
TESTED := $(VENV)/.installed-for-tests

# The last of them for balance: two suites run at a time.
PARTS := tests/protocol tests/simulation tests/storage tests/services tests/federation \
	tests/integration/test_every_way_of_telling.py tests/integration/test_visibility_on_every_way.py

# Whoever has it set for their own work: a server that compiles its modules anew takes twice as long to start.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: up test test-homeserver test-conversations test-parts lint interop browser clients crash attack bench demo stay clean

up: $(INSTALLED) ## run the server with the configuration in ./data, written if there is none
	$(BIN)/comity up

test: $(TESTED) ## the tests that need nothing but this machine, two suites at a time
	$(MAKE) --no-print-directory -j2 test-homeserver test-conversations test-parts

test-homeserver: $(TESTED)
	$(BIN)/python -m pytest tests --ignore=tests/interop --ignore=tests/browser --ignore=tests/crash \
		--ignore=tests/attack --ignore=tests/clients --ignore=tests/conversations \
		$(addprefix --ignore=,$(PARTS)) -q

test-conversations: $(TESTED)
	$(BIN)/python -m pytest tests/conversations -q

test-parts: $(TESTED)
	$(BIN)/python -m pytest $(PARTS) -q

lint: $(TESTED) ## style, types, and which part may import which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

interop: $(TESTED) ## other people's clients and servers: matrix-nio, Synapse
	$(BIN)/python -m pytest tests/interop -q

browser: $(TESTED) ## the user's page in Chromium (the machine's, or: playwright install --with-deps chromium)
	$(BIN)/python -m pytest tests/browser -q

clients: $(TESTED) ## the clients of the Conversations API (TypeScript's needs Node 20)
	$(BIN)/python -m pytest tests/clients -q

crash: $(TESTED) ## kill -9 under load
	$(BIN)/python -m pytest tests/crash -q

attack: $(TESTED) ## a hostile instance with a thousand users
	$(BIN)/python -m pytest tests/attack -q

bench: $(TESTED) ## figures beside Synapse's, on this machine
	$(BIN)/python -m benchmarks

demo: $(INSTALLED) ## two throw-away instances, step by step
	$(BIN)/comity demo

stay: $(INSTALLED) ## two throw-away instances that stay, to try the Conversations API
	$(BIN)/comity demo --stay

clean: ## forget what was installed; ./data stays
	rm -rf $(VENV)

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(INSTALLED): pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --editable .
	touch $@

$(TESTED): pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --editable '.[test,lint,interop]'
	touch $(INSTALLED) $@
