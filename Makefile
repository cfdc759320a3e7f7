# `make` and one Python from 3.10 to 3.13 are enough: everything else is fetched. CONTRIBUTING.md says what needs more.

LOCAL ?=
REMOTE ?=
KEEP ?=
PYTEST_ARGS ?=

# Any Python from 3.8 on can begin; which one an environment is made with, `dev` decides.
FIRST_PYTHON = $(shell for each in python3 python3.13 python3.12 python3.11 python3.10 python /usr/bin/python3 \
  "$$HOME"/.pyenv/versions/3.*/bin/python3; do \
  "$$each" -c 'import sys; sys.exit(sys.version_info < (3, 8))' 2>/dev/null && echo "$$each" && break; done)
PYTHON ?= $(or $(FIRST_PYTHON),$(error No Python 3.8 or later is on PATH. Install Python 3.12, or name one: make PYTHON=/path/to/python3))
BEGIN = $(PYTHON) -m dev.bootstrap

# Where mypy and the unit tests find the newest and the oldest Airflow that the package runs in.
NEWEST := 3.3.2
OLDEST := 2.11.2
FLOORS := aiohttp apache-airflow-providers-common-compat apache-airflow-providers-http requests urllib3 yarl

BIN := .venv/bin
PYTEST := -m pytest $(PYTEST_ARGS)
UNIT := $(wildcard tests/test_*.py tests/api tests/transport tests/contract tests/airflow tests/fuzz tests/dev)
# They have targets of their own.
FAULTS := test_faults.py test_kills.py test_old_remotes.py
TASKS := test_pool_tasks.py test_dag_switches.py
SOAK := test_soak.py test_thousand.py
HOSTILE := test_hostile.py test_suspended.py
LONG := $(FAULTS) $(TASKS) $(SOAK) $(HOSTILE)
NOT_LIVE := -m 'not live and not matrix and not browser'
# One process per core; PYTEST_ARGS='-n 0' for a debugger.
PARALLEL := --numprocesses auto --dist worksteal
# Conversations per version of Airflow that `make fuzz` tries; the unit tests try 500.
FUZZ_CASES ?= 30000
FUZZ_SEED ?= 0

export PYTHONUNBUFFERED := 1

.DEFAULT_GOAL := help
# Each part of `make test` uses both cores of a small machine already.
.NOTPARALLEL:
.PHONY: help demo test venv format lint docs unit unit-newest unit-oldest unit-oldest-now package browser live faults fuzz
.PHONY: tasks soak hostile matrix pictures chromium bench dist release clean

help: ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@printf '\nmake demo takes LOCAL=3.3.2 REMOTE=2.11.2 KEEP=1; the tests take PYTEST_ARGS="-k name".\n'
	@printf 'Tests that need what this machine lacks are skipped; with STRICT=1 or CI=true they fail.\n'

demo: ## two real deployments, one triggers a DAG in the other
	@$(BEGIN) demo --local '$(LOCAL)' --remote '$(REMOTE)'
	@$(MAKE) --no-print-directory .dev/demo/.ready
	@.dev/demo/bin/python -m dev.demo $(LOCAL:%=--local %) $(REMOTE:%=--remote %) $(if $(KEEP),--keep)

# Small: the deployments have environments of their own.
.dev/demo/.ready: pyproject.toml
	@$(BEGIN) venv .dev/demo --group demo
	@touch $@

# First, what is missing on this machine; last, what was not run for that reason, and how long each part took.
PARTS := lint docs unit-newest unit-oldest package browser live

test: ## lint, docs, unit, package, browser and live
	@$(BEGIN) test
	@code=0; took=""; for part in $(PARTS); do start=$$(date +%s); $(MAKE) --no-print-directory $$part || code=$$?; \
	  took="$$took, $$part $$(($$(date +%s) - start)) s"; echo "Took so far: $${took#, }."; [ $$code = 0 ] || break; done; \
	  $(BEGIN) report; exit $$code

venv: .venv/.ready ## make .venv: the tools, Airflow and this package

.venv/.ready: pyproject.toml
	@$(BEGIN) venv .venv uv 'apache-airflow==$(NEWEST)' --group lint --group test --group docs --group package \
	  --group browser --project
	@touch $@

format: venv ## rewrite the code as `make lint` wants it
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: venv ## format, lint, types, and the one direction of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

unit: unit-newest unit-oldest ## the tests that need no deployment, in the newest and the oldest Airflow

unit-newest: venv
	$(BIN)/python -m pytest $(NOT_LIVE) $(PARALLEL) --cov --cov-report= $(UNIT) $(PYTEST_ARGS)
	@# What the protocol's code does in each case is decided there, so every branch of it has a test; some are races, which a slow machine may end the other way.
	$(BIN)/coverage report --include 'astronomer_remote/api/*' --precision 1 --fail-under 99.9
	$(BIN)/coverage report --omit 'astronomer_remote/api/*' --fail-under 95

# With the oldest dependencies, too, that pyproject.toml allows: a floor that nothing stands on does not stay true.
# Asking for pytest makes this an environment apart from those that deployments run in.
unit-oldest: venv
	@$(BIN)/python -m dev.bootstrap able unit-oldest && $(MAKE) --no-print-directory unit-oldest-now || [ $$? = 77 ]

unit-oldest-now:
	set -e; env=$$($(BIN)/python -m dev env $(OLDEST) --project --extra pytest); \
	  $(BIN)/python -m dev.uv pip install --quiet --python "$$env/bin/python" --resolution lowest-direct $(FLOORS:%=--upgrade-package %) \
	    'apache-airflow==$(OLDEST)' --requirements pyproject.toml --group test; \
	  "$$env/bin/python" -m pytest $(NOT_LIVE) $(PARALLEL) $(filter-out tests/fuzz tests/dev,$(UNIT)) $(PYTEST_ARGS)

live: venv ## the tests that start real deployments and run DAGs in them, against three remotes
	$(BIN)/python $(PYTEST) -m 'live and not matrix' tests/live tests/dev $(LONG:%=--ignore tests/live/%)

faults: venv ## workers, triggerers, schedulers and remotes that are ended while tasks wait, and the table of faults
	$(BIN)/python $(PYTEST) -m 'live and not matrix' $(FAULTS:%=tests/live/%)

tasks: venv ## the operators for pools and DAGs in tasks of real deployments
	$(BIN)/python $(PYTEST) -m 'live and not matrix' $(TASKS:%=tests/live/%)

fuzz: venv ## every operation and task against many replies that are changed at random; FUZZ_CASES, FUZZ_SEED
	$(BIN)/python -m pytest -rP -m fuzz $(PARALLEL) tests/fuzz --fuzz-cases $(FUZZ_CASES) --fuzz-seed $(FUZZ_SEED) $(PYTEST_ARGS)

hostile: venv ## a remote that means harm, and workers and triggerers that are suspended, on PostgreSQL
	$(BIN)/python $(PYTEST) -m 'live and not matrix' $(HOSTILE:%=tests/live/%)

soak: venv ## two hundred tasks while a fifth of all requests fails; a thousand that wait in one triggerer
	$(BIN)/python $(PYTEST) -s -m 'live and not matrix' $(SOAK:%=tests/live/%)

browser: chromium ## the connection form and the links of real UIs, in a headless Chromium
	$(BIN)/python $(PYTEST) -m browser tests/browser

pictures: chromium ## docs/pictures, taken while the browser tests run
	$(BIN)/python $(PYTEST) -m browser tests/browser --pictures docs/pictures

# The machine's own, else Debian's package, else the one that Playwright downloads, else none.
chromium: venv
	@$(BIN)/python -m dev.bootstrap chromium

docs: venv ## build/docs/index.html, from docs/ and the docstrings; a warning is an error
	AIRFLOW_HOME=$(CURDIR)/build/airflow $(BIN)/python -m sphinx -q -W --keep-going docs build/docs

package: venv ## the wheel and the sdist: what they hold, and that they work where nothing else is installed
	$(BIN)/python $(PYTEST) tests/package

dist: venv ## dist/: the wheel and the sdist
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m build --installer uv --outdir dist .

# The tools are pinned by hash, which is why they have an environment of their own. The SBOM lists what the wheel brings
# along beside the newest Airflow.
release: ## dist/: the same with build tools pinned by hash, and an SBOM of what the wheel brings along
	rm -rf dist .dev/release
	$(PYTHON) -m venv .dev/release/tools
	.dev/release/tools/bin/pip install --quiet --require-hashes --requirement .github/requirements/release.txt
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) .dev/release/tools/bin/python -m build --no-isolation --outdir dist .
	.dev/release/tools/bin/uv venv --quiet --python .dev/release/tools/bin/python .dev/release/installed
	.dev/release/tools/bin/uv pip install --quiet --python .dev/release/installed/bin/python 'apache-airflow==$(NEWEST)' dist/*.whl
	.dev/release/tools/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --output-format JSON \
	  --output-file "$$(ls dist/*.whl | sed 's/-py3-none-any.whl//').cdx.json" .dev/release/installed/bin/python

matrix: venv ## every remote with every local Airflow, and docs/versions.md's table of them; takes hours
	$(BIN)/python $(PYTEST) -m matrix tests/live $(LONG:%=--ignore tests/live/%)

bench: venv ## what waits and triggers cost a real remote; needs PostgreSQL, takes most of an hour
	$(BIN)/python -m dev.uv pip install --quiet --python $(BIN)/python --group bench
	$(BIN)/python -m benchmarks.import_cost
	$(BIN)/python -m benchmarks.trigger
	$(BIN)/python -m benchmarks.waiting --version 3.3.2
	$(BIN)/python -m benchmarks.waiting --version 2.11.2

clean: ## remove everything that was made here, cached environments included
	rm -rf .venv .dev build dist .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
