# The two commands: make demo, make test. Both set up everything they need in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint bench wheel clean

demo: $(VENV)/.installed
	$(BIN)/tesseral demo --output demo/ --overwrite

test: $(VENV)/.installed-test lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --jaxtyping-packages=tesseral,beartype.beartype -m "not compile"
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile -m compile -p no:jaxtyping
	$(MAKE) wheel

# The wheel, in an empty environment, passes its self-test.
wheel: $(VENV)/.installed-test
	rm -rf build dist $(VENV)-wheel
	$(BIN)/python -m build --wheel --no-isolation --outdir dist . > /dev/null
	$(PYTHON) -m venv $(VENV)-wheel
	$(VENV)-wheel/bin/pip install --quiet -c constraints.txt torch==2.13.0
	$(VENV)-wheel/bin/pip install --quiet -c constraints.txt dist/*.whl
	cd dist && ../$(VENV)-wheel/bin/tesseral selftest
	rm -rf $(VENV)-wheel

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.installed-test
	$(BIN)/python -m benchmarks

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/pip install --quiet -c constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet -c constraints.txt --editable .
	touch $@

$(VENV)/.installed-test: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/pip install --quiet -c constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet -c constraints.txt --editable ".[test]"
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) build dist *.egg-info demo
