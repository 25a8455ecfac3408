# The commands of the project. PYTHON=python3.12 chooses the interpreter, VENV=folder the environment,
# TORCH=cpu (or cu126, cu130) the build of PyTorch; start.sh explains them and does the same without make.
VENV ?= .venv
BIN := $(VENV)/bin
PYTEST_ARGS ?=
# Two processes, each with the tests of whole files and one thread for torch: CI has two cores.
PARALLEL := -n 2 --dist loadfile --no-loadscope-reorder
export VENV PYTHON TORCH

.PHONY: help setup rehearsal lab test test-quick bench-training bench-service bench-conversion soak fuzz lint format clean

help:
	@echo "make setup       the environment in $(VENV), from pyproject.toml and constraints.txt"
	@echo "make rehearsal   all ten lessons on the bundled sample: no GPU, no network"
	@echo "make lab         JupyterLab at the first lesson"
	@echo "make test        all tests; those on real weights where ../shared is there"
	@echo "make test-quick  the tests that take seconds"
	@echo "make bench-training  training beside the guide's, by the step and by the clock, on DATA and BASE_MODEL"
	@echo "make bench-service   serving beside the guide's: speed and memory, with ADAPTER (an OUTPUT_DIR) and GUIDE_ADAPTER"
	@echo "make bench-conversion  converting 100 mixed files beside the guide's loop"
	@echo "make soak        never the wrong patient: the service under load, failures and strangers, for SECONDS (600)"
	@echo "make fuzz        broken and forged files of every format against the decoder, for SECONDS (600)"
	@echo "make lint        style, types, import contracts, spelling, clean notebooks"
	@echo "make format      put the style right"

setup:
	@./start.sh --setup

rehearsal:
	@./start.sh --rehearsal

lab:
	@./start.sh

test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PARALLEL) -m "not alone" $(PYTEST_ARGS)
	$(BIN)/python -m pytest -m alone $(PYTEST_ARGS)

test-quick: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PARALLEL) -m "not slow and not real" $(PYTEST_ARGS)

DATA ?= ../shared/speech/impaired_speaker
BASE_MODEL ?= ../shared/models/whisper-base
bench-training: setup
	$(BIN)/python benchmarks/bench_training.py --data $(DATA) --base-model $(BASE_MODEL)
	$(BIN)/python benchmarks/time_to_cer.py --data $(DATA) --base-model $(BASE_MODEL)

bench-service: setup
	$(BIN)/python benchmarks/bench_service.py --data $(DATA) --base-model $(BASE_MODEL) \
		--adapter $(ADAPTER) --guide-adapter $(GUIDE_ADAPTER)

bench-conversion: setup
	$(BIN)/python benchmarks/bench_conversion.py

SECONDS ?= 600
soak: setup
	$(BIN)/python benchmarks/soak.py --seconds $(SECONDS)

fuzz: setup
	$(BIN)/python benchmarks/fuzz_decoder.py --seconds $(SECONDS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/codespell
	$(BIN)/nbstripout --verify --keep-count --keep-id notebooks/*.ipynb

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .ci/venv rehearsal
