# A machine with Python 3.10 or later and make is enough: everything else is fetched by `make venv`.

PYTHON ?= python3
LOCAL ?= 3.3.2
REMOTE ?= 2.11.2
KEEP ?=
PYTEST_ARGS ?=

# Where mypy and the unit tests find the newest and the oldest Airflow that the package runs in.
NEWEST := 3.3.2
OLDEST := 2.11.2
FLOORS := aiohttp apache-airflow-providers-common-compat apache-airflow-providers-http requests

BIN := .venv/bin
UV := $(or $(shell command -v uv),.dev/uv/bin/uv)
PYTEST := -m pytest $(PYTEST_ARGS)
UNIT := $(wildcard tests/test_*.py tests/api tests/transport tests/contract tests/airflow tests/dev)
# They have targets of their own.
FAULTS := test_faults.py test_kills.py
TASKS := test_pool_tasks.py test_dag_switches.py
SOAK := test_soak.py test_thousand.py
LONG := $(FAULTS) $(TASKS) $(SOAK)
NOT_LIVE := -m 'not live and not matrix and not browser'

export PYTHONUNBUFFERED := 1

.DEFAULT_GOAL := help
# Each part of `make test` uses both cores of a small machine already.
.NOTPARALLEL:
.PHONY: help venv format lint unit unit-newest unit-oldest live faults tasks soak package browser pictures chromium test docs matrix
.PHONY: dist demo bench clean

help: ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@printf '\nmake demo takes LOCAL=%s REMOTE=%s KEEP=1; the tests take PYTEST_ARGS="-k name".\n' $(LOCAL) $(REMOTE)

venv: .venv/.ready ## make .venv: the tools, Airflow and this package

.venv/.ready: pyproject.toml | $(UV)
	$(UV) venv --quiet --allow-existing --python '>=3.10,<3.14' .venv
	$(UV) pip install --quiet --python $(BIN)/python uv 'apache-airflow==$(NEWEST)' --group lint --group test --group docs --group package --group browser --editable .
	@touch $@

.dev/uv/bin/uv:
	@mkdir -p .dev
	$(PYTHON) -m pip install --quiet --target .dev/uv uv || \
	  { $(PYTHON) -m venv .dev/uv && .dev/uv/bin/pip install --quiet uv; }

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
	@rm -f .coverage .coverage.*
	$(BIN)/coverage run $(PYTEST) $(NOT_LIVE) $(UNIT)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --include 'astronomer_remote/api/*' --fail-under 100
	$(BIN)/coverage report --omit 'astronomer_remote/api/*' --fail-under 85

# With the oldest dependencies, too, that pyproject.toml allows: a floor that nothing stands on does not stay true.
# Asking for pytest makes this an environment apart from those that deployments run in.
unit-oldest: venv
	set -e; env=$$($(BIN)/python -m dev env $(OLDEST) --project --extra pytest); \
	  $(UV) pip install --quiet --python "$$env/bin/python" --resolution lowest-direct $(FLOORS:%=--upgrade-package %) \
	    'apache-airflow==$(OLDEST)' --requirements pyproject.toml --group test; \
	  "$$env/bin/python" $(PYTEST) $(NOT_LIVE) $(filter-out tests/dev,$(UNIT))

live: venv ## the tests that start real deployments and run DAGs in them, against three remotes
	$(BIN)/python $(PYTEST) -m 'live and not matrix' tests/live $(LONG:%=--ignore tests/live/%)

faults: venv ## workers, triggerers, schedulers and remotes that are ended while tasks wait, and the table of faults
	$(BIN)/python $(PYTEST) -m 'live and not matrix' $(FAULTS:%=tests/live/%)

tasks: venv ## the operators for pools and DAGs in tasks of real deployments
	$(BIN)/python $(PYTEST) -m 'live and not matrix' $(TASKS:%=tests/live/%)

soak: venv ## two hundred tasks while a fifth of all requests fails; a thousand that wait in one triggerer
	$(BIN)/python $(PYTEST) -s -m 'live and not matrix' $(SOAK:%=tests/live/%)

browser: chromium ## the connection form and the links of real UIs, in a headless Chromium
	$(BIN)/python $(PYTEST) -m browser tests/browser

pictures: chromium ## docs/pictures, taken while the browser tests run
	$(BIN)/python $(PYTEST) -m browser tests/browser --pictures docs/pictures

# Where the machine has none of its own, Playwright fetches one.
chromium: venv
	@command -v chromium >/dev/null || $(BIN)/playwright install chromium

docs: venv ## build/docs/index.html, from docs/ and the docstrings; a warning is an error
	AIRFLOW_HOME=$(CURDIR)/build/airflow $(BIN)/python -m sphinx -q -W --keep-going docs build/docs

package: venv ## the wheel and the sdist: what they hold, and that they work where nothing else is installed
	$(BIN)/python $(PYTEST) tests/package

dist: venv ## dist/: the wheel and the sdist
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m build --installer uv --outdir dist .

test: lint docs unit package browser live ## lint, docs, unit, package, browser and live

matrix: venv ## every remote with every local Airflow, and README's table of them; takes hours
	$(BIN)/python $(PYTEST) -m matrix tests/live $(LONG:%=--ignore tests/live/%)

demo: venv ## two real deployments, one triggers a DAG in the other
	$(BIN)/python -m dev.demo --local $(LOCAL) --remote $(REMOTE) $(if $(KEEP),--keep)

bench: venv ## what waits and triggers cost a real remote; needs PostgreSQL, takes most of an hour
	$(UV) pip install --quiet --python $(BIN)/python --group bench
	$(BIN)/python -m benchmarks.import_cost
	$(BIN)/python -m benchmarks.trigger
	$(BIN)/python -m benchmarks.waiting --version 3.3.2
	$(BIN)/python -m benchmarks.waiting --version 2.11.2

clean: ## remove everything that was made here, cached environments included
	rm -rf .venv .dev build dist .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
