# Every target sets up what it needs. `make help` lists them.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
DEV := $(VENV)/.ready-dev
DOCS := $(VENV)/.ready-docs
# One more worker than cores: some tests wait for a process or a timeout.
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
# What make lint checks the types of. The tests take long, so make test-slow checks theirs.
TYPED := src generated codegen examples tests/typing
VERSION := -c 'import sys; print(*sys.version_info[:2], sep=".")'
# Keep bytecode: otherwise each of a thousand processes would compile all libraries again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := client
.PHONY: bench breaking build check-generated clean client contract demo docs docs-serve help imports lint lock
.PHONY: mock mutants mypy pyright ruff spec test test-slow

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | \
		awk -F'|' '{printf "  make %-16s %s\n", $$1, $$2}'

# `make PYTHON=python3.14` makes a new environment, if the present one has another version.
ifneq ($(filter command environment,$(origin PYTHON)),)
ifneq ($(shell $(PYTHON) $(VERSION)),$(shell test -e $(READY) && $(PY) $(VERSION)))
$(shell rm -f $(READY))
endif
endif

$(READY): requirements.lock requirements-uv.lock
	@$(PYTHON) codegen/environment.py requirements.lock
	@touch $@

$(DEV): $(READY) requirements-dev.lock
	@$(PYTHON) codegen/environment.py requirements-dev.lock
	@touch $(READY) $@

$(DOCS): $(READY) requirements-docs.lock
	@$(PYTHON) codegen/environment.py requirements-docs.lock
	@touch $@

client: $(READY) ## regenerate generated/ from openapi.yaml, if anything changed (the default)
	@$(PY) codegen/generate.py

check-generated: $(READY) ## fail if generated/ does not match openapi.yaml
	@$(PY) codegen/generate.py --check

# Through the environment, since names of branches may have characters that the shell interprets.
breaking: export REF := $(value BASE)
breaking: $(DEV) check-generated ## list breaking changes since a commit, and who is affected (BASE=HEAD~1)
	@$(PY) codegen/breaking.py -- "$$REF"

demo: $(READY) ## start the mock, call both operations, show a refused call, stop
	@$(PY) -m huaweicloud_retry.demo

mock: $(READY) ## run the mock server until Ctrl-C (HOST=127.0.0.1 PORT=8000)
	@$(PY) -m huaweicloud_retry.mock --host $(or $(HOST),127.0.0.1) --port $(or $(PORT),8000)

lint: $(DEV) ## openapi.yaml, ruff, mypy --strict, pyright, import rules
	@$(MAKE) --no-print-directory --jobs=2 --output-sync spec ruff imports mypy pyright

spec: $(READY)
	@$(PY) codegen/generate.py --lint

ruff: $(DEV)
	@$(PY) -m ruff check --quiet && $(PY) -m ruff format --check --quiet

mypy: $(DEV)
	@$(PY) -m mypy $(TYPED)

pyright: $(DEV)
	@$(PY) -m basedpyright $(TYPED)

imports: $(DEV)
	@$(VENV)/bin/lint-imports --no-logo --no-cache

# Your own mock: URL= STATE=FILE CREDENTIALS=FILE (sends retries). A live endpoint, with care: URL= TAG=.
contract: $(DEV) ## test the mock against the contract (EXAMPLES=50 SEED=1, or SEED=random)
	@$(PY) -m tests.contract.$(if $(URL),$(if $(STATE),suite,live),suite)

mutants: $(DEV) ## mutation score of the contract tests: server, spec, client (EVERY=10: a tenth)
	@PYTHONPATH=codegen $(PY) -m tests.mutants.run

# ROUNDS=5, ONLY="call-token mock-start"; PUBLISH=yes puts the table into docs/performance.md.
bench: $(DEV) ## measure our speed and that of alternatives (needs wrk, and the npm registry)
	@$(if $(filter yes,$(PUBLISH)),$(if $(ROUNDS)$(ONLY),$(error PUBLISH=yes: omit ROUNDS and ONLY)))
	@$(PY) -m tests.benchmarks.bench $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(ONLY),--only $(ONLY))
	@$(if $(filter yes,$(PUBLISH)),$(PY) -m tests.benchmarks.publish)

build: $(DEV) ## the wheel and the source archive, under dist/
	@rm -rf dist && $(PY) -m hatchling build

test: lint check-generated ## everything except test-slow (WORKERS=2 PYTHON=python3.13)
	@$(PY) -m pytest --numprocesses $(WORKERS)

test-slow: $(DEV) ## types of the tests; contract seeds, mutants, kills, soak, browser, benchmarks
	@$(MAKE) --no-print-directory --jobs=2 --output-sync TYPED=tests mypy pyright
	@SIGNATURES=1000 EXAMPLES=50 RESPONSES=2500 $(PY) -m pytest --numprocesses $(WORKERS) tests/slow \
		tests/contract/test_client.py tests/e2e/test_official_sdk.py tests/unit/test_client.py

# --strict checks links and references, but does not fail on griffe's warnings about docstrings.
docs: $(DOCS) ## build the documentation into site/, and fail on any warning
	@out=$$($(VENV)/bin/zensical build --clean --strict 2>&1); built=$$?; printf '%s\n' "$$out"; \
		test $$built = 0 && ! printf '%s' "$$out" | grep -q '^griffe'

docs-serve: $(DOCS) ## serve the documentation and rebuild it on each change (PORT=8000)
	@$(VENV)/bin/zensical serve --dev-addr 127.0.0.1:$(or $(PORT),8000)

PIN = $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" \
	$(if $(filter yes,$(UPGRADE)),--upgrade)
lock: $(READY) ## pin the requirements of pyproject.toml in the four locks (UPGRADE=yes: newest versions)
	@$(PIN) pyproject.toml --all-extras --group dev --output-file requirements-dev.lock
	@$(PIN) pyproject.toml --all-extras --group codegen --constraint requirements-dev.lock \
		--output-file requirements.lock
	@$(PIN) --group docs --constraint requirements-dev.lock --output-file requirements-docs.lock
	@$(PIN) --group setup --output-file requirements-uv.lock

clean: ## remove the environment and everything built
	@rm -rf $(VENV) .codegen .generated-* .cache dist reports site .grimp_cache .hypothesis .mypy_cache \
		.pytest_cache .ruff_cache .schemathesis
