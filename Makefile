# `make run` and `make test` do all their own set-up; the rest is for those who stay.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: run test lint bench specs conformance odd engines explore fuzz methods power causes mutation bench-engines test-browser test-clusters test-datadesigner test-long test-model test-pages test-pythons test-sdist test-wheel recompute record restores sweeps theory differential validation coverage experiments clean

run: $(READY)
	$(BIN)/cellspec run text_to_sql

test: $(READY) lint
	$(BIN)/python -m pytest -q -n 2 --dist worksteal

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Rewrites the chapters and the matrix of specs/ from the clause registry and a fresh measurement.
specs: $(READY)
	$(BIN)/python -m tests.matrix --write

bench: $(READY)
	$(BIN)/python -m tests.benchmarks

# Every pipeline of bounds 0 to 2: the counts must be those on the page. Bounds 3 are for the night.
explore: $(READY)
	for bounds in 0 1 2; do \
		$(BIN)/cellspec explore --bounds $$bounds --expect specs/exploration.md || exit 1; \
	done

# Ten minutes of large random workloads on the reference engine, and on the rules alone.
fuzz: $(READY)
	$(BIN)/cellspec fuzz --time 300 --plateau 1000000
	$(BIN)/cellspec fuzz --time 300 --plateau 1000000 --backend machine

# Engines with known bugs, one and two at a time: are the roots that the suite tells these bugs?
causes: $(READY)
	rm -f .cellspec/root-causes.jsonl
	$(BIN)/python -m tests.matrix.root_causes --write

# Which method finds how many bugs in a minute of CPU time; about an hour.
methods: $(READY)
	$(BIN)/python -m tests.matrix.methods --write

# In which share of seeds the suite kills each broken engine; writes specs/power.md; an hour.
power: $(READY)
	$(BIN)/python -m tests.matrix.power --write --keep out/power.jsonl

# One seed on Python 3.11, 3.12 and 3.13, as far as `uv` finds them: the same verdicts and workloads.
test-pythons: $(READY)
	$(BIN)/python -m tests.conformance.pythons

# One small fault at a time in what the specification rests on: what do the tests let through? Hours;
# it goes on where it was stopped, and writes specs/mutation.md.
mutation: $(READY)
	$(BIN)/python -m tests.mutation --jobs 2 --write

# The suite on release after release of DataDesigner, each in an environment of its own.
engines: $(READY)
	$(BIN)/python -m simulations.releases

# What an event costs in each engine; wants `make engines` and `make test-clusters` to have run.
bench-engines: $(READY)
	$(BIN)/python -m tests.benchmarks.engines \
		--python 0.9.6=.engines/datadesigner/0.9.6/env/bin/python \
		--python 0.7.0=.engines/datadesigner/0.7.0/env/bin/python \
		--python 0.5.4=.engines/datadesigner/0.5.4/env/bin/python \
		--python dask=.venv-clusters/bin/python --python ray=.venv-clusters/bin/python

# The reference engine under its own conformance suite, every profile, in virtual time.
conformance: $(READY)
	$(BIN)/cellspec conformance reference

# Odd but right engines under the suite, which must not call one of them wrong.
odd: $(READY)
	$(BIN)/python -m tests.conformance.odd

# Every figure of 10,000 random runs, worked out again from their traces by a program of its own.
recompute: $(READY)
	$(BIN)/python -m tests.recompute --scenarios 10000

# 100 points × 20 seeds, killed ten times and resumed otherwise, and on clusters: the same bytes.
sweeps: $(READY) .venv-clusters/.ready
	$(BIN)/python -m tests.sim.experiments.sweep.campaign
	CELLSPEC_SWEEP_SEEDS=20 .venv-clusters/bin/python -m pytest -q -m "dask or ray" \
		tests/sim/experiments/sweep

# The long ones of the cases with known answers, which lie in ../shared/theory.
theory: $(READY)
	$(BIN)/python -m pytest -q -m theory

# 10,000 random scenarios on endpoints: the simulator and a naive program agree on every call.
differential: $(READY)
	$(BIN)/python -m tests.theory.differential --scenarios 10000

# What others measured and what theory knows, simulated: writes simulations/validation.md and
# simulations/theory.md from ../shared.
validation: $(READY)
	$(BIN)/python -m tests.theory.validation --write
	$(BIN)/python -m tests.theory.page --write

# The barrier options A to D on real pipelines: writes plans/barrier-checkpointing.md; minutes.
experiments: $(READY)
	$(BIN)/python -m simulations.barriers

# How often intervals hold what is known: writes simulations/coverage.md; half an hour.
coverage: $(READY)
	$(BIN)/python -m tests.coverage --write

# Restores of random runs, from claims of any rows, against the law by definition; ten minutes.
restores: $(READY)
	$(BIN)/python -m tests.state.restores --runs 10000

# The report's pages in a real browser; needs Chromium (Debian package chromium).
test-browser: $(READY)
	$(BIN)/python -m pytest -q -m chromium tests/conformance/report tests/releases tests/sim/output

# The Murphi model against the explorer; needs rumur and gcc (Debian packages).
test-model: $(READY)
	$(BIN)/python -m pytest -q -m rumur

# The tests that `make test` leaves out: whole families of small runs, and searches.
test-long: $(READY)
	$(BIN)/python -m pytest -q -n 2 --dist worksteal -m long

# The commands of the pages that take long: experiments, and the tutorial.
test-pages: $(READY)
	$(BIN)/python -m pytest -q -m pages tests/test_docs.py tests/conformance/test_tutorial.py

# Every command from the built wheel, in an environment that has nothing else.
test-wheel: $(READY)
	$(BIN)/python -m pytest -q -m wheel

# Lint, types and all tests, as whoever unpacks the sdist would run them.
test-sdist: $(READY)
	set -e; folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	$(BIN)/uv build -q --sdist --out-dir "$$folder" .; \
	tar -xzf "$$folder"/*.tar.gz -C "$$folder" --one-top-level=cellspec --strip-components=1; \
	$(BIN)/uv venv -q --python $(BIN)/python "$$folder/cellspec/$(VENV)"; \
	$(BIN)/uv pip install -q --python "$$folder/cellspec/$(BIN)/python" -c constraints.txt \
		-e "$$folder/cellspec" --group "$$folder/cellspec/pyproject.toml:dev"; \
	touch "$$folder/cellspec/$(READY)"; \
	$(MAKE) -C "$$folder/cellspec" test

test-datadesigner: .venv-datadesigner/.ready
	.venv-datadesigner/bin/python -m pytest -q -m datadesigner

# DataDesigner's engine in real time, recorded afresh for `cellspec calibrate`: two minutes of a quiet machine.
record: .venv-datadesigner/.ready
	.venv-datadesigner/bin/python -m tests.sim.experiments.calibration.recording

# The backends of Dask and Ray on clusters that they start here.
test-clusters: .venv-clusters/.ready
	.venv-clusters/bin/python -m pytest -q -m "dask or ray"

clean:
	rm -rf $(VENV) .venv-clusters .venv-datadesigner

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install -q -c constraints.txt -e . --group dev
	touch $@

.venv-datadesigner/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-datadesigner
	.venv-datadesigner/bin/python -m pip install -q --upgrade 'pip>=25.1'
	.venv-datadesigner/bin/python -m pip install -q -c constraints.txt -e '.[datadesigner]' --group dev
	touch $@

.venv-clusters/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-clusters
	.venv-clusters/bin/python -m pip install -q --upgrade 'pip>=25.1'
	.venv-clusters/bin/python -m pip install -q -c constraints.txt -e '.[dask,ray]' --group dev
	touch $@
