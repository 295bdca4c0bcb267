# Every target sets up what it needs. `make help` lists them.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := client
.PHONY: help client demo test lint check-generated breaking mock contract mutants bench build clean lock

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "  make %-16s %s\n", $$1, $$2}'

# One environment from hash-checked pins; made anew when the pins change, so nothing stale stays in it.
$(READY): requirements.lock
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and f"Python 3.11 or newer is needed; $(PYTHON) is {v.major}.{v.minor}. Try: make PYTHON=python3.11")'
	@echo "setting up $(VENV) from requirements.lock (once; about half a minute)"
	@$(PYTHON) -m venv --clear $(VENV) || { echo "python cannot make an environment; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@$(PY) -m pip install --quiet --require-hashes --no-deps --requirement requirements.lock
	@printf '%s\n' "$(CURDIR)/src" "$(CURDIR)/generated" > "$$($(PY) -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/checkout.pth"
	@touch $@

client: $(READY) ## regenerate generated/ from openapi.yaml, if anything changed (the default)
	@$(PY) codegen/generate.py

check-generated: $(READY) ## exit 1 if generated/ is not what openapi.yaml makes
	@$(PY) codegen/generate.py --check

# The names of git's branches may have what is the shell's.
breaking: export REF := $(value BASE)
breaking: check-generated ## say what the changes since an earlier commit break, and for whom (BASE=v0.1.0)
	@$(PY) codegen/breaking.py -- "$$REF"

demo: $(READY) ## start the mock, call both operations, show a refused call, stop
	@$(PY) -m huaweicloud_retry.demo

mock: $(READY) ## run the mock server until Ctrl-C (HOST=127.0.0.1 PORT=8000)
	@$(PY) -m huaweicloud_retry.mock --host $(or $(HOST),127.0.0.1) --port $(or $(PORT),8000)

lint: $(READY) ## ruff, mypy --strict, pyright
	@$(PY) -m ruff check
	@$(PY) -m ruff format --check
	@$(PY) -m mypy
	@$(PY) -m basedpyright

contract: $(READY) ## property-test the contract against the mock (EXAMPLES=300 SEED=1, or SEED=random); with URL= and TAG=, hold a live endpoint to it
	@$(PY) -m tests.contract.$(if $(URL),live,suite)

mutants: $(READY) ## break server, spec and client on purpose, and see that the contract suite finds it
	@$(PY) -m tests.mutants.run

bench: $(READY) ## measure our speed beside that of others (needs wrk, and the npm registry; ROUNDS=5 ONLY="call-token mock-start"); PUBLISH=yes puts it into the README
	@$(if $(filter yes,$(PUBLISH)),$(if $(ROUNDS)$(ONLY),$(error PUBLISH=yes is for all rows with the default rounds: leave out ROUNDS and ONLY)))
	@$(PY) -m tests.benchmarks.bench $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(ONLY),--only $(ONLY))
	@$(if $(filter yes,$(PUBLISH)),$(PY) -m tests.benchmarks.publish)

build: $(READY) ## the wheel and the source archive, under dist/
	@rm -rf dist && $(PY) -m hatchling build

test: lint check-generated ## everything: lint, generated tree current, all tests, the built wheel in a clean environment
	@$(PY) -m pytest

lock: $(READY) ## pin the newest versions that pyproject.toml allows in requirements.lock
	@$(PY) -m pip install --quiet uv==0.13.9
	@$(PY) -m uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --all-extras --group dev \
		--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" --upgrade --output-file requirements.lock

clean: ## remove the environment and everything built
	@rm -rf $(VENV) .codegen .generated-* dist reports .hypothesis .mypy_cache .pytest_cache .ruff_cache .schemathesis
