# Two commands for a fresh clone; each does all its own set-up in .venv (PYTHON=... chooses the interpreter).
PYTHON ?= python3
BIN = .venv/bin

.PHONY: demo test check mutate notebooks

demo: .venv/installed
	$(BIN)/cleanse fit --config knn.yaml --config quick.yaml --config attacks/badnets.yaml

test: .venv/installed check
	$(BIN)/python -m pytest -n 2 --dist worksteal

check: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# Run the notebooks at full size and keep what they show: minutes each on two cores.
notebooks: .venv/installed
	$(BIN)/python notebooks/run.py $(NAMES)

# Which wrong lines would the fast tests let pass? NAMES="cleanse.functional.trim*" for a part; docs/mutation-testing.md.
mutate: .venv/installed
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/mutmut run --max-children 2 $(NAMES)
	$(BIN)/mutmut results

# The stamp is newer than pyproject.toml when what it asks for is installed.
.venv/installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing what cleanse needs into .venv: torch is large, this takes minutes"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	touch $@
