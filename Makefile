# Two commands: `make run` and `make test`. Each makes .venv and installs what it needs, once.
SHELL := /bin/bash
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
RUN_STAMP := $(VENV)/.run-$(shell cksum requirements.txt | cut -d' ' -f1)
DEV_STAMP := $(VENV)/.dev-$(shell cat requirements.txt requirements-dev.txt | cksum | cut -d' ' -f1)
UP ?=

.PHONY: run test test-quick setup setup-dev lint bench peers deep clean chromium

run: setup ## start the desk: everything, in one terminal
	@$(BIN)/python manage.py up $(UP)

setup: $(RUN_STAMP) ## install what the product needs

setup-dev: $(DEV_STAMP)

test: setup-dev chromium ## every test; lists loudly what it skipped
	@$(BIN)/python -m tests.run full

test-quick: setup-dev ## the loop of daily work, under two minutes
	@$(BIN)/python -m tests.run quick

lint: setup-dev ## style, types, layers, migrations, templates, docs
	@$(BIN)/python -m tests.run lint

bench: setup-dev ## speeds, one table and bench.json
	@$(BIN)/python -m tests.benchmarks.run

peers: setup-dev ## environments of the peers that benches measure against, apart from ours
	@$(BIN)/python -m tests.benchmarks.peers

deep: setup ## deep learning, optional
	@printf "· installing what deep learning needs (gigabytes) "
	@$(call install,requirements-deep.txt)

# Debian's browser for the tests, where we may install it; without it the browser tests are skipped, loudly
chromium:
	@if ! command -v chromium >/dev/null && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "· installing chromium for the browser tests"; \
	  (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium) >/dev/null 2>&1 \
	  || echo "! chromium could not be installed: the browser tests will be skipped"; fi

$(VENV)/bin/python:
	@command -v $(PYTHON) >/dev/null || { echo "Quarterdeck needs Python 3.11. Fix: install it, or make run PYTHON=/path/to/python3.11"; exit 1; }
	@echo "· making $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv 2>/dev/null || true

$(RUN_STAMP): $(VENV)/bin/python requirements.txt
	@printf "· installing what the product needs (about a minute, once) "
	@$(call install,requirements.txt)
	@rm -f $(VENV)/.run-*; touch $@

$(DEV_STAMP): $(RUN_STAMP) requirements-dev.txt
	@printf "· installing what the tests need "
	@$(call install,requirements-dev.txt)
	@rm -f $(VENV)/.dev-*; touch $@

# uv is several times faster and compiles; pip does it where uv is not to be had.
# Some machines keep Python from writing bytecode: uncompiled, the start takes four times as long.
# Hundreds of lines of packages say less than a row of dots; what the installer complains of is printed. The dots go on
# behind it and not the other way round, so that Ctrl-C ends the installer.
define install
( while kill -0 $$$$ 2>/dev/null; do printf "."; sleep 0.5; done ) & dots=$$!; trap "kill $$dots 2>/dev/null" EXIT; \
if [ -x $(BIN)/uv ]; then VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --compile-bytecode -r $(1); \
else $(BIN)/python -m pip install --disable-pip-version-check --quiet -r $(1) \
  && { PYTHONDONTWRITEBYTECODE= $(BIN)/python -m compileall -q -j 0 $(VENV)/lib >/dev/null || true; }; fi; \
status=$$?; kill $$dots; wait $$dots 2>/dev/null; echo; \
[ $$status = 0 ] || echo "! $(1) could not be installed. Fix: correct what is said above, and run make again"; exit $$status
endef

clean: ## remove what was built (never the state folder)
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
