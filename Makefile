# The two commands are `make repro` and `make test`; `make help` lists the rest.
PYTHON ?= python3
VENV ?= .venv
# default: the build with CUDA. The one that is installed stays, unless the other is asked for.
TORCH ?= $(if $(wildcard $(VENV)/.installed-*-default),default,cpu)
PROFILES := $(shell sed -n '/^active:/,/^[a-z#]/s/^  - //p' params.yaml)

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-$(shell cat requirements.txt pyproject.toml | cksum | cut -d' ' -f1)-$(TORCH)
# pip takes one build for the other, which must go first.
OTHER := $(filter-out %-$(TORCH),$(wildcard $(VENV)/.installed-*))
# Bytes of one message from the browser: the server's own limit, 10 MB, drops the connection at a large photo.
UPLOADS := 268435456
STRIPPED := metadata.language_info metadata.papermill cell.metadata.execution cell.metadata.papermill
# Stage commands call papermill by name.
export PATH := $(abspath $(BIN)):$(PATH)
export DVC_NO_ANALYTICS := 1
export PYDEVD_DISABLE_FILE_VALIDATION := 1
# Tells the editor what the server takes.
lab editor: export HFLD_UPLOADS := $(UPLOADS)

# Run one notebook for every active profile, as the stages do.
each_profile = @set -e; for profile in $(PROFILES); do mkdir -p runs/$$profile; \
  papermill -k python3 --no-progress-bar --stdout-file - --stderr-file - \
    notebooks/$(1).ipynb runs/$$profile/$(1).ipynb -p profile $$profile; done

.PHONY: help repro benchmark test lab editor data fetch photographs env lint strip sweep seeds pretrain clean
.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

repro: env data ## environment, data, H and both T, tables and figures (about 25 minutes on two quiet cores)
	$(BIN)/dvc repro
	@# Where H and T come out equal to the bit, the tables and figures in git are right and their stages do not run:
	@# they do here, for the executed notebooks.
	@set -e; for profile in $(PROFILES); do for stage in tables:03_tables figures:04_figures; do \
	  test -f runs/$$profile/$${stage#*:}.ipynb || $(BIN)/dvc repro --force --single-item $${stage%:*}@$$profile; \
	done; done
	@echo
	@for profile in $(PROFILES); do \
	  echo "Results of $$profile:"; \
	  echo "  tables             results/$$profile/tables/"; \
	  echo "  figures            results/$$profile/figures/"; \
	  echo "  numbers            results/$$profile/summary.json"; \
	  echo "  executed notebooks runs/$$profile/"; \
	done
	@echo "REPORT.md shows them on one page; make lab opens the notebooks."

benchmark: repro ## all editors in one benchmark (at most 45 minutes on two cores, after repro)
	$(BIN)/dvc repro benchmark/dvc.yaml
	@for profile in $(PROFILES); do echo "Benchmark of $$profile: results/$$profile/benchmark/"; done

test: env ## the tests (about 10 minutes)
	$(BIN)/python -m pytest

lab: env data ## JupyterLab with the kernel ready
	$(BIN)/jupyter lab --ServerApp.tornado_settings='{"websocket_max_message_size": $(UPLOADS)}' notebooks/00_tour.ipynb

editor: env data ## the latent editor alone, in Voila (after repro)
	$(BIN)/voila --Voila.tornado_settings='{"websocket_max_message_size": $(UPLOADS)}' notebooks/05_edit.ipynb

data: env ## the pre-trained networks of the embedded world, from store/ into data/
	@$(BIN)/dvc pull --force data.dvc

fetch: env ## what photographic profiles need from elsewhere (make fetch PROFILES=ffhq256)
	$(BIN)/python -m hfld.photos.fetch $(PROFILES)

photographs: fetch ## their networks into data/, judges trained (make photographs PROFILES=ffhq256)
	$(BIN)/python -m hfld.photos.official $(PROFILES)
	$(call each_profile,more/judges)

env: $(STAMP) ## .venv with the pinned packages

$(STAMP): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is %d.%d; try: make env PYTHON=python3.11" % sys.version_info[:2])'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(if $(OTHER),rm -f $(OTHER) && $(BIN)/python -m pip uninstall --quiet --yes torch)
	@if [ "$(TORCH)" = cpu ] && [ "$$(uname -s)-$$(uname -m)" = Linux-x86_64 ]; then \
	  version=$$(sed -n 's/^torch==//p' requirements.txt); \
	  echo "torch $$version, CPU build"; \
	  $(BIN)/python -m pip install --quiet --no-deps --retries 1 --timeout 30 \
	    --extra-index-url https://download.pytorch.org/whl/cpu "torch==$$version+cpu" \
	  || echo "the CPU build was not found: the default build follows, with its CUDA packages"; \
	fi
	$(BIN)/python -m pip install --quiet --requirement requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@rm -f $(VENV)/.installed-* && touch $@

lint: env ## format and style
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/nbstripout --verify --extra-keys "$(STRIPPED)" notebooks/*.ipynb

strip: env ## take outputs out of notebooks/ (a stage runs again when its notebook has changed, outputs included)
	$(BIN)/nbstripout --extra-keys "$(STRIPPED)" notebooks/*.ipynb

sweep: env data ## the weight of the landmark term, on validation latents (outside the default run)
	$(BIN)/dvc repro $(addprefix landmarks@,$(PROFILES))
	$(call each_profile,more/sweep)

seeds: env data ## headline differences over training seeds, and with twice the steps (outside the default run)
	$(BIN)/dvc repro $(addprefix landmarks@,$(PROFILES))
	$(call each_profile,more/seeds)

pretrain: env ## train the networks of data/ again (hours on two cores)
	$(BIN)/dvc repro pretrain/dvc.yaml

clean: ## remove weights, runs of the active profiles and DVC's cache: the next repro trains again
	rm -rf weights $(addprefix runs/,$(PROFILES)) .dvc/cache .pytest_cache .ruff_cache
