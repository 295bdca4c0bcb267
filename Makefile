# Every target sets up what it needs. `make help` lists them.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := client
.PHONY: help client demo test lint check-generated mock contract build clean lock unit spec-lint wheel-test

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "  make %-16s %s\n", $$1, $$2}'

# One environment from hash-checked pins; made anew when the pins change, so nothing stale stays in it.
$(READY): requirements.lock
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and f"Python 3.11 or newer is needed; $(PYTHON) is {v.major}.{v.minor}. Try: make PYTHON=python3.11")'
	@echo "setting up $(VENV) from requirements.lock (once; about half a minute)"
	@$(PYTHON) -m venv --clear $(VENV) || { echo "python cannot make an environment; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@$(PY) -m pip install --quiet --require-hashes --no-deps --requirement requirements.lock
	@$(PY) -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

client: $(READY) ## regenerate generated/ from openapi.yaml, if anything changed (the default)
	@$(PY) codegen/generate.py

check-generated: $(READY) ## exit 1 if generated/ is not what openapi.yaml makes
	@$(PY) codegen/generate.py --check
