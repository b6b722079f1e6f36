# `make demo` checks the example, `make test` is everything that CI runs. Both set up .venv by
# themselves; after that they only run.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
EXAMPLE := examples/efficientnet_lite.py
SOURCES := core server tests examples docs benchmarks

.PHONY: help demo test bench lint format images clean

help:
	@echo "make demo     check $(EXAMPLE)"
	@echo "make test     lint, types and tests: everything that CI runs"
	@echo "make bench    measure comparisons beside torchao's debugger and plain runs; half an hour"
	@echo "make lint     ruff and mypy"
	@echo "make format   let ruff rewrite the sources"
	@echo "make images   draw the pictures of docs/images again"
	@echo "make clean    remove .venv and all caches"

demo: $(VENV)/demo.stamp
	@$(BIN)/handlens check $(EXAMPLE) || test $$? -eq 1

test: lint
	$(BIN)/python -m pytest

# The README quotes benchmarks/results/latest.json: `.venv/bin/python -m benchmarks readme`.
bench: $(VENV)/bench.stamp
	$(BIN)/python -m benchmarks run

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check $(wildcard $(SOURCES))
	$(BIN)/ruff format --check $(wildcard $(SOURCES))
	$(BIN)/mypy

format: $(VENV)/dev.stamp
	$(BIN)/ruff check --fix-only $(wildcard $(SOURCES))
	$(BIN)/ruff format $(wildcard $(SOURCES))

images: $(VENV)/demo.stamp
	$(BIN)/python docs/screenshot.py $(EXAMPLE) docs/images/check.svg

clean:
	rm -rf $(VENV) build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find $(wildcard $(SOURCES)) -name __pycache__ -type d -prune -exec rm -rf {} +

# torch comes first and by its exact version: asked for later, as somebody's dependency, it may
# resolve to another one, gigabytes larger.
$(VENV)/torch.stamp: constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed here; name one with `make PYTHON=...`")'
	$(PYTHON) -m venv $(VENV)
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
