# Two commands do it all:  make run  (set up, run the pipeline, print where the report is)
#                          make test (set up, run the tests)
SHELL := /bin/bash
EXPERIMENT ?= quickstart
STUDY ?= latents
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || echo python3)
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1
export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := true

.PHONY: setup run latents explore test test-slow test-faults test-containers lint bench mlflow wheelhouse docs

setup: .venv/ready

# Again where .venv is of a Python that this machine no longer has, or of another machine's.
ifneq ($(shell $(BIN)/python -c 'print(1)' 2>/dev/null),1)
.PHONY: .venv/ready
endif
.venv/ready: pyproject.toml constraints.txt tasks/relocation.py
	@git rev-parse --git-dir >/dev/null 2>&1 || command -v git >/dev/null || { echo "error: git: is not installed; install it (apt-get install git)"; exit 3; }
	@git rev-parse --git-dir >/dev/null || { echo "error: $(CURDIR): is no git repository of yours; run \`git init\` for a ZIP of the sources, or what git says above"; exit 3; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { echo "error: $(PYTHON): is no Python 3.11, 3.12 or 3.13; install one or name yours: make setup PYTHON=python3"; exit 3; }
	@echo "setting up .venv (about three minutes)"
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv || { echo "error: $(PYTHON) -m venv: failed as it says above (Debian: apt-get install python3-venv)"; exit 3; }
	@$(INSTALL) '.[pipeline,team,explore,test]' || { echo "error: pip: failed as it says above; then \`make setup\` goes on"; exit 3; }
	@$(BIN)/python tasks/relocation.py
	@# Now, so that the first run need not wait for it; what is wrong with the database it will say.
	@mkdir -p -m 700 scratch && PREFECT_HOME="$(CURDIR)/scratch/prefect" $(BIN)/python -m prefect server database upgrade --yes >/dev/null 2>&1 || true
	@touch $@

run: setup
	@$(BIN)/diffusevae run $(EXPERIMENT)

# The latent studies: what an autoencoder's code means.
latents: setup
	@$(BIN)/diffusevae latents $(STUDY)

# A page with a slider for each latent, on this machine only and behind a login that it prints.
explore: PORT ?= 8080
explore: setup
	@$(BIN)/diffusevae explore $(STUDY) --port $(PORT)

test: lint
	@$(BIN)/python -m pytest -n 2 --no-loadscope-reorder

lint: setup
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m ruff format --check .
	@said=$$($(BIN)/python -c 'from importlinter.cli import lint_imports_command as lint; lint()' --no-logo --cache-dir .mypy_cache/imports 2>&1) || { echo "$$said"; exit 1; }
	@$(BIN)/python -m mypy

# The images and services in real containers (tests/containers says what that takes).
test-containers: setup
	@$(BIN)/python -m pytest -m containers -n 0 tests/containers

test-slow: setup
	@$(BIN)/python -m pytest -m slow

# Each fault that the product must stand, done for real; a table says what came of each.
test-faults: setup
	@$(BIN)/python -m pytest -n 2 --no-loadscope-reorder -m fault

# The experiment first, for a sampler is judged by a trained network: nothing to do where it is done.
bench: setup
	@$(INSTALL) '.[bench]'
	@$(BIN)/python tasks/relocation.py
	@$(BIN)/diffusevae run $(EXPERIMENT)
	@$(BIN)/diffusevae bench --experiment $(EXPERIMENT)

# MLflow's pages, on this machine only and behind a login that it prints.
mlflow: PORT ?= 5000
mlflow: setup
	@$(BIN)/diffusevae mlflow --port $(PORT)

# What a machine without a network installs from (docs/operations.md), for another Python too.
wheelhouse: setup
	@$(BIN)/diffusevae wheelhouse $(PYTHON_VERSION)

# docs as a site, in site/: a link that leads nowhere fails it, and nothing is fetched to build or to read it.
docs: export NO_MKDOCS_2_WARNING := 1
docs: setup
	@$(BIN)/python -c 'import material, mkdocstrings_handlers.python' 2>/dev/null || $(INSTALL) '.[docs]'
	@$(BIN)/python tasks/relocation.py
	@$(BIN)/python -m mkdocs build --strict --clean  # not --quiet: warnings that are not shown are not counted
	@echo "site/index.html"
