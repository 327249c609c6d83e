# Everything lives in .venv inside this folder. `make demo` and `make test` do all that is needed by themselves.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
PEER := .venv-peer

.PHONY: setup demo test test-servers check journey bench bench-ingest bench-history faults faults-ingest peer clean

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

# What the gateway costs, and the fault bench; `QUICK=1` is the short form. With thingsboard-gateway beside ours, in an
# environment of its own because it needs an older pymodbus; where it cannot be had, its stored results are shown.
bench: setup test-servers peer
	@$(BIN)/python -m bench.performance $(if $(QUICK),--quick) $(ARGS)

# What the cloud's ingest costs, with a bare paho → SQLite script beside it, within six minutes. `ARGS=--memory`: the long
# run that watches its memory.
bench-ingest: setup test-servers
	@$(BIN)/python -m bench.ingest $(if $(QUICK),--quick) $(ARGS)

# What history costs, with a real VictoriaMetrics beside it, within five minutes.
bench-history: setup test-servers
	@$(BIN)/python -m bench.history $(if $(QUICK),--quick) $(ARGS)

faults: setup test-servers peer
	@$(BIN)/python -m bench.faults $(if $(QUICK),--quick) $(ARGS)

# What of the fault bench is about ingest alone.
faults-ingest: setup test-servers
	@$(BIN)/python -m bench.faults --no-peer $(if $(QUICK),--quick) --jobs 1 \
		--only "cloud killed -9 at" "power cut of the cloud" "ingest sent" $(ARGS)

peer:
	@test -n "$(QUICK)" -o -e $(PEER)/.installed || { \
		echo "Installing thingsboard-gateway into $(PEER) (about a minute) …"; \
		$(PYTHON) -m venv $(PEER) && \
		$(PEER)/bin/python -m pip install --quiet --disable-pip-version-check \
			thingsboard-gateway==3.8.5 pymodbus==3.9.2 && \
		touch $(PEER)/.installed; } || \
		{ echo "thingsboard-gateway cannot be installed here; its stored results are shown"; rm -rf $(PEER); }

clean:
	rm -rf .venv $(PEER) demo-data build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
