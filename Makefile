ENV ?= ../onnxlens-env
BIN = $(ENV)/bin
FLOORS ?= ../onnxlens-floors

.PHONY: test test-all test-floors lint bench figures docs site

test:
	$(BIN)/python -m pytest

test-all: test
	ENV="$(ENV)" .ci/slow

test-floors:
	python3 -m venv --clear $(FLOORS)
	python3 tests/house/lowest.py > $(FLOORS)/lowest.txt
	$(FLOORS)/bin/pip install -q -c $(FLOORS)/lowest.txt -e '.[test]'
	$(FLOORS)/bin/python -m pytest

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	link=$$(mktemp -d) && ln -s "$(CURDIR)" $$link/onnxlens && cd $$link/onnxlens && \
	"$(abspath $(BIN))/pyright" --pythonpath "$(abspath $(BIN))/python"

bench:
	$(BIN)/python tests/bench/suite.py
	$(BIN)/python tests/bench/kernels.py
	$(BIN)/python tests/bench/building.py

figures:
	$(BIN)/python tests/bench/pointing.py
	$(BIN)/python tests/bench/dreams.py
	$(BIN)/python tests/bench/autograd.py

docs:
	$(BIN)/python tests/oracles/operators_page.py
	$(BIN)/python tests/oracles/sources_page.py
	$(BIN)/python tests/oracles/commands_page.py
	$(BIN)/python tests/oracles/methods_page.py
	$(BIN)/python tests/oracles/metrics_page.py

site:
	$(BIN)/mkdocs build
