# Two commands on a fresh machine with Python 3.11+: `make plan` and `make test`. Everything else is a variation.
PYTHON ?= python3
SCENARIO ?= scenarios/quickstart.yaml
TRUTH ?= ../shared/truth
VENV := .venv
BIN := $(VENV)/bin

# An environment whose Python has gone is stale, whatever its stamps say.
$(shell test ! -e $(VENV) || $(BIN)/python -c pass 2>/dev/null || rm -f $(VENV)/.core $(VENV)/.test)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help plan test lint types layers unit bench accuracy wheel clean

help:
	@echo "make plan      plan $(SCENARIO), print the plan, write plan.json"
	@echo "make test      what CI runs: ruff, mypy, import-linter, pytest"
	@echo "make bench     measure speed (help, simulator, planning)"
	@echo "make accuracy  score predictions on measured tables, write docs/accuracy.md"
	@echo "make wheel     build the wheel into dist/"
	@echo "make clean     remove the environment and everything that was built"

plan: $(VENV)/.core
	$(BIN)/python -m planner plan $(SCENARIO) -o plan.json

test: lint types layers unit

lint: $(VENV)/.test
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .

types: $(VENV)/.test
	$(BIN)/python -m mypy

layers: $(VENV)/.test
	$(BIN)/python $(BIN)/lint-imports

unit: $(VENV)/.test
	$(BIN)/python -m pytest -n 2

bench: $(VENV)/.test
	$(BIN)/python -m pytest -m bench -s -q
	$(BIN)/python tools/bench_price.py
	$(BIN)/python tools/bench_sim.py
	$(BIN)/python tools/bench_plan.py
	$(BIN)/python tools/bench_select.py --no-peer

# Needs the measured table, which is not part of this project. A file of left-out predictions that lies in build/ under
# another kind's name (static-gpu.csv) is scored too; tools/left_out.py says what the kinds are.
LEFT_OUT = closed closed-gpu closed-datasheet static static-gpu batches disagg disagg-gpu energy energy-gpu
accuracy: $(VENV)/.test
	@mkdir -p build
	$(BIN)/python -m planner validate $(TRUTH)/points_dev.csv.gz -o build/predictions.csv --jobs 2 --quiet >/dev/null
	$(BIN)/python tools/fit_profiles.py $(TRUTH)/points_dev.csv.gz --closed --sample 7 --score 12 --jobs 2 \
	  --out-of-fold build/closed.csv --out-of-gpu build/closed-gpu.csv --out-of-datasheet build/closed-datasheet.csv
	$(BIN)/python tools/fit_cells.py $(TRUTH)/points_dev.csv.gz --source argonne --sample 10 --jobs 2 \
	  --out-of-fold build/static.csv
	$(BIN)/python tools/fit_cells.py $(TRUTH)/points_dev.csv.gz --without argonne --sample 6 --rounds 4 --jobs 2 \
	  --out-of-fold build/batches.csv
	$(BIN)/python tools/fit_cells.py $(TRUTH)/points_dev.csv.gz --splits --sample 4 --score 8 --rounds 2 --jobs 2 \
	  --out-of-fold build/disagg.csv
	$(BIN)/python tools/fit_energy.py $(TRUTH)/points_dev.csv.gz --jobs 2 \
	  --out-of-fold build/energy.csv --out-of-gpu build/energy-gpu.csv
	$(BIN)/python tools/score_anchors.py $(TRUTH)/points_dev.csv.gz --configurations 60 --json build/anchors.json
	$(BIN)/python tools/score_runs.py $(TRUTH)/runs_dev --json build/runs.json
	$(BIN)/python tools/write_accuracy.py $(TRUTH)/points_dev.csv.gz build/predictions.csv \
	  --left-out batches=build/static.csv \
	  $$(for kind in $(LEFT_OUT); do test ! -e build/$$kind.csv || echo --left-out $$kind=build/$$kind.csv; done) \
	  --anchors build/anchors.json --runs build/runs.json \
	  --peer "AIConfigurator 0.12=$(TRUTH)/aiconfigurator_predictions_dev.csv"

wheel: $(VENV)/.test
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
	@ls dist

clean:
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# The stamps are older than pyproject.toml, or missing, exactly when the environment is stale.
$(VENV)/.core: pyproject.toml
	$(call environment,.)
	@touch $@

$(VENV)/.test: pyproject.toml
	$(call environment,.[test])
	@touch $(VENV)/.core $@

define environment
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "serveplan needs Python 3.11 or newer as '$(PYTHON)'; set PYTHON=/path/to/python3.11" >&2; exit 2; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || \
	  { echo "python -m venv failed; on Debian: apt-get install python3-venv" >&2; exit 2; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable "$(1)"
endef
