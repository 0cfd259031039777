# make demo · make test · make bench: each does all of its own set-up (virtual environment, build, install).
PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin
EXTRAS  = test
OUT    ?= runs/demo

SOURCES = $(wildcard csrc/*) setup.py pyproject.toml constraints.txt

.PHONY: demo test test-long bench clean

# Installed once; again whenever the kernel or the packaging changes.
$(VENV)/.installed: $(SOURCES)
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 10) or sys.exit(f"fastmask needs Python 3.10 or newer, {sys.executable} is {v[0]}.{v[1]}: make PYTHON=python3.12 …")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

demo: $(VENV)/.installed
	$(BIN)/python -m training.demo --out $(OUT)

test: $(VENV)/.installed
	$(BIN)/python -m pytest -m "not long"

test-long: $(VENV)/.installed
	$(BIN)/python -m pytest

bench: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) build src/fastmask/_core*.so src/*.egg-info runs
