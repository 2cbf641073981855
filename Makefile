# The two commands of the README, and what contributors type.
PYTHON ?= python3
VENV ?= .venv
OUT ?= runs/demo
WORKERS ?= auto
BIN := $(VENV)/bin

.PHONY: demo test lowest lint docs picture clean

demo: $(VENV)/.installed
	$(BIN)/gradaudit demo --out $(OUT)

# One process a core, up to four; each on one thread, as its networks are too small for more.
test: export OMP_NUM_THREADS = 1
test: $(VENV)/.installed-test
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/pytest -n $(WORKERS) --maxprocesses 4 --dist worksteal

# The core rooms' tests with the lowest releases of the dependencies.
lowest: $(VENV)/.installed-test
	.ci/lowest $(VENV)

lint: $(VENV)/.installed-test
	$(BIN)/ruff check --fix src tests benchmarks
	$(BIN)/ruff format src tests benchmarks

docs: $(VENV)/.installed-test
	$(BIN)/python -m docs.generate

# The picture at the head of the README, from the demo's page.
picture: demo
	chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --force-device-scale-factor=1 \
	  --window-size=1280,860 --screenshot=docs/demo.png $(OUT)/report.html

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/.installed-test: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[test]"
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) runs build src/*.egg-info
