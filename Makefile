# `make claims` and `make test` do everything on a fresh machine with Python 3.11+ and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
MODEL ?= smollm2_135m
WORKERS ?= 2
SEEDS ?=
ONLY ?=
DIR ?=
EVIDENCE ?=
TAKE ?=
FILES ?=
STAMP := $(VENV)/.installed

BENCH := .venv-bench
BENCH_STAMP := $(BENCH)/.installed

MUTATE := .venv-mutate
MUTATE_STAMP := $(MUTATE)/.installed

.PHONY: claims test lint report site audit merge rebaseline bench peers calibrate mutate clean help

help:            ## what there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/'

$(STAMP): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; make claims PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[test,site,lint]'
	touch $(STAMP)

claims: $(STAMP) ## measure the embedded model, judge its claims, write CLAIMS.md and the figures (SEEDS=42: one draw, no report; ONLY=test_steering: one chapter)
	$(BIN)/pytest claims --model $(MODEL) $(addprefix --seed=,$(SEEDS)) $(if $(ONLY),-k '$(ONLY)') --record $(if $(SEEDS),,--report CLAIMS.md)

test: $(STAMP)   ## the instrument's own tests, on WORKERS processes of one thread each (default 2)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS)

lint: $(STAMP)   ## style, types, import direction
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

report: $(STAMP) ## judge all recorded evidence anew, write CLAIMS.md and keep the verdicts; loads no model
	$(BIN)/pytest claims --recorded --judge-anew --report CLAIMS.md --keep-verdicts -q

site: $(STAMP)   ## the same as CLAIMS.md as one folder of static HTML, site/; loads no model
	$(BIN)/pytest claims --recorded --site site -q

audit: $(STAMP)  ## recompute published figures from the atlas's own result files (DIR=a copy of its repository)
	test -n '$(DIR)' || { echo 'name a copy of the repository of the atlas: make audit DIR=...' >&2; exit 2; }
	$(BIN)/python -m harness.audit '$(DIR)'

merge: $(STAMP)  ## take another machine's recorded evidence (EVIDENCE=DIR; TAKE=CELL ... settles a conflict for theirs)
	test -n '$(EVIDENCE)' || { echo 'name the evidence of the other machine: make merge EVIDENCE=DIR' >&2; exit 2; }
	$(BIN)/python -m harness.merging '$(EVIDENCE)' $(if $(TAKE),--take theirs $(TAKE))

rebaseline: $(STAMP) ## accept this machine's measurements: evidence, snapshots, CLAIMS.md
	$(BIN)/pytest claims --model $(MODEL) --rebaseline --snapshot-update --report CLAIMS.md

$(BENCH_STAMP): pyproject.toml
	test -x $(BENCH)/bin/python || $(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/pip install --quiet --editable '.[test,bench]'
	touch $(BENCH_STAMP)

bench: $(BENCH_STAMP) ## time the engine beside TransformerLens, nnsight, pyvene and plain hooks (25 minutes)
	$(BENCH)/bin/python -m harness.bench

peers: $(BENCH_STAMP) ## compare the engine's numbers with the other tools', edit by edit
	CLAIMS_PEERS=required $(BENCH)/bin/pytest harness/tests/test_peers.py harness/bench

calibrate: $(STAMP) ## error rates of the verdicts on random planted and null models (three hours on one core; resumable; RECHECK=3: up to three kept trials of each case that is older than cards or code, made anew and compared)
	OMP_NUM_THREADS=1 $(BIN)/python -m harness.calibration $(if $(RECHECK),--recheck $(RECHECK))

$(MUTATE_STAMP): pyproject.toml
	test -x $(MUTATE)/bin/python || $(PYTHON) -m venv $(MUTATE)
	$(MUTATE)/bin/pip install --quiet --editable '.[test,mutate]'
	touch $(MUTATE_STAMP)

mutate: $(MUTATE_STAMP) ## would a test notice a wrong line where it is decided? (hours; FILES=...: of these files)
	$(MUTATE)/bin/python -m harness.mutation --jobs $(WORKERS) $(FILES)

clean:           ## drop the venv, the site and what was measured here (recorded evidence and downloaded weights stay)
	rm -rf $(VENV) $(BENCH) $(MUTATE) .evidence site
