# Everything a person or CI does, one target each.  Needs Python >= 3.11 and make; only `hapi`,
# `bench-sink` and `test-servers` need Java 17 and Maven.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check install
PACKAGES := jobs sources sinks store tsi_fetch
FILES := $(shell find $(PACKAGES) -type f -not -name '*.pyc') pyproject.toml README.md LICENSE
DEMO := demo
TALLY := fire/tally.jsonl
FIRE_AT := $(BIN)/python -W ignore -m tests.faults
FIRE_SUM = $(FIRE_AT).tally $(TALLY)
FIRE_FROM = --seed $(or $(SEED),1) --tally $(TALLY)

FIRE_KINDS = 'in process=$(1) overtaken' 'in process=$(1) workers' 'in process=$(1) somebody edits' \
  'in process=$(1) somebody deletes' 'in process=$(1) the server is wiped' 'in process=$(1) the server is restored' \
  'in process=$(1) a planned stop' 'in process=$(1) a vanishing held back' 'in process=$(1) days without a run' \
  'real process, sqlite=$(1) kills' 'real process, postgres=$(1) kills' 'two runners=$(1) started together' \
  'two runners=$(1) paused at' "two runners=$(1) woken in the middle of the other's run" 'two runners=$(1) store gone' \
  'real servers=$(1) HAPI restarted' "real servers=$(1) HAPI's database restored" 'real servers=$(1) somebody edits' \
  'real servers=$(1) somebody deletes' 'real servers=$(1) reconcile --fix'

.PHONY: help demo test test-servers check lint hapi cima-server bench-sink bench-cima bench-memory bench-store bench-backfill load-cima lock \
	fire fire-long fire-inside fire-processes fire-servers fire-runners fire-machine fire-hostile fire-crash \
	schema recording wheel clean
.DELETE_ON_ERROR:

help: ## what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/ready-to-run: requirements.lock requirements-build.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or later is needed; name it with PYTHON=python3.12" >&2; exit 78; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) --require-hashes -r requirements.lock -r requirements-build.lock
	@touch $@

$(VENV)/ready-to-test: $(VENV)/ready-to-run requirements-dev.lock
	$(PIP) --require-hashes -r requirements-dev.lock
	@touch $@

$(VENV)/installed: $(VENV)/ready-to-run $(FILES)
	$(PIP) --no-deps --no-build-isolation --force-reinstall .
	@touch $@

demo: $(VENV)/installed ## the CIMA job from a recording, into the folder demo/epi (offline once set up)
	@mkdir -p $(DEMO)
	$(BIN)/tsi-fetch run cima --replay jobs/recordings/cima --store sqlite:///$(DEMO)/store.db --sink $(DEMO)/epi

test: $(VENV)/ready-to-test $(VENV)/installed ## every test but those on a real HAPI server, on all cores
	$(BIN)/python -m pytest -m "not servers" -n auto --dist worksteal $(PYTEST_ARGS)

test-servers: $(VENV)/ready-to-test $(VENV)/installed ## the tests on a real HAPI FHIR server and PostgreSQL
	$(BIN)/python -m pytest -m servers $(PYTEST_ARGS)

lint: $(VENV)/ready-to-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test ## ruff, mypy --strict, import-linter, and the tests with warnings as errors

hapi: $(VENV)/ready-to-test ## a real HAPI FHIR server (RELEASE=R4 or R5, PostgreSQL) as deployed, until Ctrl-C
	dev/hapi/run --release $(or $(RELEASE),R5) $(HAPI_ARGS)

cima-server: $(VENV)/ready-to-test ## a made-up register of 25,400 products on port 8099, until Ctrl-C (SERVER_ARGS=--help)
	$(BIN)/python dev/cima_server.py --seed 1 --port 8099 $(SERVER_ARGS)

bench-sink: $(VENV)/ready-to-test ## how fast the FHIR sink is on a real HAPI server here; half an hour (BENCH_ARGS=--help)
	$(BIN)/python -W ignore -m dev.bench_sink $(BENCH_ARGS)

bench-cima: $(VENV)/ready-to-test ## a first load of all of a made-up CIMA, and its nights; hours (BENCH_ARGS="--products 254 --few 64")
	$(BIN)/python -W ignore -m dev.bench_cima $(BENCH_ARGS)

bench-memory: $(VENV)/ready-to-test ## the memory of a run over a million rows against ten thousand; half an hour
	$(BIN)/python -W ignore -m dev.bench_memory $(BENCH_ARGS)

bench-store: $(VENV)/ready-to-test ## the store among ten million refs against a hundred thousand; half an hour
	$(BIN)/python -W ignore -m dev.bench_store $(BENCH_ARGS)

bench-backfill: $(VENV)/ready-to-test ## a backfill by 1, 2, 4 and 8 workers; five minutes (BENCH_ARGS=--help)
	$(BIN)/python -W ignore -m dev.bench_backfill $(BENCH_ARGS)

load-cima: $(VENV)/ready-to-test ## a first load of the made-up register, interrupted ten times, then checked (LOAD_ARGS=--help)
	$(BIN)/python -m dev.load_cima $(LOAD_ARGS)

fire: ## the promise under fire, a quarter of an hour: four rings, and the sum of what was lost, doubled or falsely green
	-$(MAKE) fire-inside FIRE=500
	-$(MAKE) fire-processes FIRE=6
	-$(MAKE) fire-processes FIRE=6 STORE=postgres
	-$(MAKE) fire-runners FIRE=6
	-$(MAKE) fire-servers KILLS=25
	$(FIRE_SUM) --need 'in process=500' 'real process, sqlite=6' 'real process, postgres=6' 'two runners=6' \
	  'real servers=25 kills' $(call FIRE_KINDS,1)

fire-long: ## the same for hours, hostile input and the state machine too, then docs/fire.md; ended, it goes on where it was
	-$(MAKE) fire-servers KILLS=300
	-$(MAKE) fire-runners FIRE=100
	-$(MAKE) fire-processes FIRE=100
	-$(MAKE) fire-processes FIRE=100 STORE=postgres
	-$(MAKE) fire-inside FIRE=10000
	-$(MAKE) fire-machine MACHINE=500
	-$(MAKE) fire-hostile MUTATIONS=100000
	-$(MAKE) fire-crash
	$(FIRE_SUM) --page docs/fire.md --need 'in process=10000' 'real process, sqlite=100' 'real process, postgres=100' \
	  'two runners=100' 'real servers=300 kills' 'machine=500 examples' 'hostile=100000 mutations' 'crash=200 points' \
	  $(call FIRE_KINDS,5)

fire-inside: $(VENV)/ready-to-test ## ring 1: the loop in this process, dying at any seam (FIRE=500 trials, SEED=1)
	$(FIRE_AT).inside --trials $(or $(FIRE),500) $(FIRE_FROM)

fire-processes: $(VENV)/ready-to-test ## ring 2: runs as processes, killed at any moment (FIRE=20 trials, STORE=postgres)
	$(FIRE_AT).processes --trials $(or $(FIRE),20) --store $(or $(STORE),sqlite) $(FIRE_FROM)

fire-servers: $(VENV)/ready-to-test ## ring 3: the same against a real HAPI on PostgreSQL (KILLS=25)
	$(FIRE_AT).real_servers --kills $(or $(KILLS),25) $(FIRE_FROM)

fire-runners: $(VENV)/ready-to-test ## ring 4: two runners of one job, paused, overtaken and woken (FIRE=20 trials)
	$(FIRE_AT).two_runners --trials $(or $(FIRE),20) $(FIRE_FROM)

fire-machine: $(VENV)/ready-to-test ## ring 1 as a state machine that hypothesis drives (MACHINE=100 examples)
	$(FIRE_AT).suites machine --number $(or $(MACHINE),100) --tally $(TALLY)

fire-hostile: $(VENV)/ready-to-test ## input meant to harm (MUTATIONS=100000 of each kind)
	$(FIRE_AT).suites hostile --number $(or $(MUTATIONS),100000) --tally $(TALLY)

fire-crash: $(VENV)/ready-to-test ## a run killed at each of its calls in turn
	$(FIRE_AT).suites crash --tally $(TALLY)

schema: $(VENV)/ready-to-test ## generate the job file's JSON Schema anew
	$(BIN)/python -m jobs.config.schema

recording: $(VENV)/ready-to-test ## make the shipped recording anew
	$(BIN)/python dev/make_recording.py

lock: ## lock the dependencies anew (needs uv)
	uv pip compile -q pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -o requirements.lock
	uv pip compile -q --group build --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -o requirements-build.lock
	uv pip compile -q pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -o requirements-dev.lock

wheel: $(VENV)/ready-to-test ## build the wheel into dist/
	$(BIN)/python -m build --wheel --no-isolation

clean: ## forget the environment and the demo
	rm -rf $(VENV) $(DEMO) dist build
