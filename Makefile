# Everything starts from python and pip: `make setup` makes .venv from $(PYTHON).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
N_CPUS ?= 2
DEMO := demo

# One thread a library: the process pool is what uses the cores.
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1
export ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS ?= 1
export NO_ET ?= 1

.DEFAULT_GOAL := help
.PHONY: help setup test test-all e2e-container e2e-slurm lint format demo validate benchmark interop constraints clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /	/' | expand -t 14

# The stamps make a second run instant; a changed pyproject.toml or constraints.txt renews them.
$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python >= 3.11 is needed")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.setup: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install --quiet -c constraints.txt -e '.[test]'
	@touch $@

$(VENV)/.setup-dev: $(VENV)/.setup
	$(PIP) install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

setup: $(VENV)/.setup  ## make .venv with the app and what its tests need

test: setup  ## run the tests (under 20 minutes on 2 cores)
	$(BIN)/python -m pytest -n $(N_CPUS) --dist loadscope --no-loadscope-reorder

test-all: setup  ## run the slow tests too
	$(BIN)/python -m pytest -m 'not container and not slurm'

# As root on Debian it installs slurm-wlm and munge; elsewhere it says why it is skipped.
e2e-slurm: setup  ## an array of jobs on a Slurm of two nodes on this machine
	$(BIN)/python -m pytest -m slurm -rs tests/cluster

e2e-container: setup  ## build the image; run it under docker and Apptainer, where this machine can
	PYTHON=$(CURDIR)/$(BIN)/python tests/container/run

lint: $(VENV)/.setup-dev  ## style, types, import contracts, Dockerfile
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile

format: $(VENV)/.setup-dev  ## let ruff sort imports and lay out the code
	$(BIN)/ruff check --select I --fix .
	$(BIN)/ruff format .

# Some of the measures, so that the demo ends within a quarter of an hour; `MEASURES=` makes all.
MEASURES ?= seed alff reho
# Clusters by mass, with few resamplings; `GROUP=` makes TFCE with the default of 5,000.
GROUP ?= --correction cluster --n-permutations 500
STUDY = --n-cpus $(N_CPUS) $(if $(MEASURES),--measures $(MEASURES))

# $(call study,FOLDER,PHANTOM OPTIONS): a synthetic cohort from raw data to the group report.
define study
	test -f $(1)/bids/participants.tsv || $(BIN)/rls_bids_phantom $(1)/bids --size small --random-seed 1 $(2)
	$(BIN)/rls_bids $(1)/bids $(1)/derivatives/rls_bids participant -w $(1)/work $(STUDY)
	$(BIN)/rls_bids $(1)/bids $(1)/derivatives/rls_bids group -w $(1)/work $(STUDY) $(GROUP)
endef
RECOVERY = $(BIN)/python -m rls_bids.phantom.recovery

demo: setup  ## synthetic cohort, preprocessing, seed maps, group comparison
	$(call study,$(DEMO))
	@echo 'What was planted, and what was found:'
	-@$(RECOVERY) $(DEMO)/bids $(DEMO)/derivatives/rls_bids
	@echo 'The group report:'
	@ls -1 "$(CURDIR)/$(DEMO)"/derivatives/rls_bids/group/model-*.html

validate: demo  ## planted effects are found, others are not; false alarms (stopped, it goes on)
	$(BIN)/bids-validator-deno $(DEMO)/bids --ignoreWarnings
	$(BIN)/bids-validator-deno $(DEMO)/derivatives/rls_bids --ignoreWarnings
	! $(RECOVERY) $(DEMO)/bids $(DEMO)/derivatives/rls_bids --mirrored
	$(call study,$(DEMO)/null,--effect 0)
	! $(RECOVERY) $(DEMO)/null/bids $(DEMO)/null/derivatives/rls_bids
	$(BIN)/python -m benchmarks.fwe $(DEMO)/fwe --n-cpus $(N_CPUS)

benchmark: setup  ## the figures of docs/performance.md
	@set -e; for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python "$$script"; done

interop:  ## write the descriptors for Boutiques and nipoppy again
	$(BIN)/python interop/generate.py

constraints:  ## freeze the newest versions that fit together, from a fresh environment
	rm -rf $(VENV)-fresh
	$(PYTHON) -m venv $(VENV)-fresh
	$(VENV)-fresh/bin/python -m pip install --quiet '.[dev]'
	{ echo '# Versions that were tested together; refreshed by `make constraints`.'; \
	  $(VENV)-fresh/bin/python -m pip freeze --exclude rls_bids | grep -E '^[A-Za-z0-9._-]+==[^ ]+$$'; } > constraints.tmp
	mv constraints.tmp constraints.txt
	rm -rf $(VENV)-fresh

clean:  ## remove .venv, the demo and caches
	rm -rf $(VENV) $(DEMO) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
