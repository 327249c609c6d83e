# Everything lives in .venv inside this folder. `make demo` and `make test` do all that is needed by themselves.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: setup demo test test-servers check journey bench clean

setup: $(STAMP)

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "coldproof needs Python 3.11 or newer; set PYTHON=…")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || \
		{ echo "Python cannot make a virtual environment: install Debian's python3-venv"; rm -rf .venv; exit 1; }
	@echo "Installing the libraries into .venv (about a minute) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $(STAMP)

demo: setup
	@$(BIN)/coldproof demo $(ARGS)

# The browser and the broker the tests drive: Debian packages where we may install them.
test-servers: setup
	@sh deploy/test-servers.sh

test: setup test-servers
	@PLAYWRIGHT_BROWSERS_PATH=$(CURDIR)/.venv/browsers $(BIN)/python -m pytest -m "not slow" $(ARGS)

check: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

# The long journey: the whole recorded cold-store log through the whole house.
journey: setup test-servers
	@$(BIN)/python -m pytest -m slow tests/journeys $(ARGS)

bench: setup test-servers
	@$(BIN)/python bench/spine.py $(ARGS)

clean:
	rm -rf .venv demo-data build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
