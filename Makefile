# `make run` and `make test` do all their own set-up; the rest is for those who stay.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: run test lint bench specs conformance test-browser test-clusters test-datadesigner test-model clean

run: $(READY)
	$(BIN)/python -m sim run simulations/text_to_sql.yaml

test: $(READY) lint
	$(BIN)/python -m pytest -q -n 2

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Rewrites the chapters and the matrix of specs/ from the clause registry and a fresh measurement.
specs: $(READY)
	$(BIN)/python -m tests.matrix --write

bench: $(READY)
	$(BIN)/python -m tests.benchmarks

# The reference engine under its own conformance suite, every profile, in virtual time.
conformance: $(READY)
	$(BIN)/python -m pytest -q --pyargs cellspec.conformance \
		--engine-backend=cellspec.conformance.reference:ReferenceBackend

# The report's pages in a real browser; needs Chromium (Debian package chromium).
test-browser: $(READY)
	$(BIN)/python -m pytest -q -m chromium

# The Murphi model against the explorer; needs rumur and gcc (Debian packages).
test-model: $(READY)
	$(BIN)/python -m pytest -q -m rumur

test-datadesigner: .venv-datadesigner/.ready
	.venv-datadesigner/bin/python -m pytest -q -m datadesigner

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
