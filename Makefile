# empslurm: `make` prints the targets.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
MANIFEST ?= demo
PROFILE ?=
NAMES ?=
DEMO ?= demo
SEED ?= 1
KILLS ?= 120
RELEASE ?=
EXAMPLES ?= 10000
# Another environment, with a release of transformers that `adapters` does not allow.
VENV5 ?= .venv-5
TRANSFORMERS5 := transformers==5.24.0
CORE := tests/backbones tests/gather tests/scoring tests/store tests/tasks tests/test_plan.py tests/train \
	tests/end_to_end/test_without_adapters.py
# What `make quick` tests: what is plain arithmetic, reading and writing. None of it may import torch, and what trains,
# starts processes or takes long is marked `heavy` there.
QUICK := $(filter-out tests/test_provenance.py,$(wildcard tests/test_*.py)) \
	tests/analysis tests/backbones tests/gather tests/manifest tests/reference tests/search tests/store tests/tasks tests/validation \
	$(patsubst %,tests/report/test_%.py,analyses baselines cost datasets paper search seeds tables) \
	$(patsubst %,tests/launch/test_%.py,arrays cost endings environment hold journal lookup profile queue reasons) \
	$(patsubst %,tests/launch/node/test_%.py,devices meter process) $(patsubst %,tests/launch/site/test_%.py,facts proposal)

EMPSLURM := $(BIN)/python -m empslurm
profile_flag := $(if $(PROFILE),--profile $(PROFILE))

.DEFAULT_GOAL := help
.PHONY: help docs wheel install demo bench gpu test quick transformers5 soak check format submit status resume gather debug doctor clean \
	cluster-up cluster-down test-cluster chaos

help: ## print this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | awk -F'\t' '{printf "make %-14s %s\n", $$1, $$2}'

$(VENV)/.installed: setup.cfg constraints.txt install.py
	@rm -f $@
	@$(PYTHON) install.py $(VENV)
	@touch $@

install: $(VENV)/.installed ## make .venv with the tested set of packages

demo: install ## a first look in minutes: an invented corpus, a grid on it, and whether what was planted was found; SEED=2: another
	rm -rf $(DEMO)
	$(EMPSLURM) --data $(DEMO)/data --runs $(DEMO)/runs demo --seed $(SEED)

test: install check ## check, and all tests: two at a time, each on one thread
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

quick: install check ## check, and the tests that need no torch, processes, browser or cluster, in one to two minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --without-torch -m "not heavy" $(QUICK)

cluster-up: ## start the throw-away Slurm cluster of slurm/testcluster (root, Debian); RELEASE=trixie: with Slurm 24.11
	EMPSLURM_CLUSTER_RELEASE=$(RELEASE) bash slurm/testcluster/cluster.sh up

cluster-down: ## stop it
	bash slurm/testcluster/cluster.sh down

test-cluster: install ## the tests that need it
	$(BIN)/python -m pytest tests/cluster

chaos: install ## the long runs on it: a storm of failures, limits, no accounting; NAMES="grid chaos limits no-accounting"
	$(BIN)/python -m tests.cluster.chaos $(NAMES)

soak: install ## kill training KILLS times and compare; full disks; EXAMPLES hostile inputs per reader; draws by SEED
	$(BIN)/python -m tests.soak.kills --seed $(SEED) --kills $(KILLS)
	$(BIN)/python -m tests.soak.full_disk || test $$? -eq 77
	EMPSLURM_FUZZ_EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest tests/fuzz tests/manifest/test_load.py tests/launch/test_profile.py -k any_ --hypothesis-seed=$(SEED)

$(VENV5)/.installed: setup.cfg constraints.txt
	@rm -f $@
	$(PYTHON) -m venv $(VENV5)
	grep -vE '^(adapters|transformers|huggingface_hub|tokenizers)==' constraints.txt > $(VENV5)/constraints.txt
	$(VENV5)/bin/python -m pip install --quiet --constraint $(VENV5)/constraints.txt \
		'$(TRANSFORMERS5)' pytest pytest-xdist hypothesis jsonschema --editable .
	@touch $@

transformers5: $(VENV5)/.installed ## the core's tests with transformers 5 and without adapters, in .venv-5
	OMP_NUM_THREADS=1 $(VENV5)/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(wildcard $(CORE))

docs: install ## the documentation as a site, in site/: its reference from the code; dead links fail
	$(BIN)/python -m docs.pages
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

wheel: install ## build dist/empslurm-VERSION-py3-none-any.whl
	rm -rf build dist
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
	@ls dist

check: install ## ruff, mypy (strict), import-linter; the documentation, whose dead links and old pages fail
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m docs.pages --check
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

format: install ## let ruff format and repair the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: install ## what training costs, beside AdapterTrainer, and whether it costs quality: benchmarks/results/
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/processes.py
	$(BIN)/python benchmarks/recipes.py

gpu: install ## what a GPU gives, in 8 minutes: correctness, speed beside AdapterTrainer, a grid; tiny without a GPU
	$(BIN)/python benchmarks/gpu.py

submit: install ## run what is missing: MANIFEST=name [PROFILE=name]
	$(EMPSLURM) submit $(MANIFEST) $(profile_flag)

status: install ## cells by state: MANIFEST=name
	$(EMPSLURM) status $(MANIFEST)

resume: install ## as submit, and failed cells too: MANIFEST=name [PROFILE=name]
	$(EMPSLURM) resume $(MANIFEST) $(profile_flag)

gather: install ## the tables so far: MANIFEST=name
	$(EMPSLURM) gather $(MANIFEST)

debug: install ## one cell in this process, few steps: MANIFEST=name
	$(EMPSLURM) debug $(MANIFEST)

doctor: install ## look for problems of this machine
	$(EMPSLURM) doctor

clean: ## remove the environment and the demo
	rm -rf $(VENV) $(VENV5) $(DEMO) build dist site *.egg-info
