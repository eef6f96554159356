# Needs python3 (3.11 or newer) and make, nothing else. Everything is installed into .venv beside this file.
PYTHON ?= python3
BIN := .venv/bin
SEED ?= 1
MINUTES ?= 1

# VIDEO goes to the recipe through the environment and is never expanded, neither by make nor by the shell:
# file names may hold anything.
override VIDEO := $(value VIDEO)
export VIDEO

PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.DELETE_ON_ERROR:
.PHONY: help install demo test chaos lint bench wheel lock clean

help:
	@echo 'make demo              transcode a made-up clip from a local bucket; VIDEO=FILE takes that file instead'
	@echo 'make install           put the watcher command into .venv/bin'
	@echo 'make test              run the tests'
	@echo 'make chaos             kill daemons and let B2 fail at random for MINUTES=1, as SEED=1 says; then check all;'
	@echo '                       KILLS=200 ends it after so many kills'
	@echo 'make lint              check style and types'
	@echo 'make bench             measure speed; VIDEO=FILE compares the usual way and ours for that film only'
	@echo 'make wheel             build dist/watcher-*.whl'
	@echo 'make lock              choose the newest versions of all dependencies anew'
	@echo 'make clean             remove .venv and everything that was built'
	@echo 'PYTHON=/path/python3   the Python to use (3.11 or newer)'

install: .venv/installed

demo: install
	@if [ -n "$$VIDEO" ]; then exec $(BIN)/watcher demo -- "$$VIDEO"; else exec $(BIN)/watcher demo; fi

test: .venv/installed-dev
	$(BIN)/python -m pytest -n auto --dist worksteal $(ARGS)

chaos: .venv/installed-dev
	$(BIN)/python tests/chaos/storm.py --seed $(SEED) --minutes $(MINUTES) $(if $(KILLS),--kills $(KILLS))

lint: .venv/installed-dev
	$(BIN)/python -m ruff check
	$(BIN)/python -m ruff format --check
	$(BIN)/python -m mypy

bench: .venv/installed-dev
	@if [ -n "$$VIDEO" ]; then set -- --video "$$VIDEO"; else set --; fi; \
	exec $(BIN)/python tests/bench/bench.py "$$@" $(ARGS)

wheel: .venv/installed
	$(PIP) wheel --no-deps --no-build-isolation --wheel-dir dist .

lock: .venv/installed
	$(PIP) install uv
	@compile() { \
	    $(BIN)/python -m uv pip compile "$$@" --upgrade --universal --python-version 3.11 --generate-hashes \
	        --no-emit-index-url --no-emit-find-links --no-annotate --custom-compile-command 'make lock' --quiet; \
	}; \
	compile pyproject.toml --group build --extra web --output-file requirements.lock && \
	compile pyproject.toml --group build --extra web --extra dev -c requirements.lock --output-file requirements-dev.lock && \
	compile --group browser -c requirements-dev.lock --output-file requirements-browser.lock

clean:
	rm -rf .venv dist watcher/web/node_modules watcher/web/static/hls.* watcher/contrib/django/static/watcher/hls.* .mypy_cache .pytest_cache .ruff_cache .hypothesis

# The marker is written last: an installation that was interrupted is taken up again.
.venv/installed: requirements.lock pyproject.toml watcher/web/package-lock.json hatch_build.py
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo 'Watcher needs Python 3.11 or newer as python3; name another one with make PYTHON=/path/to/python3' >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' || { \
	    echo 'This Python cannot make virtual environments; on Debian and Ubuntu: apt install python3-venv' >&2; exit 1; }
	@echo 'Installing Watcher into .venv (once; about 180 MB to download) ...'
	@"$(PYTHON)" -m venv .venv
	@$(PIP) install --require-hashes --requirement requirements.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

.venv/installed-dev: .venv/installed requirements-dev.lock
	@echo 'Installing what the tests need ...'
	@$(PIP) install --require-hashes --requirement requirements-dev.lock
	@touch $@
