# make demo · make test · make bench · make docs: each does all of its own set-up (virtual environment, build, install).
PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin
EXTRAS  = test
OUT    ?= runs/demo

SOURCES = $(wildcard csrc/*.* csrc/regex/*) setup.py pyproject.toml constraints.txt

.PHONY: demo test test-long test-asan test-tsan bench bench-compare bench-readme bench-plots bench-instructions docs fresh clean

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

# The whole suite on a kernel that checks its addresses and its arithmetic; the threaded tests on one that looks for
# races. The thread sanitizer cannot follow a fork that begins threads of its own, so that one test is left out, nor
# see how libraries that were built without it keep their threads apart, so it is told to leave those alone.
SANITIZED = $(BIN)/python -m pytest -p no:cacheprovider -m "not long"

test-asan: $(VENV)/.installed
	FASTMASK_SANITIZE=address,undefined $(BIN)/python setup.py -q build --build-base build/asan --build-lib build/asan/lib
	LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)" ASAN_OPTIONS=detect_leaks=0 \
	PYTHONPATH=build/asan/lib $(SANITIZED)

test-tsan: $(VENV)/.installed
	FASTMASK_SANITIZE=thread $(BIN)/python setup.py -q build --build-base build/tsan --build-lib build/tsan/lib
	LD_PRELOAD="$$(gcc -print-file-name=libtsan.so)" TSAN_OPTIONS="halt_on_error=1 report_signal_unsafe=0 ignore_noninstrumented_modules=1" \
	PYTHONPATH=build/tsan/lib $(SANITIZED) -k "thread and not fork"

$(VENV)/.bench: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	@touch $@

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks

# make bench-compare A=before.json B=after.json; OPTIONS='--all', '--json' or '--fail-on-slower'
bench-compare: $(VENV)/.installed
	$(BIN)/python -m benchmarks.reporting.compare $(OPTIONS) $(A) $(B)

# make bench-readme RESULTS='benchmarks/results/….json …', by default those that README names; OPTIONS=--check
bench-readme: $(VENV)/.installed
	$(BIN)/python -m benchmarks.reporting.readme $(OPTIONS) $(RESULTS)

bench-plots: $(VENV)/.installed
	$(BIN)/python -m benchmarks.reporting.plots $(RESULTS)

bench-instructions: $(VENV)/.installed
	$(BIN)/python -m benchmarks.instructions

$(VENV)/.docs: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	@touch $@

# The site, into build/site; strict, so that a link that leads nowhere ends it.
docs: $(VENV)/.docs
	$(BIN)/python -m mkdocs build --strict

# README, followed to the letter in a clone of what is committed: most of an hour.
fresh:
	$(PYTHON) -m tools.fresh_machine

clean:
	rm -rf $(VENV) build src/fastmask/_core*.so src/*.egg-info runs
