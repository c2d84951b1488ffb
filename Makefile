# The two commands are `make repro` and `make test`; `make help` lists the rest.
PYTHON ?= python3
# default: the build with CUDA. The one that is installed stays, unless the other is asked for.
TORCH ?= $(if $(wildcard .venv/.installed-*-default),default,cpu)
# What fetch, photographs, sweep and seeds are for; empty: the active ones of params.yaml.
PROFILES ?=
# For JupyterLab or Voila.
OPTIONS ?=

# Modules are called, not scripts of .venv, which name the place where they were installed.
RUN := sh tools/python
STAMP := .venv/.installed-$(shell cat requirements.txt pyproject.toml | cksum | cut -d' ' -f1)-$(TORCH)
# pip takes one build for the other, which must go first.
OTHER := $(filter-out %-$(TORCH),$(wildcard .venv/.installed-*))
# An environment works only where it was made, with the Python that it was made with.
WHERE := .venv/bin/python -c 'import sys; print(sys.prefix, *sys.version_info[:2])' 2> /dev/null
HERE := $(shell $(WHERE) | cmp -s - .venv/.made-for && echo here)
# Bytes of one message from the browser: the server's own limit, 10 MB, drops the connection at a large photo.
UPLOADS := 268435456
export DVC_NO_ANALYTICS := 1
# Tells the editor what the server takes.
lab editor: export HFLD_UPLOADS := $(UPLOADS)

# Shell text. The profiles that a command is for, or one line about a wrong name:
profiles = set -e; profiles=$$($(RUN) tools/profiles.py $(1))
# and one notebook for each of them, run as the stages do.
each_profile = for profile in $$profiles; do mkdir -p runs/$$profile; \
  $(RUN) -m papermill -k python3 --no-progress-bar --stdout-file - --stderr-file - \
    notebooks/$(1).ipynb runs/$$profile/$(notdir $(1)).ipynb -p profile $$profile; done

.PHONY: help repro benchmark test lab editor data fetch photographs env lint types strip rendered sweep seeds pretrain clean
ifneq ($(HERE),here)
.PHONY: $(STAMP)
endif
.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

repro: env data ## environment, data, H and both T, tables and figures (about 25 minutes on two quiet cores)
	@$(call profiles)
	$(RUN) -m dvc repro
	@# Where H and T come out equal to the bit, the tables and figures in git are right and their stages do not run:
	@# they do here, for the executed notebooks.
	@$(call profiles); for profile in $$profiles; do for stage in tables:03_tables figures:04_figures; do \
	  test -f runs/$$profile/$${stage#*:}.ipynb || $(RUN) -m dvc repro --force --single-item $${stage%:*}@$$profile; \
	done; done
	@echo
	@$(call profiles); for profile in $$profiles; do \
	  echo "Results of $$profile:"; \
	  echo "  tables             results/$$profile/tables/"; \
	  echo "  figures            results/$$profile/figures/"; \
	  echo "  numbers            results/$$profile/summary.json"; \
	  echo "  executed notebooks runs/$$profile/"; \
	done
	@echo "REPORT.md shows them on one page; make lab opens the notebooks."

benchmark: repro ## all editors in one benchmark (at most 45 minutes on two cores, after repro)
	$(RUN) -m dvc repro benchmark/dvc.yaml
	@$(call profiles); for profile in $$profiles; do echo "Benchmark of $$profile: results/$$profile/benchmark/"; done

test: env ## the tests (about 12 minutes)
	$(RUN) -m pytest

lab: env data ## JupyterLab at the tour (as root, in a container: make lab OPTIONS="--allow-root --ip=0.0.0.0")
	$(RUN) -m jupyterlab --ServerApp.root_dir=. --ServerApp.tornado_settings='{"websocket_max_message_size": $(UPLOADS)}' \
	  $(OPTIONS) notebooks/00_tour.ipynb

editor: env data ## the latent editor alone, in Voila (after repro)
	$(RUN) -m voila --Voila.tornado_settings='{"websocket_max_message_size": $(UPLOADS)}' \
	  $(OPTIONS) notebooks/05_edit.ipynb

data: env ## the pre-trained networks of the embedded world, from store/ into data/
	@$(RUN) -m dvc pull --force data.dvc

fetch: env ## what photographic profiles need from elsewhere (make fetch PROFILES=ffhq256)
	@$(call profiles,$(PROFILES)); $(RUN) -m hfld.photos.fetch $$profiles

photographs: fetch ## their networks into data/, judges trained (make photographs PROFILES=ffhq256)
	@$(call profiles,$(PROFILES)); $(RUN) -m hfld.photos.official $$profiles; $(call each_profile,more/judges)

env: $(STAMP) ## .venv with the pinned packages
	@# An archive from the web: DVC looks for a git repository unless it is told that there is none.
	@test -e .git || $(RUN) -m dvc config --local core.no_scm true

$(STAMP): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is %d.%d; try: make env PYTHON=python3.11" % sys.version_info[:2])'
	@if [ -e .venv/.made-for ] && [ "$(HERE)" != here ] || ! .venv/bin/python -m pip --version > /dev/null 2>&1; then \
	  echo "a new .venv"; $(PYTHON) -m venv --clear .venv; \
	fi
	$(if $(OTHER),rm -f $(OTHER) && .venv/bin/python -m pip uninstall --quiet --yes torch)
	@if [ "$(TORCH)" = cpu ] && [ "$$(uname -s)-$$(uname -m)" = Linux-x86_64 ]; then \
	  version=$$(sed -n 's/^torch==//p' requirements.txt); \
	  echo "torch $$version, CPU build"; \
	  .venv/bin/python -m pip install --quiet --no-deps --retries 1 --timeout 30 \
	    --extra-index-url https://download.pytorch.org/whl/cpu "torch==$$version+cpu" 2> /dev/null \
	  || echo "the CPU build was not found: the default build follows, with its CUDA packages"; \
	fi
	@echo "the packages of requirements.txt"
	@.venv/bin/python -m pip install -qq --requirement requirements.txt \
	|| { echo "The packages did not come: is there a network? \`make env\` then goes on from here." >&2; exit 1; }
	.venv/bin/python -m pip install -qq --no-deps --no-build-isolation --editable .
	@mkdir -p .venv/etc/jupyter && ln -sf ../../../tools/jupyter_server_config.py .venv/etc/jupyter/
	@rm -f .venv/.installed-* && $(WHERE) > .venv/.made-for && touch $@

lint: env types ## format, style, types, notebooks without outputs
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) tools/strip_notebooks.py --check

types: env ## the signatures of hfld/
	$(RUN) -m mypy

strip: env ## take outputs out of notebooks/ (a stage runs again when its notebook has changed, outputs included)
	$(RUN) tools/strip_notebooks.py

rendered: repro ## notebooks 00 to 05 as pages for people who only browse, in docs/notebooks/
	@$(call profiles); profiles=$${profiles%%[[:space:]]*}; $(call each_profile,00_tour); $(call each_profile,05_edit); \
	$(RUN) -m tools.render_notebooks runs/$$profiles docs/notebooks

sweep: env data ## the weight of the landmark term, on validation latents (outside the default run)
	@$(call profiles,--active $(PROFILES)); $(RUN) -m dvc repro $$(printf 'landmarks@%s ' $$profiles); \
	$(call each_profile,more/sweep)

seeds: env data ## headline differences over training seeds, and with twice the steps (outside the default run)
	@$(call profiles,--active $(PROFILES)); $(RUN) -m dvc repro $$(printf 'landmarks@%s ' $$profiles); \
	$(call each_profile,more/seeds)

pretrain: env ## train the networks of data/ again (hours on two cores)
	$(RUN) -m dvc repro pretrain/dvc.yaml

clean: env ## remove weights, runs of the active profiles and DVC's cache: the next repro trains again
	@$(call profiles,$(PROFILES)); rm -rf weights $$(printf 'runs/%s ' $$profiles)
	rm -rf .dvc/cache .pytest_cache .ruff_cache .mypy_cache
