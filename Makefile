# Two commands do it all:  make run  (set up, run the pipeline, print where the report is)
#                          make test (set up, run the tests)
SHELL := /bin/bash
EXPERIMENT ?= quickstart
STUDY ?= latents
PYTHON ?= $(shell command -v python3.11 || echo python3)
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1
export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := true

.PHONY: setup run latents explore test test-slow lint bench mlflow

setup: .venv/ready

# A virtual environment holds the path at which it was made: in a folder that was moved it is made
# anew, and so is one that was not finished.
ifneq ($(shell cat .venv/ready 2>/dev/null),$(CURDIR))
.PHONY: .venv/ready
endif

.venv/ready: pyproject.toml constraints.txt
	@echo "setting up .venv (about three minutes)"
	@[ "$$(cat .venv/ready 2>/dev/null)" = "$(CURDIR)" ] || rm -rf .venv
	@$(PYTHON) -m venv .venv || { echo "error: no $(PYTHON); install Python 3.11 or name yours: make setup PYTHON=python3"; exit 3; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[pipeline,team,explore,test]'
	@# Now, so that the first run need not wait for it.
	@mkdir -p -m 700 scratch && PREFECT_HOME="$(CURDIR)/scratch/prefect" $(BIN)/python -m prefect server database upgrade --yes >/dev/null
	@echo "$(CURDIR)" > $@

run: setup
	@$(BIN)/python -m flows $(EXPERIMENT)

# The latent studies: what an autoencoder's code means.
latents: setup
	@$(BIN)/python -m flows.latents $(STUDY)

# A page with a slider for each latent, on this machine only and behind a login that it prints.
explore: PORT ?= 8080
explore: setup
	@$(BIN)/python -m flows.explore $(STUDY) $(PORT)

test: setup
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m pytest -n 2 --no-loadscope-reorder

test-slow: setup
	@$(BIN)/python -m pytest -m slow

# The experiment first, for a sampler is judged by a trained network: nothing to do where it is done.
bench: setup
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	@$(BIN)/python -m flows $(EXPERIMENT)
	@$(BIN)/python -m benchmarks --experiment $(EXPERIMENT)

# MLflow's pages, on this machine only and behind a login that it prints.
mlflow: PORT ?= 5000
mlflow: setup
	@$(BIN)/python -m tasks.tracking_server $(PORT)
