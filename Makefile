# You need `make` and one Python from 3.10 to 3.13; everything else is downloaded. See CONTRIBUTING.md.

LOCAL ?=
REMOTE ?=
ENGINE ?=
KEEP ?=
PYTEST_ARGS ?=

# Any Python from 3.8 on can start; `dev` decides which one an environment gets.
FIRST_PYTHON = $(shell for each in python3 python3.13 python3.12 python3.11 python3.10 python /usr/bin/python3 \
  "$$HOME"/.pyenv/versions/3.*/bin/python3; do \
  "$$each" -c 'import sys; sys.exit(sys.version_info < (3, 8))' 2>/dev/null && echo "$$each" && break; done)
PYTHON ?= $(or $(FIRST_PYTHON),$(error No Python 3.8 or later is on PATH. Install Python 3.12, or name one: make PYTHON=/path/to/python3))
BEGIN = $(PYTHON) -m dev.bootstrap

# The newest and the oldest Airflow that the package supports: for mypy and the unit tests.
NEWEST := 3.3.2
OLDEST := 2.11.2
FLOORS := aiohttp apache-airflow-providers-common-compat apache-airflow-providers-http requests urllib3 yarl

BIN := .venv/bin
PYTEST := -m pytest $(PYTEST_ARGS)
UNIT := $(wildcard tests/test_*.py tests/api tests/transport tests/contract tests/airflow tests/fuzz tests/dev)
# These have their own targets.
FAULTS := test_faults.py test_kills.py test_old_remotes.py
TASKS := test_pool_tasks.py test_dag_switches.py
ASSETS := test_assets.py test_lineage.py test_watchers.py
AUTH := test_auth.py test_keycloak.py test_clouds.py
ASTRO := test_astro.py
CLI := test_cli.py
SOAK := test_soak.py test_thousand.py test_big_run.py
HOSTILE := test_hostile.py test_suspended.py
ENGINE_TESTS := test_engine.py test_short_runs.py
PAGE := test_ui_page.py test_ui_page_workers.py
LONG := $(FAULTS) $(TASKS) $(ASSETS) $(AUTH) $(ASTRO) $(CLI) $(SOAK) $(HOSTILE) $(ENGINE_TESTS)
NOT_LIVE := -m 'not live and not matrix and not browser'
# One process per core; PYTEST_ARGS='-n 0' for a debugger.
PARALLEL := --numprocesses auto --dist worksteal
# Cases per version of Airflow that `make fuzz` tries; the unit tests try 500.
FUZZ_CASES ?= 30000
FUZZ_SEED ?= 0
# Such as MUTANTS='astronomer_remote.api.waiting.*'; all rooms that pyproject.toml names if not given.
MUTANTS ?=

export PYTHONUNBUFFERED := 1

.DEFAULT_GOAL := help
# Each part of `make test` uses both cores of a small machine already.
.NOTPARALLEL:
.PHONY: help demo test venv format lint docs unit unit-newest unit-oldest unit-oldest-now package browser page live faults fuzz
.PHONY: tasks assets auth astro cli soak hostile engine matrix mutants pictures chromium bench dist release clean

help: ## show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@printf '\nmake demo takes LOCAL=3.3.2 REMOTE=2.11.2 ENGINE=celery KEEP=1; the tests take PYTEST_ARGS="-k name".\n'
	@printf 'Tests that this machine cannot run are skipped; with STRICT=1 or CI=true they fail.\n'

demo: ## start two real deployments; a DAG in one triggers a DAG in the other
	@$(BEGIN) demo --local '$(LOCAL)' --remote '$(REMOTE)'
	@$(MAKE) --no-print-directory .dev/demo/.ready
	@.dev/demo/bin/python -m dev.demo $(LOCAL:%=--local %) $(REMOTE:%=--remote %) $(ENGINE:%=--engine %) $(if $(KEEP),--keep)

# Small: the deployments have their own environments.
.dev/demo/.ready: pyproject.toml
	@$(BEGIN) venv .dev/demo --group demo
	@touch $@

# Starts with what is missing on this machine; ends with the tests that were skipped for it, and the time of each part.
PARTS := lint docs unit-newest unit-oldest package browser live

test: ## run lint, docs, unit, package, browser and live
	@$(BEGIN) test
	@code=0; took=""; for part in $(PARTS); do start=$$(date +%s); $(MAKE) --no-print-directory $$part || code=$$?; \
	  took="$$took, $$part $$(($$(date +%s) - start)) s"; echo "Took so far: $${took#, }."; [ $$code = 0 ] || break; done; \
	  $(BEGIN) report; exit $$code

venv: .venv/.ready ## create .venv with the tools, Airflow and this package

.venv/.ready: pyproject.toml
	@$(BEGIN) venv .venv uv 'apache-airflow==$(NEWEST)' --group lint --group test --group docs --group package \
	  --group browser --group live --project
	@touch $@

format: venv ## format the code and fix what `make lint` can fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: venv ## check format, lint rules, types, and the direction of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

unit: unit-newest unit-oldest ## run the tests that need no deployment, with the newest and the oldest Airflow

unit-newest: venv
	$(BIN)/python -m pytest $(NOT_LIVE) $(PARALLEL) --cov --cov-report= $(UNIT) $(PYTEST_ARGS)
	@# Every branch of `api` has a test. Some are races with another result on a slow machine, so 99.9 % is enough.
	$(BIN)/coverage report --include 'astronomer_remote/api/*' --precision 1 --fail-under 99.9
	$(BIN)/coverage report --omit 'astronomer_remote/api/*' --fail-under 95

# With the oldest dependencies that pyproject.toml allows, too: an untested lower bound does not stay true.
# Without the tests that use neither Airflow nor one of these libraries.
# `--extra pytest` makes this a separate environment from those of the deployments.
unit-oldest: venv
	@$(BIN)/python -m dev.bootstrap able unit-oldest && $(MAKE) --no-print-directory unit-oldest-now || [ $$? = 77 ]

unit-oldest-now:
	set -e; env=$$($(BIN)/python -m dev env $(OLDEST) --project --extra pytest); \
	  $(BIN)/python -m dev.uv pip install --quiet --python "$$env/bin/python" --resolution lowest-direct $(FLOORS:%=--upgrade-package %) \
	    'apache-airflow==$(OLDEST)' --requirements pyproject.toml --group test; \
	  "$$env/bin/python" -m pytest $(NOT_LIVE) $(PARALLEL) $(filter-out tests/api tests/contract tests/fuzz tests/dev,$(UNIT)) $(PYTEST_ARGS)

live: venv ## run operators, sensors, hook and examples with real deployments of Airflow 1.10, 2 and 3
	$(BIN)/python $(PYTEST) -m 'live and not matrix' tests/live tests/dev $(LONG:%=--ignore tests/live/%)

faults: venv ## kill workers, triggerers, schedulers and remotes while tasks wait; writes docs/faults.md
	$(BIN)/python $(PYTEST) -m 'live and not matrix' $(FAULTS:%=tests/live/%)

tasks: venv ## run the operators for pools and DAGs in tasks of real deployments
	$(BIN)/python $(PYTEST) -m 'live and not matrix' $(TASKS:%=tests/live/%)

assets: venv ## register asset events through faults and killed workers, wait for them, and compare lineage, in real deployments
	$(BIN)/python $(PYTEST) -m 'live and not matrix' $(ASSETS:%=tests/live/%)

auth: venv ## wait while OAuth2 tokens expire, and use the logins of Keycloak, Amazon MWAA and Composer, in real deployments
	$(BIN)/python $(PYTEST) -m 'live and not matrix' $(AUTH:%=tests/live/%)

astro: venv ## stop and wake a real deployment behind a stand-in for the Astro API, while forty tasks wait for it
	$(BIN)/python $(PYTEST) -m 'live and not matrix' $(ASTRO:%=tests/live/%)

cli: venv ## call the command from a shell, for real deployments of Airflow 1.10, 2 and 3
	$(BIN)/python $(PYTEST) -m 'live and not matrix' $(CLI:%=tests/live/%)

fuzz: venv ## run every operation and task with randomly changed replies; FUZZ_CASES, FUZZ_SEED
	$(BIN)/python -m pytest -rP -m fuzz $(PARALLEL) tests/fuzz --fuzz-cases $(FUZZ_CASES) --fuzz-seed $(FUZZ_SEED) $(PYTEST_ARGS)

hostile: venv ## run with a malicious remote, and suspend workers and triggerers
	$(BIN)/python $(PYTEST) -m 'live and not matrix' $(HOSTILE:%=tests/live/%)

engine: venv ## end workers, triggerers, schedulers, Redis and PostgreSQL of a deployment with Celery; delay an executor
	$(BIN)/python $(PYTEST) -s -m 'live and not matrix' $(ENGINE_TESTS:%=tests/live/%)

soak: venv ## run 200 tasks while a fifth of all requests fails, 1,000 in one triggerer, and one run of 5,000 instances
	$(BIN)/python $(PYTEST) -s -m 'live and not matrix' $(SOAK:%=tests/live/%)

browser: chromium ## test the connection form and the links of real UIs in a headless Chromium
	$(BIN)/python $(PYTEST) -m browser tests/browser $(PAGE:%=--ignore tests/browser/%)

page: chromium ## test the page of remote deployments in the UIs of Airflow 3.3 and 3.1, with remotes in each state
	$(BIN)/python $(PYTEST) -s -m browser $(PAGE:%=tests/browser/%)

pictures: chromium ## take the screenshots in docs/pictures again, during the browser tests
	$(BIN)/python $(PYTEST) -m browser tests/browser --pictures docs/pictures

# The machine's Chromium, else Debian's package, else the one that Playwright downloads.
chromium: venv
	@$(BIN)/python -m dev.bootstrap chromium

docs: venv ## build build/docs/index.html; a warning is an error
	AIRFLOW_HOME=$(CURDIR)/build/airflow $(BIN)/python -m sphinx -q -W --keep-going docs build/docs

package: venv ## test the wheel and the sdist: their files, and that they work in clean environments
	$(BIN)/python $(PYTEST) tests/package

dist: venv ## build the wheel and the sdist in dist/
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m build --installer uv --outdir dist .

# The build tools are pinned by hash, in their own environment. The SBOM lists what the wheel installs next to the newest
# Airflow.
release: ## the same with build tools pinned by hash, and an SBOM
	rm -rf dist .dev/release
	$(PYTHON) -m venv .dev/release/tools
	.dev/release/tools/bin/pip install --quiet --require-hashes --requirement .github/requirements/release.txt
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) .dev/release/tools/bin/python -m build --no-isolation --outdir dist .
	.dev/release/tools/bin/uv venv --quiet --python .dev/release/tools/bin/python .dev/release/installed
	.dev/release/tools/bin/uv pip install --quiet --python .dev/release/installed/bin/python 'apache-airflow==$(NEWEST)' dist/*.whl
	.dev/release/tools/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --output-format JSON \
	  --output-file "$$(ls dist/*.whl | sed 's/-py3-none-any.whl//').cdx.json" .dev/release/installed/bin/python

matrix: venv ## run the live tests for each pair of versions; takes hours; writes docs/versions.md
	$(BIN)/python $(PYTEST) -m matrix tests/live $(LONG:%=--ignore tests/live/%)

mutants: venv ## change the code of api, one place at a time, and list the changes that no test noticed; takes hours
	$(BIN)/python -m dev.uv pip install --quiet --python $(BIN)/python --group mutants
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m dev.mutants run $(MUTANTS)
	$(BIN)/mutmut results

bench: venv ## measure what waits and triggers cost a real remote; needs PostgreSQL, takes more than an hour
	$(BIN)/python -m dev.uv pip install --quiet --python $(BIN)/python --group bench
	$(BIN)/python -m benchmarks.import_cost
	$(BIN)/python -m benchmarks.command
	$(BIN)/python -m benchmarks.plugin
	$(BIN)/python -m benchmarks.trigger
	$(BIN)/python -m benchmarks.short --version 3.3.2
	$(BIN)/python -m benchmarks.short --version 2.11.2
	$(BIN)/python -m benchmarks.waiting --version 3.3.2
	$(BIN)/python -m benchmarks.waiting --version 2.11.2
	$(BIN)/python -m benchmarks.engine

clean: ## remove everything that make created, including cached environments
	rm -rf .venv .dev build dist mutants .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
