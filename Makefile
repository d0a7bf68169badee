# Each target installs what it needs into .venv; a second call starts at once.
PYTHON ?= python3
PORT ?= 8501
ARGS ?=
BIN := .venv/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check

export WANDB_MODE := disabled
export TOKENIZERS_PARALLELISM := false
# Tests and benchmarks never reach for the network; one thread a process keeps two workers out of each other's way.
ALONE := HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 OMP_NUM_THREADS=1

# The peers need another transformers than ours, so both sides meet in files.
EXCHANGE := $(CURDIR)/test-results/peers

.DEFAULT_GOAL := help
.PHONY: help install run test test-peers check bench load format clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' Makefile

install: .venv/runtime.stamp ## install what the app needs into .venv

run: .venv/runtime.stamp ## start the app on http://127.0.0.1:8501 (PORT=... for another port)
	$(BIN)/streamlit run app.py --server.address 127.0.0.1 --server.port $(PORT)

test: .venv/dev.stamp ## run all tests (ARGS="tests/capture -k bos" for some)
	$(ALONE) $(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

test-peers: .venv/dev.stamp .venv-peers/stamp ## steer with our files in repeng and steering-vectors, in an environment of their own
	rm -rf $(EXCHANGE)
	$(ALONE) $(BIN)/python -m tests.peers.write_exchange $(EXCHANGE)
	$(ALONE) STEERSCOPE_EXCHANGE=$(EXCHANGE) .venv-peers/bin/pytest -c tests/peers/pytest.ini --confcutdir=tests/peers tests/peers
	$(ALONE) STEERSCOPE_EXCHANGE=$(EXCHANGE) $(BIN)/python -m pytest tests/peers/read_back.py

check: .venv/dev.stamp ## format, lint, types, architecture
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy capture analysis kernels sae steering
	$(ALONE) $(BIN)/python -m pytest tests/test_architecture.py

bench: .venv/dev.stamp ## run every benchmark in turn; rows are added to benchmarks/results.csv
	@for file in benchmarks/bench_*.py; do \
		[ -e "$$file" ] || continue; \
		name=$$(basename $$file .py); echo "== $$name"; \
		$(ALONE) $(BIN)/python -m benchmarks.$$name || exit 1; \
	done

load: .venv/dev.stamp ## 20 visitors for two minutes on a server of its own (ARGS="--visitors 5 --seconds 30")
	$(ALONE) $(BIN)/python -m benchmarks.load $(ARGS)

format: .venv/dev.stamp ## format the code and mend what lint can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove .venv, caches and the store
	rm -rf .venv .venv-peers .pytest_cache .ruff_cache .mypy_cache .hypothesis test-results data/cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name one with: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv .venv

.venv/runtime.stamp: requirements.txt | .venv/bin/python
	@echo "Installing what the app needs into .venv (a few minutes, once)"
	$(PIP) -r requirements.txt
	@touch $@

.venv/dev.stamp: requirements.txt requirements-dev.txt | .venv/bin/python
	@echo "Installing what tests and checks need into .venv (a few minutes, once)"
	$(PIP) -r requirements-dev.txt
	@touch $@ .venv/runtime.stamp

.venv-peers/stamp: requirements-peers.txt
	@echo "Installing repeng and steering-vectors into .venv-peers (a minute, once)"
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/pip install --quiet --disable-pip-version-check -r requirements-peers.txt
	@touch $@
