# `make quick` is for every edit, `make test` is everything that CI runs, `make demo` checks the example.
# All set up .venv by themselves; after that they only run.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
EXAMPLE := examples/efficientnet_lite.py
SOURCES := core server tests examples docs benchmarks

# The version of Debian 12, for a test that attaches it to the server.
NEOVIM := neovim=0.7.2-7

.PHONY: help demo quick test test-standby test-versions neovim bench architectures advice audit lint format images clean

help:
	@echo "make demo     check $(EXAMPLE)"
	@echo "make quick    lint, types and the tests that need no torch: half a minute"
	@echo "make test     lint, types and tests: everything that CI runs"
	@echo "make test-standby  tests of runs, with an interpreter that stands by for each, as on macOS and Windows"
	@echo "make test-versions  run tests/core with other versions of Python and torch for docs/versions.md; ONLY=2.10 for one"
	@echo "make bench    measure comparisons beside torchao's debugger and plain runs; half an hour"
	@echo "make architectures  run many models under a few recipes for docs/models.md; half an hour"
	@echo "make advice   hold advice against other methods for docs/advice.md; an hour"
	@echo "make audit    ask for known vulnerabilities of what is pinned"
	@echo "make lint     ruff and mypy"
	@echo "make format   let ruff rewrite the sources"
	@echo "make images   draw the pictures of docs/images again; images-vscode those of VS Code"
	@echo "make vsix     build the VS Code extension; lint-client, test-client and e2e check it"
	@echo "make clean    remove .venv and all caches"

demo: $(VENV)/demo.stamp
	@$(BIN)/handlens check $(EXAMPLE) || test $$? -eq 1

PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2

# Until torch is installed, mypy takes its names for Any. What cannot be checked then is left to `make lint`.
WITHOUT_TORCH := --allow-subclassing-any --allow-untyped-decorators --no-warn-return-any --no-warn-unused-ignores

quick: $(VENV)/quick.stamp
	$(check-source)
	$(BIN)/mypy $(if $(wildcard $(VENV)/torch.stamp),,$(WITHOUT_TORCH))
	$(PYTEST) -m "not torch and not slow"

# Only CI (CI is set) installs Chromium and Neovim, as root. Where one is missing, the tests that need it are
# left out, and named at the end; in CI, a missing Chromium is a failure.
test: lint lint-client test-client neovim
	$(PYTEST) --dist loadfile
	@$(MAKE) --no-print-directory e2e
	@command -v nvim >/dev/null || echo "left out: the test with Neovim (it is not installed)"

# What runs models, with workers as on systems without a fork.
test-standby: lint
	$(PYTEST) --dist loadfile --workers standby $(addprefix tests/,reliability core/workers server/runs server/test_failures.py)

neovim:
	@test -z "$$CI" || command -v nvim >/dev/null || { apt-get -qq update && \
		DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $(NEOVIM); } || true

# Interpreters are python3.10 and so on, or what PYTHON_3_10 and so on say. KEEP=1 keeps the environments.
test-versions: $(VENV)/dev.stamp
	$(BIN)/python -m benchmarks versions $(if $(ONLY),--only $(ONLY)) $(if $(KEEP),--keep)

# The README quotes benchmarks/results/latest.json: `.venv/bin/python -m benchmarks readme`.
bench: $(VENV)/bench.stamp
	$(BIN)/python -m benchmarks run

architectures: $(VENV)/bench.stamp build/architectures/.stamp
	$(BIN)/python -m benchmarks architectures

advice: $(VENV)/bench.stamp build/architectures/.stamp
	$(BIN)/python -m benchmarks advice

# benchmarks/architectures/beside_cpu says why they have a folder of their own. What they ask for is in .venv.
build/architectures/.stamp: $(VENV)/torch.stamp
	$(PIP) --no-deps --upgrade --target $(@D) $$(grep -E '^(torchvision|timm)==' constraints.txt)
	@touch $@

audit: build/audit/.stamp
	build/audit/bin/pip-audit --no-deps --disable-pip --requirement constraints.txt
	cd $(CLIENT) && npm audit
	cd $(CLIENT)/e2e && npm audit

build/audit/.stamp:
	$(PYTHON) -m venv build/audit
	build/audit/bin/pip --disable-pip-version-check install --quiet pip-audit==2.10.1
	@touch $@

define check-source
$(BIN)/ruff check $(wildcard $(SOURCES))
$(BIN)/ruff format --check $(wildcard $(SOURCES))
endef

lint: $(VENV)/dev.stamp
	$(check-source)
	$(BIN)/mypy

format: $(VENV)/dev.stamp
	$(BIN)/ruff check --fix-only $(wildcard $(SOURCES))
	$(BIN)/ruff format $(wildcard $(SOURCES))

images: $(VENV)/demo.stamp
	$(BIN)/python docs/screenshot.py docs/images/check.svg check $(EXAMPLE)
	$(BIN)/python docs/screenshot.py docs/images/advise.svg advise examples/tiny_cnn.py --reach 40

clean:
	rm -rf $(addprefix $(CLIENT)/,node_modules e2e/node_modules out bundled build.log test-results *.vsix)
	rm -rf $(VENV) build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find $(wildcard $(SOURCES)) -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/venv.stamp:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed here; name one with `make PYTHON=...`")'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/quick.stamp: $(VENV)/venv.stamp constraints.txt pyproject.toml
	$(PIP) --editable '.[quick]'
	@touch $@

# torch comes before what depends on it and by its exact version: as somebody's dependency, it may resolve to
# another one, gigabytes larger.
$(VENV)/torch.stamp: $(VENV)/venv.stamp constraints.txt
	$(PIP) "$$(grep '^torch==' constraints.txt)"
	@touch $@

$(VENV)/demo.stamp: $(VENV)/torch.stamp pyproject.toml
	$(PIP) --editable '.[demo]'
	@touch $@

$(VENV)/bench.stamp: $(VENV)/torch.stamp pyproject.toml
	$(PIP) --editable '.[bench]'
	@touch $@

$(VENV)/dev.stamp: $(VENV)/torch.stamp pyproject.toml
	$(PIP) --editable '.[dev]'
	$(PIP) --no-deps "$$(grep '^efficientnet-lite-pytorch==' constraints.txt)"
	@touch $@

# -- The VS Code extension ------------------------------------------------------------------------------

CLIENT := vscode-client
CLIENT_SOURCES = $(addprefix $(CLIENT)/,package.json esbuild.mjs .vscodeignore LICENSE README.md CHANGELOG.md) \
	$(shell find $(CLIENT)/src $(CLIENT)/images $(CLIENT)/walkthrough -type f 2>/dev/null)
SERVER_SOURCES = $(shell find core server -type f ! -path '*/__pycache__/*') $(wildcard docs/*.md docs/rules/*.md)
VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' core/handlens/__init__.py)
VSIX = $(CLIENT)/handlens-$(VERSION).vsix

.PHONY: vsix lint-client test-client

vsix: $(VSIX)

lint-client: $(CLIENT)/node_modules/.stamp
	cd $(CLIENT) && npm run --silent lint

test-client: $(CLIENT)/node_modules/.stamp
	cd $(CLIENT) && npm run --silent test

$(VSIX): $(CLIENT)/node_modules/.stamp $(CLIENT)/bundled/.stamp $(CLIENT_SOURCES)
	cd $(CLIENT) && npm run --silent package -- --out $(notdir $@) >build.log || { cat build.log; exit 1; }
	@ls -l $@

$(CLIENT)/node_modules/.stamp: $(CLIENT)/package-lock.json $(CLIENT)/.npmrc
	cd $(CLIENT) && npm ci --ignore-scripts
	@touch $@

# pip of an environment of its own: the extension can be built without torch.
build/bundling/.stamp:
	$(PYTHON) -m venv build/bundling
	@touch $@

$(CLIENT)/bundled/.stamp: build/bundling/.stamp $(CLIENT)/scripts/bundle.py constraints.txt pyproject.toml $(SERVER_SOURCES)
	build/bundling/bin/python $(CLIENT)/scripts/bundle.py $(CLIENT)/bundled
	@touch $@

include vscode-client/e2e/e2e.mk
