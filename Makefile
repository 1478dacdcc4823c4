# Two commands for a fresh clone; each does all its own set-up in .venv (PYTHON=... chooses the interpreter).
PYTHON ?= python3
BIN = .venv/bin

.PHONY: demo test check mutate notebooks

demo: .venv/package
	$(BIN)/cleanse fit --config knn.yaml --config quick.yaml --config attacks/badnets.yaml

test: .venv/dev check
	$(BIN)/python -m pytest -n 2 --dist worksteal

check: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# Run the notebooks at full size and keep what they show: minutes each on two cores.
notebooks: .venv/dev
	$(BIN)/python notebooks/run.py $(NAMES)

# Which wrong lines would the fast tests let pass? NAMES="cleanse.functional.trim*" for a part; docs/mutation-testing.md.
mutate: .venv/dev
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/mutmut run --max-children 2 $(NAMES)
	$(BIN)/mutmut results

# A stamp is newer than pyproject.toml when what it asks for is installed: the package, and what its development needs.
.venv/package: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing what cleanse needs into .venv: torch is large, this takes minutes"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

.venv/dev: .venv/package
	@echo "installing the tools of the development into .venv"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	touch $@
