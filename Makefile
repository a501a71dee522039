# The habits of this project, one word each. `make ci` is what decides.
PYTHON ?= python3
BIN = .venv/bin

.PHONY: help venv test test-busy cluster cluster-demo model lint format ci

help:
	@echo "make venv    a virtual environment with an editable install, the test and the lint tools"
	@echo "make test    the tests (T=tests/... for some of them)"
	@echo "make test-busy   the tests three times, beside BUSY=4 processes that leave them little of the machine"
	@echo "make cluster the binary of the control plane that some tests run on (Go; ten minutes, once)"
	@echo "make cluster-demo   the tutorial's classic example on a real control plane (Linux, root, Go)"
	@echo "make model   every interleaving of a bootstrap (M='--founders 3 --others 1 --crashes 3 --disk')"
	@echo "make lint    ruff, import-linter, mypy, pyright"
	@echo "make format  mend what ruff can mend"
	@echo "make ci      everything, in clean copies, on each Python there is"

venv: $(BIN)/pytest

$(BIN)/pytest: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip  # 25.1 is the first that knows dependency groups
	$(BIN)/pip install --quiet --editable '.[test,cli]' --group lint
	@touch $@

test: venv
	$(BIN)/pytest $(T)

BUSY ?= 4

# A busy process ends with the shell that began it, however that ends.
test-busy: venv
	@for n in $$(seq $(BUSY)); do (while kill -0 $$$$ 2>/dev/null; do :; done) & done; \
	for run in 1 2 3; do \
		echo "run $$run of 3, beside $(BUSY) busy processes"; \
		$(BIN)/pytest -q $(T) || exit 1; \
	done

cluster: venv
	$(BIN)/python -m tests.tools.cluster build

cluster-demo: venv
	$(BIN)/python -m tests.tools.cluster demo

M ?= --founders 3 --others 1 --crashes 2 --disk

model: venv
	$(BIN)/python -m tests.clustering.model $(M)

lint: venv
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports --no-logo
	$(BIN)/mypy
	$(BIN)/pyright

format: venv
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

ci:
	.ci/run
