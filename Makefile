# Needs Python 3.11 or newer and make; everything else is installed into .venv.

PYTHON ?= python3
BIN := .venv/bin

# Tests wait for half of their time, so there are more workers than processors.
WORKERS ?= 4
PARALLEL := -n $(WORKERS) --dist worksteal

# Modules that Windows does not import.
POSIX := gracefulexitcmd/posix/.*
POSIX := $(POSIX)|step_runner/(api/(connection|copy_bytes|limits|peer_credentials|sidecar|socket)|jobs/(ledger_key|pipes|pseudo_terminal|recovery)|cli/(outlet|terminal)|runner/limits)

# The tests that use packages of other projects.
EDGES := tests/cli/test_main.py tests/cli/test_run.py tests/cli/test_check.py tests/cli/test_start.py \
	tests/expression tests/fetch tests/functions tests/builtin tests/runner

.PHONY: run help test programs lint types docs test-oldest test-newest test-windows test-tools binary findings bench bench-growth soak proto schema size lock clean

run: .venv/installed  ## Set up and run the example that builds this project's wheel
	$(BIN)/step-runner run examples/release

help:  ## List the targets
	@sed -n 's/^\([a-z][a-z -]*\):.*  ## /\1: /p' Makefile

test: programs lint types  ## Set up and check everything that CI checks
	$(BIN)/pytest $(PARALLEL) $(PYTEST_ARGS)

programs: .venv/installed  ## Install the programs that tests need, where that is possible: on Debian and Ubuntu, as root
	@if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
		.ci/install || echo "not all programs could be installed: the end of the tests names those that are missing"; fi

lint: .venv/installed  ## Look for mistakes in code and language
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/codespell
	$(BIN)/python -m tools.language

types: .venv/installed  ## Check the types, for POSIX and for Windows
	$(BIN)/mypy
	$(BIN)/mypy --platform win32 --cache-dir .mypy_cache/windows --exclude '($(POSIX))\.py' src packages/gracefulexitcmd/src tests/windows

docs: .venv/installed  ## Make the site of the documentation, dist/site, and check its links
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo dist/site/index.html

test-oldest: RESOLUTION := lowest-direct
test-newest: RESOLUTION := highest
test-oldest test-newest: test-%: .venv/installed  ## Test with the oldest or the newest versions that pyproject.toml allows
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-$*
	$(BIN)/uv pip install --quiet --python .venv-$*/bin/python --resolution $(RESOLUTION) \
		--requirements pyproject.toml --group dev
	$(BIN)/uv pip install --quiet --python .venv-$*/bin/python --no-deps --no-build-isolation --editable .
	.venv-$*/bin/python -m pytest $(PARALLEL) $(EDGES) $(PYTEST_ARGS)

test-windows: .venv/installed  ## Run the tests of the Windows code under Wine, which is installed if need be
	.ci/windows $(PYTEST_ARGS)

test-tools: .venv/installed  ## Run the rows of docs/tools.md, with tools from the package registries (Debian, root)
	$(BIN)/pytest tests/tools -n 2 $(PYTEST_ARGS)

findings:  ## Run all of findings/, with packages from the registries (Debian, some as root)
	@for script in findings/*.sh; do echo "== $$script"; $$script || failed="$$failed $$script"; done; \
		test -z "$$failed" || { echo "changed:$$failed"; exit 1; }

.venv/installed: requirements.lock pyproject.toml packages/gracefulexitcmd/pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	$(BIN)/python -m compileall -q src packages
	touch $@

binary: .venv/installed  ## Make dist/step-runner-linux-ARCH, one file that needs no Python; needs a C compiler
	$(BIN)/python -m binary.build dist/step-runner-linux-$$(uname -m)

bench: .venv/installed  ## Print all figures; FORMER=/path/to/step-runner compares with that version, too
	$(BIN)/python -m benchmarks.service $(if $(FORMER),--former $(FORMER))
	$(BIN)/python -m benchmarks.commands $(if $(FORMER),--former $(FORMER))
	$(BIN)/python -m benchmarks.containment
	$(BIN)/python -m benchmarks.expressions
	$(BIN)/python -m benchmarks.check
	$(BIN)/python -m benchmarks.registry

bench-growth: .venv/installed  ## Print how costs grow with other jobs, orphans and steps, as exponents or ratios
	$(BIN)/python -m benchmarks.growth

soak: .venv/installed  ## Print the growth under a large load: an hour, tens of GB of disk
	$(BIN)/python -m benchmarks.soak

schema: .venv/installed  ## Copy the schema of step files for editors
	$(BIN)/step-runner schema > schema/function.json

proto: .venv/installed  ## Generate the wire's code from proto/step.proto
	$(BIN)/python -m grpc_tools.protoc -Iproto --python_out=src/step_runner/api/pb \
		--pyi_out=src/step_runner/api/pb --grpc_python_out=src/step_runner/api/pb proto/step.proto
	sed -i.orig 's/^import step_pb2 as/from step_runner.api.pb import step_pb2 as/' src/step_runner/api/pb/step_pb2_grpc.py
	rm src/step_runner/api/pb/step_pb2_grpc.py.orig

size:  ## Print the lines of code by room, without blanks, comments and docstrings
	@$(PYTHON) tools/size.py

lock: .venv/installed  ## Take the newest versions that pyproject.toml allows
	$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --no-header \
		--group dev --group docs pyproject.toml --output-file requirements.lock

clean:  ## Remove installed and built files
	rm -rf .venv .venv-oldest .venv-newest dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis
