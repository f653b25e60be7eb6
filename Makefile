# Everything runs in the environment that it makes first; `make` alone lists the targets. Needs GNU make 3.81.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:

PRESET ?= synthetic
SEEDS ?= 1
JOBS ?= 2
PYTHON ?= python3
# Of a slide, as width:height; of analysis/slides.mplstyle, whose width figures keep.
SIZE ?= 16:9
METHOD_SEEDS := $(if $(filter file,$(origin SEEDS)),3,$(strip $(SEEDS)))
COMMA := ,
override PRESET := $(strip $(PRESET))
override SEEDS := $(strip $(SEEDS))
override JOBS := $(strip $(JOBS))
ifeq ($(shell printf %s '$(JOBS)' | grep -Ex '[1-9][0-9]*'),)
  $(error Expected JOBS, how many notebooks at a time, 1 or more; got "$(JOBS)")
endif
override SIZE := $(strip $(SIZE))
ifeq ($(shell printf %s '$(SIZE)' | grep -Ex '[1-9][0-9]{0,3}:[1-9][0-9]{0,3}'),)
  $(error Expected SIZE, width and height of a slide, as in SIZE=4:3; got "$(SIZE)")
endif
override STYLE := $(strip $(STYLE))
ifneq ($(STYLE),)
  STYLE_FILE := $(shell test -f '$(STYLE)' && printf '%s/%s' "$$(cd "$$(dirname '$(STYLE)')" && pwd -P)" "$$(basename '$(STYLE)')")
  ifeq ($(STYLE_FILE),)
    $(error Expected STYLE, a file of matplotlib's settings, as in STYLE=my.mplstyle; got "$(STYLE)", which is no file)
  endif
endif
# Of several goals, as in `make clean figures`, each waits for the one before.
MAKEFLAGS += $(if $(word 2,$(MAKECMDGOALS)),,-j$(JOBS))

# A fixed date makes figures byte-identical. What threads need is set in cl_flow/settings.py.
export SOURCE_DATE_EPOCH := 0
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# ---- the environment: an active conda environment named cl_flow; any active one with USE_ACTIVE=1; else .venv

ifneq ($(filter 1,$(USE_ACTIVE))$(filter cl_flow,$(CONDA_DEFAULT_ENV)),)
  RUN := "$(PYTHON)"
  READY := .env-stamp/$(shell printf '%s:%s' "$$VIRTUAL_ENV" "$$CONDA_PREFIX" | cksum | tr ' ' '-')
  PREPARE := :
else
  RUN := .venv/bin/python
  READY := .venv/.ready
  # An interrupted `venv` leaves a Python without pip: such a folder is made anew, any other is kept.
  PREPARE := $(RUN) -m pip --version >/dev/null 2>&1 \
    || { "$(PYTHON)" -m venv --clear .venv && $(RUN) -m pip install --upgrade pip; }
endif

# ---- where results go

ifneq ($(CL_FLOW_DATA),)
  ifneq ($(words $(CL_FLOW_DATA)),1)
    $(error Expected CL_FLOW_DATA without spaces (a symbolic link will do); got "$(CL_FLOW_DATA)")
  endif
  # Absolute, because notebooks do not run in make's folder.
  override CL_FLOW_DATA := $(abspath $(patsubst ~/%,$(HOME)/%,$(CL_FLOW_DATA)))
  export CL_FLOW_DATA
endif
DATA := $(or $(CL_FLOW_DATA),data)

# A folder in the place of a preset is a ROOT under the preset for photographs. These names are those of analysis.PRESETS.
KNOWN := synthetic smoke photographs mvtec slides slides-lite
ifneq ($(filter-out $(KNOWN),$(PRESET)),)
  ifneq ($(ROOT),)
    $(error Expected one of $(KNOWN) as PRESET beside ROOT; got "$(PRESET)")
  endif
  ROOT := $(PRESET)
  override PRESET := photographs
  WHAT := PRESET "$(ROOT)"; known: $(KNOWN), or
endif
ifneq ($(ROOT),)
  GIVEN := $(ROOT)
  override ROOT := $(shell cd '$(GIVEN)' 2>/dev/null && pwd -P)
  ifeq ($(ROOT),)
    $(error Unknown $(or $(WHAT),ROOT "$(GIVEN)"; expected) a folder laid out as MVTec AD)
  endif
endif
ifeq ($(PRESET)$(ROOT),photographs)
  $(error Expected ROOT=PATH, a folder laid out as MVTec AD, for PRESET=photographs; got none)
endif
export PRESET ROOT
# As analysis.study names it.
FOLDER := $(if $(ROOT),$(shell basename '$(ROOT)'))
TITLE := $(if $(filter-out photographs,$(PRESET)),$(PRESET)$(if $(ROOT),-)$(FOLDER),$(FOLDER))
NAME := $(shell printf %s '$(TITLE)' | tr -c 'A-Za-z0-9._-' '-')
EXECUTED := $(DATA)/executed/$(NAME)
# The notebooks' parameter `style`, where it is not what stands there.
INCHES := $(if $(filter-out 16:9,$(SIZE)),$(shell printf %s '$(SIZE)' | awk -F: '{ printf "%.2f", 12.8 * $$2 / $$1 }'))
STYLES := $(if $(STYLE_FILE)$(INCHES),"style: [$(if $(STYLE_FILE),'$(STYLE_FILE)'$(COMMA))$(if $(INCHES),{figure.figsize: [12.8$(COMMA) $(INCHES)]})]")
# A file named after what was asked for, so that other seeds, a folder of the same name, or another look execute the
# notebooks again.
ASKED := $(EXECUTED)/.asked-$(SEEDS)-$(shell { printf %s '$(PRESET):$(ROOT)'$(STYLES); \
  $(if $(STYLE_FILE),cat '$(STYLE_FILE)';) } | cksum | tr ' ' '-')
# JOBS at a time, the last first: they take longest, and what several ask for is made once, by whoever comes first.
NOTEBOOKS := $(patsubst notebooks/%,$(EXECUTED)/%,$(shell ls -r notebooks/[0-9]*.ipynb))
SOURCES := $(filter-out cl_flow/doctor.py analysis/cli.py analysis/commands.py,\
  $(shell find cl_flow analysis -name '*.py' -o -name '*.mplstyle'))
ASSETS := $(wildcard data/reference/*.csv)

# The figures that README and the first page show.
GALLERY := 00-maps 00-summary 01-task-curves 02-embedding 03-center-distances 04-parts 05-recovery

COPIES := $(patsubst notebooks/%,lab/%,$(wildcard notebooks/[0-9]*.ipynb))

# ---- targets

.PHONY: help env doctor data figures gallery methods notebooks docs test test-notebooks lint coverage lowest copies lab bench gpu lock clean distclean

help: ## List the targets and what they take
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo '  PRESET=synthetic   how figures are made: smoke (three minutes), synthetic, mvtec, slides, slides-lite, or a folder of your own'
	@echo '  ROOT=PATH          a folder of images for that preset'
	@echo '  SEEDS=1            runs of each kind, from seed 0 up'
	@echo '  JOBS=2             notebooks at a time'
	@echo '  STYLE=FILE         how figures look: settings of matplotlib, over analysis/slides.mplstyle'
	@echo '  SIZE=16:9          width and height of a slide'
	@echo '  USE_ACTIVE=1       use the active environment instead of .venv (a conda environment cl_flow is used anyway)'
	@echo '  PYTHON=python3     the Python that .venv is made with'
	@echo '  TORCH_INDEX=URL    another index for torch and torchvision, say for one CUDA version'
	@echo '  CL_FLOW_DATA=PATH  another data folder, say on a larger disk'

env: $(READY) ## Make the environment: .venv, or the active one (see USE_ACTIVE)

doctor: | $(READY) ## Examine the installation, and say how to mend it
	@$(RUN) cl_flow/doctor.py

data: | $(READY) ## Draw or fetch the images of PRESET, and open every one
	@$(RUN) -m cl_flow data look "$$PRESET" --root "$$ROOT"

figures: $(NOTEBOOKS) ## Execute the notebooks that changed; their figures land in data/figures
	@echo 'figures are up to date: $(DATA)/figures/$(TITLE), and the executed notebooks: $(EXECUTED)'

gallery: figures ## Shrink the figures that README shows into data/gallery
	@$(RUN) -m cl_flow gallery "$$PRESET" $(GALLERY) --root "$$ROOT"

methods: | $(READY) ## Train every method at every strength, 3 seeds or SEEDS; hours. Notebook 06 then shows them
	$(RUN) -m cl_flow methods "$$PRESET" --root "$$ROOT" --seeds '$(METHOD_SEEDS)'
	@rm -f '$(EXECUTED)'/06-*.ipynb

notebooks: $(NOTEBOOKS:.ipynb=.html) ## The executed notebooks as pages to read or send
	@echo 'pages are up to date: $(EXECUTED)'

docs: $(READY).docs ## Build the site into data/site/html, with the notebooks of PRESET as far as they are executed
	@PRESET='$(NAME)' $(RUN) -m sphinx --fail-on-warning --keep-going --quiet --jobs auto -d '$(DATA)/site/doctrees' docs '$(DATA)/site/html'
	@echo 'pages are up to date: $(DATA)/site/html/index.html'

test: | $(READY) ## Run the fast tests, a file at a time on each core
	$(RUN) -m pytest -m 'not slow' --numprocesses logical --maxprocesses 4 --dist loadfile

test-notebooks: | $(READY) ## Run the slow tests: every notebook on the smallest preset
	$(RUN) -m pytest -m slow

lint: | $(READY) ## Check style, format and types
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m pyright

coverage: | $(READY) ## Run the fast tests, and say which lines they reach
	$(RUN) -m pytest -m 'not slow' --cov --cov-report=term:skip-covered --cov-report=xml

lowest: ## Install the lowest versions that are allowed into the active environment
	"$(PYTHON)" -m pip install uv
	"$(PYTHON)" -m uv pip install --system --resolution lowest-direct -e '.[dev]'

copies: $(COPIES)

lab: $(COPIES) | $(READY) ## Open Jupyter Lab on copies of the notebooks, in lab/, which git does not see
	@for copy in $(COPIES); do original="notebooks/$${copy#lab/}"; \
	  if [ "$$original" -nt "$$copy" ] && ! cmp -s "$$original" "$$copy"; then \
	    echo "$$copy is older than $$original, and kept: rename or delete it to get the new one."; fi; done
	$(RUN) -m jupyterlab --ServerApp.root_dir='$(CURDIR)' lab/00-start-here.ipynb

bench: | $(READY) ## Time what is worth timing beside what one would run instead; the table lands in data/benchmarks
	@$(RUN) -m cl_flow bench

gpu: | $(READY) ## On a machine with a GPU: the tests that need one, and the benchmarks; six minutes
	$(RUN) -m pytest -k cuda
	@$(RUN) -m cl_flow bench

lock: | $(READY) ## Write constraints.txt, the exact versions of today (opt in: PIP_CONSTRAINT=constraints.txt make env)
	$(RUN) -m pip install uv
	$(RUN) -m uv pip compile pyproject.toml --extra dev --universal --python-version 3.10 --output-file constraints.txt

clean: ## Remove figures, executed notebooks and caches; keep features, runs and downloads
	rm -rf '$(DATA)/executed' '$(DATA)/figures' '$(DATA)/site' docs/made docs/gallery docs/reference docs/tutorials \
	  $(addprefix docs/,$(addsuffix .md,changelog claims contributing data)) build dist .pytest_cache .ruff_cache .benchmarks
	find cl_flow analysis tests notebooks \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +

distclean: clean ## Also remove the environment, features and runs; keep downloads
	rm -rf .venv .env-stamp *.egg-info '$(DATA)/features' '$(DATA)/runs'

# ---- files

# Written last: an interrupted installation is picked up by the next make. Order-only for what follows: reinstalling
# makes no figure anew.
$(READY): pyproject.toml
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo 'Expected Python 3.10 or newer as $(PYTHON); got' "$$("$(PYTHON)" -V 2>&1)." \
	    'Name another one: make PYTHON=python3.12' >&2; exit 1; }
	@$(PREPARE) || { \
	  echo 'Expected a Python with the module venv, and a network; see above. On Debian and Ubuntu:' \
	    'apt install python3-venv. Or activate an environment of your own: make … USE_ACTIVE=1' >&2; exit 1; }
	$(RUN) -m pip install torch torchvision $(if $(TORCH_INDEX),--index-url '$(TORCH_INDEX)')
	$(RUN) -m pip install -e '.[dev]'
	@mkdir -p $(@D) && touch $@

$(READY).docs: pyproject.toml | $(READY)
	$(RUN) -m pip install -e '.[docs]'
	@touch $@

$(ASKED):
	@mkdir -p $(@D) && rm -f $(@D)/.asked-* && touch $@

# Once: what somebody wrote there is kept.
$(COPIES):
	@mkdir -p $(@D) && cp notebooks/$(@F) $@

# Executed under another name and renamed when whole, so that what make finds is never half a notebook. Of a bar it keeps the
# line in the end (cl_flow/progress.py): none is drawn for a day.
$(EXECUTED)/%.ipynb: notebooks/%.ipynb $(SOURCES) $(ASSETS) $(ASKED) | $(READY)
	@begun=$$(date +%s); if [ -t 1 ]; then printf '%s …\r' '$*'; fi; \
	TQDM_DELAY=86400 $(RUN) -m papermill --kernel python3 --cwd notebooks --log-output --no-progress-bar \
	  --parameters_raw preset "$$PRESET" --parameters_raw root "$$ROOT" --parameters seeds '$(SEEDS)' \
	  $(if $(STYLES),--parameters_yaml $(STYLES)) $< $(@D)/.$(@F) >$(@D)/$*.log 2>&1 \
	  || { echo '$* on $(TITLE) failed:'; tail -n 20 $(@D)/$*.log; \
	    echo 'The whole log: $(@D)/$*.log; the notebook up to its error: $(@D)/.$(@F)'; exit 1; } >&2; \
	mv $(@D)/.$(@F) $@; printf '%-24s %4d s\n' '$*' $$(($$(date +%s) - begun))

$(EXECUTED)/%.html: $(EXECUTED)/%.ipynb | $(READY)
	@$(RUN) -m nbconvert --log-level WARN --to html $<
