# The two commands of the README, and the commands for contributors.
PYTHON ?= python3
VENV ?= .venv
OUT ?= runs/demo
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
BIN := $(VENV)/bin

.PHONY: demo test lowest sdist lint docs picture clean

demo: $(VENV)/.installed
	$(BIN)/gradaudit demo --out $(OUT)

# One process more than cores, up to four, each with one thread: the networks are too small for more, and some tests wait.
test: export OMP_NUM_THREADS = 1
test: $(VENV)/.installed-test
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/pytest -n $(WORKERS) --maxprocesses 4 --dist worksteal

# The tests of the core packages with the lowest releases of the dependencies.
lowest: $(VENV)/.installed-test
	.ci/lowest $(VENV)

# The source distribution, and a fast part of its tests in it.
sdist: $(VENV)/.installed-test
	.ci/sdist $(VENV)

lint: $(VENV)/.installed-test
	$(BIN)/ruff check --fix src tests benchmarks
	$(BIN)/ruff format src tests benchmarks

docs: $(VENV)/.installed-test
	$(BIN)/python -m docs.generate

# The image at the top of the README, from the report of the demo.
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
