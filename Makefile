# Everything that a user or a developer runs. `make help` lists the targets.
PYTHON ?= python3
BIN := .venv/bin
RUN := $(BIN)/python -m augserve.pipeline
MLFLOW_PORT ?= 5000
SERVE_PORT ?= 8000
# Python of an environment with vLLM's CUDA build, pyarrow and scipy. .venv has the CPU build.
GPU_PYTHON ?= $(BIN)/python
# A vLLM release to test besides the one in .venv.
VLLM ?= 0.29.0
# Tests beside each other share neither files nor ports. Two real servers at once would be too slow.
PARALLEL := --numprocesses auto --maxprocesses 8 --dist loadfile
# Scheduler steps and seed of `make soak`.
STEPS ?= 1000000
SEED ?= 1
# Minutes that `make soak` runs a real server, too; 0: not at all.
MINUTES ?= 0
# Examples of each test of `make fuzz`.
EXAMPLES ?= 10000
# Supported releases beside the one in .venv.
OTHER_VLLM := 0.29.0 0.30.0 0.31.0 0.33.0

export PYTHONUNBUFFERED = 1
export DVC_NO_ANALYTICS = 1

.DEFAULT_GOAL := help
.PHONY: help env repro retrain test test-fast test-slow test-servers test-vllm test-others releases soak fuzz test-contract new-vllm check docs bench compare sessions information tune-long fidelity live profile-gpu study search ui serve lock clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 13

env: .venv/.complete  ## create .venv from requirements.lock; checks Python, the processor and the torch build first

.venv/.complete: requirements.lock pyproject.toml
	$(PYTHON) pipeline/project/environment.py
	touch $@

repro: env  ## run the DVC pipeline and print the results; only stages whose inputs changed are run
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/dvc repro
	@cat reports/headline.md

retrain: env  ## add a server's recordings to the training data, then `make repro`: TRACES=/path/to/traces [NAME=mine SLO_TTFT=2 SLO_TPOT=0.1]
	$(BIN)/augserve retrain "$(TRACES)" $(NAME) $(SLO_TTFT:%=--slo-ttft-s %) $(SLO_TPOT:%=--slo-tpot-s %)
	$(MAKE) repro

test: test-fast test-slow test-servers  ## run all tests

test-fast: env  ## run the tests that need no DVC, PostgreSQL, browser or real server, one file a core
	$(BIN)/pytest $(PARALLEL) -m "not slow"

test-slow: env  ## run the tests that need DVC, PostgreSQL or a browser
	$(BIN)/pytest -m slow $$(grep -rl --include 'test_*.py' --exclude-dir e2e 'mark\.slow' tests)

test-servers: env  ## run the tests with real servers
	$(BIN)/pytest -m slow tests/e2e

test-vllm: env build/vllm-$(VLLM)  ## run the tests that touch vLLM's scheduler on another release: VLLM=0.30.0 (default 0.29.0)
	PYTHONPATH=build/vllm-$(VLLM) $(BIN)/python -c 'import vllm; assert vllm.__version__ == "$(VLLM)", vllm.__file__'
	PYTHONPATH=build/vllm-$(VLLM) $(BIN)/pytest $(PARALLEL) -m "not slow" tests/unit/runtime/vllm_compat tests/unit/runtime/queueing/test_waiting_queue.py \
	  tests/integration/runtime --ignore tests/integration/runtime/sessions

soak: env  ## random events on vLLM's scheduler with every feature, a million steps: 30 minutes; [STEPS=20000 SEED=2 MINUTES=60 on a real server]
	SOAK_STEPS=$$(( $(STEPS) / 20 )) SOAK_SEED=$(SEED) $(BIN)/pytest -v -rP tests/integration/runtime/test_soak.py
	SOAK_MINUTES=$(MINUTES) $(BIN)/pytest -s tests/e2e/test_soak.py tests/e2e/test_memory_pressure.py

fuzz: env  ## damaged requests, records, bundles, settings and registry answers, 10,000 of each: 20 minutes; [EXAMPLES=1000]
	FUZZ_EXAMPLES=$(EXAMPLES) $(BIN)/pytest -m fuzz --timeout 0

releases: env $(OTHER_VLLM:%=build/vllm-%)  ## fetch the other supported releases of vLLM: 120 to 340 MB each

test-others: releases  ## run the tests that touch vLLM on the oldest and the newest other release, and those of the contract on all
	$(MAKE) test-vllm VLLM=$(firstword $(OTHER_VLLM)) PARALLEL=
	$(MAKE) test-vllm VLLM=$(lastword $(OTHER_VLLM)) PARALLEL=
	$(MAKE) test-contract

test-contract: releases  ## whether every supported vLLM has the functions that AugServe relies on, unchanged
	$(BIN)/pytest tests/integration/test_vllm_contract.py
	for vllm in $(OTHER_VLLM); do PYTHONPATH=build/vllm-$$vllm $(BIN)/pytest tests/integration/test_vllm_contract.py || exit 1; done

new-vllm: env build/vllm-$(VERSION)  ## compare a new vLLM with what AugServe relies on, and run the tests on it: VERSION=0.34.0
	PYTHONPATH=build/vllm-$(VERSION) $(BIN)/python -m experiments.vllm_release compare
	$(MAKE) test-vllm VLLM=$(VERSION)

build/vllm-%:
	$(BIN)/python -m experiments.vllm_release fetch $* $@

check: env  ## run ruff, mypy --strict and the import contracts
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/mypy --namespace-packages --explicit-package-bases benchmarks experiments deploy
	$(BIN)/lint-imports

docs: env  ## build the documentation site into build/site; broken links and warnings fail
	$(BIN)/python -m docs.tables
	$(BIN)/zensical build --clean --strict

bench: env  ## measure the speed of our own code into reports/bench/ (after `make repro`, on an idle machine)
	$(BIN)/python -m benchmarks.features
	$(BIN)/python -m benchmarks.predict
	$(BIN)/python -m benchmarks.schedule
	$(BIN)/python -m benchmarks.simulator
	$(BIN)/python -m benchmarks.linking
	$(BIN)/python -m benchmarks.recorder
	$(BIN)/python -m benchmarks.importing

compare: env  ## simulate all policies on all workloads and two engines into reports/compare/: 50 minutes; resumes after an interruption
	$(BIN)/python -m experiments.compare
	$(RUN) report

sessions: env  ## simulate agents whose contexts exceed the KV cache, against stock vLLM at its best static setting, into reports/sessions/: an hour; resumes after an interruption
	$(BIN)/python -m experiments.sessions

fidelity: env  ## compare the simulator with a real server on this CPU into reports/fidelity/: 26 minutes (after `make repro`, on an idle machine)
	$(BIN)/python -m experiments.fidelity
	$(RUN) report

live: env  ## compare AugServe with stock vLLM on a real server on this CPU into reports/live/: 22 minutes (after `make fidelity`, on an idle machine)
	$(BIN)/python -m experiments.fidelity.live
	$(RUN) report

profile-gpu: env  ## measure step times of the real engine on this GPU: GPU_PYTHON=/path/to/python
	PYTHONPATH=src $(GPU_PYTHON) -m augserve.pipeline.profile.gpu

information: env  ## measure what each forecast is worth into reports/information/: half an hour (after `make repro`)
	$(BIN)/python -m experiments.information

tune-long: env  ## search the scheduler's settings for a night (`tune_long` in params.yaml); resumes after an interruption
	$(RUN) tune --long
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/dvc commit --force tune

study: env  ## measure the predictors' learning curve, transfer between sets and a larger model into reports/train/
	$(BIN)/python -m experiments.learning_curve

search: env  ## search the predictors' hyper-parameters with Optuna; copy the result into params.yaml by hand
	$(BIN)/python -m experiments.hyperparameters

ui: env  ## start MLflow on this folder's runs: http://127.0.0.1:5000, or MLFLOW_PORT=…
	$(BIN)/mlflow ui --backend-store-uri sqlite:///mlflow.db --host 127.0.0.1 --port $(MLFLOW_PORT)

serve: env  ## start vLLM with the packaged bundle and tool calls (examples/agent.py talks to it): http://127.0.0.1:8000/v1, or SERVE_PORT=…
	$(BIN)/python -m augserve.pipeline.server.serve --port $(SERVE_PORT)

lock:  ## resolve requirements.lock from pyproject.toml; UPGRADE=--upgrade also moves the pinned versions
	$(PYTHON) -m venv build/lock
	build/lock/bin/pip install --quiet uv
	build/lock/bin/uv pip compile $(UPGRADE) pyproject.toml --extra train --group dev --group docs --group engine \
	  --python-version 3.11 --python-platform x86_64-manylinux_2_28 --no-header --annotation-style line \
	  --output-file requirements.lock

clean:  ## remove build outputs and caches; keeps .venv and DVC's outputs
	rm -rf build dist logs .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
