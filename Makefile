# One word a command; `make help` lists them. Everything lives in .venv and .winnow, and what is built beside its source.
.DEFAULT_GOAL := help
SHELL := bash
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.stamp
SOURCES := pyproject.toml constraints.txt client/pyproject.toml $(wildcard kernels/*.pyx kernels/*.pxd kernels/*.h kernels/*.hpp kernels/*.inc)

.PHONY: help setup demo serve stop test test-slow test-faults lint types imports bench clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

setup: $(STAMP) ## make .venv, install, build the kernels

$(STAMP): $(SOURCES)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Winnow needs Python 3.11 or newer; name one with PYTHON=/path/to/python3"; exit 1; }
	@command -v $${CC:-cc} >/dev/null && command -v $${CXX:-c++} >/dev/null \
		|| { echo "Winnow needs a C and a C++17 compiler (Debian: apt-get install build-essential python3-dev)"; exit 1; }
	@test -f "$$($(PYTHON) -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" \
		|| { echo "Python's headers are missing (Debian: apt-get install python3-dev)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv \
		|| { echo "python3 -m venv failed (Debian: apt-get install python3-venv)"; exit 1; }
	@echo "Installing into .venv and building the kernels; about a minute ..."
	@$(BIN)/python -m pip install --quiet -c constraints.txt -e ./client -e '.[dev]' >.venv/setup.log 2>&1 \
		|| { tail -30 .venv/setup.log; echo "the whole log: .venv/setup.log"; exit 1; }
	@touch $(STAMP)

demo: setup ## filter a rendered dataset over HTTP, to its list and plots
	@$(BIN)/winnow demo

serve: setup ## serve on http://127.0.0.1:8000 with the demo's data (ROOT=/folder to allow another)
	@$(BIN)/winnow serve --data-dir .winnow/demo/data --allow-root .winnow/demo $(if $(ROOT),--allow-root $(ROOT))

stop: ## stop a service started here by `make serve`
	@pkill -TERM -f "$(CURDIR)/$(BIN)/[p]ython.*winnow serve" || echo "no service runs here"

test: setup ## run every test, against a real PostgreSQL and Redis
	@$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow" -q

test-slow: setup ## run the tests that take minutes
	@$(BIN)/python -m pytest -m slow -q

test-faults: setup ## run the fault matrix alone
	@$(BIN)/python -m pytest tests/faults -q -rA

lint: setup ## style and formatting
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: setup ## strict types
	@$(BIN)/mypy

imports: setup ## who may import whom
	@$(BIN)/lint-imports

bench: setup ## print the figures of benchmarks/README.md
	@$(BIN)/python benchmarks/bench_service.py submit
	@$(BIN)/python benchmarks/bench_service.py vectors
	@$(BIN)/python benchmarks/bench_kernels.py peers
	@$(BIN)/python benchmarks/bench_kernels.py shapes

clean: ## remove .venv, .winnow, caches and built kernels
	@rm -rf .venv .winnow build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@rm -rf kernels/*.so kernels/*.c kernels/*.cpp *.egg-info client/*.egg-info
