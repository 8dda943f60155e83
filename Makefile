# make demo   the whole pipeline on phantoms of five datasets, then a table of the scores
# make test   every test
# make lint   the checks of .ci/run without the tests
# make web    the page of `sdseg export --to web` from its sources, by Node and npm
#
# Each sets up what it needs: a virtual environment in .venv with exactly the versions of requirements.lock.
# make … PYTHON=python3.12                      another Python, 3.11 or newer
# make … LOCK=requirements-gpu.lock             for a machine with an NVIDIA GPU
# PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make …
#                                               PyTorch's own builds for CPUs: on Linux 3 GB less than PyPI's

PYTHON ?= python3
VENV ?= .venv
LOCK ?= requirements.lock
CORES ?= 2
BIN := $(VENV)/bin
STAMP := $(VENV)/installed-from-$(LOCK)
PAGE := web/node_modules/.package-lock.json

.PHONY: demo test lint venv generate lock types web clean

demo: $(STAMP)
	$(BIN)/snakemake --cores $(CORES) --quiet host reason --configfile config/demo.yaml
	@$(BIN)/python -m sdseg report --table

# One process more than cores: some wait for a browser, or for a command to end.
test: $(STAMP) $(PAGE)
	$(BIN)/python -m pytest -n $$(($(CORES) + 1)) --dist loadgroup

lint: $(STAMP)
	.ci/run --no-tests

venv: $(STAMP)

$(STAMP): $(LOCK) pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed; '$(PYTHON)' is missing or older. Name another one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@if [ -e $(VENV) ] && [ ! -e $(VENV)/pyvenv.cfg ]; then \
	  echo "'$(VENV)' is there but is no virtual environment; move it away or name another: make VENV=folder" >&2; exit 1; fi
	@echo "setting up $(VENV) from $(LOCK), once; this takes a minute or three"
	@$(PYTHON) -m venv --clear $(VENV) || { \
	  echo "Python's venv module does not work here; on Debian or Ubuntu: apt install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement $(LOCK)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

generate: $(STAMP)
	$(BIN)/python tools/generate.py

lock: $(STAMP)
	$(BIN)/python tools/generate.py --lock

# Of the page's sources, exact versions; without Node.js their tests skip, and say so.
$(PAGE): web/package-lock.json
	@if ! command -v npm >/dev/null; then echo "npm is not installed: the tests of the page's sources will be skipped"; \
	elif ! (cd web && npm ci --no-audit --no-fund && touch node_modules/.package-lock.json); then \
	  echo "npm ci failed: the tests of the page's sources will be skipped" >&2; fi

# What `make test` leaves of `make web`: it runs their tests, and compares what they build with what is committed.
types: $(PAGE)
	cd web && npm run check

web: $(PAGE)
	cd web && npm run check && npm test && npm run build

clean:
	rm -rf $(VENV) .snakemake .pytest_cache .mypy_cache .ruff_cache .hypothesis sdseg.egg-info
