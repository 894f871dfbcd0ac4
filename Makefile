ENV ?= ../onnxlens-env
BIN = $(ENV)/bin

.PHONY: test test-all lint bench docs

test:
	$(BIN)/python -m pytest

test-all:
	$(BIN)/python -m pytest -m ""

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	link=$$(mktemp -d) && ln -s "$(CURDIR)" $$link/onnxlens && cd $$link/onnxlens && \
	"$(abspath $(BIN))/pyright" --pythonpath "$(abspath $(BIN))/python"

bench:
	$(BIN)/python tests/bench/gradcam.py
	$(BIN)/python tests/bench/building.py

docs:
	$(BIN)/python tests/oracles/operators_page.py
