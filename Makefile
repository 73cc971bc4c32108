# The Python that .venv is made from, e.g. make setup PYTHON=python3.13
PYTHON ?= python3
# Extra arguments for test and lab, e.g. make test ARGS="-k limit"
ARGS ?=

# Paths are relative on purpose: the folder above may have any name.
VENV_PYTHON := .venv/bin/python
STAMP := .venv/.installed

PYTHON_FITS = "$(PYTHON)" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))'
VENV_FITS = $(VENV_PYTHON) -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))'

# Nothing is compiled in advance, which would take a third of the time: Python compiles what it imports.
PIP_INSTALL = $(VENV_PYTHON) -m pip install --no-compile --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help setup lab lint test notebooks site extras bench compare clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

setup: $(STAMP) ## Make .venv and install everything into it (half a minute, once)
	@echo 'Ready. Next: make lab'

$(STAMP): pyproject.toml
	$(if $(shell { $(VENV_FITS) || $(PYTHON_FITS); } 2>/dev/null && echo yes),,$(error chatroom_lib needs Python 3.11 or newer with its venv module, and "$(PYTHON)" is not that. Install one (on Debian or Ubuntu also its python3-venv package) and name it: make setup PYTHON=python3.13))
	@$(VENV_FITS) 2>/dev/null || { echo 'Making .venv ...'; "$(PYTHON)" -m venv --clear .venv; }
	@echo 'Installing chatroom_lib and its dependencies, some 110 packages, into .venv ...'
	@$(PIP_INSTALL) -e '.[test]'
	@touch $@

lab: $(STAMP) ## Open JupyterLab on the first chapter
	@set -- notebooks/[0-9]*.ipynb; $(VENV_PYTHON) -m jupyterlab --ServerApp.root_dir=. "$$1" $(ARGS)

lint: $(STAMP) ## Check style, types, and which package may import which
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/lint-imports
	@.venv/bin/mypy

test: export PYTHONDONTWRITEBYTECODE :=# tests start many processes, and what one has compiled serves the others
test: $(STAMP) ## Run the tests; ARGS="..." goes to pytest, e.g. ARGS="-m 'not slow'" runs the quick ones
	@$(VENV_PYTHON) -m pytest -n 4 --dist loadgroup $(ARGS)

notebooks: $(STAMP) ## Execute all chapters anew and save their outputs
	@$(VENV_PYTHON) tools/execute_notebooks.py

# Python for the browser, and what cleans HTML there: served as they are, never committed.
NPM_FOR_SITE = npm install --silent --no-save --no-package-lock --ignore-scripts --prefix build/npm pyodide@314.0.7 dompurify@3.5.0

site: $(STAMP) ## Build the book from the chapters as they are, into build/site/
	@$(VENV_PYTHON) -c 'import myst_nb, sphinx_book_theme' 2>/dev/null || $(PIP_INSTALL) --quiet -e '.[site]'
	@if command -v npm >/dev/null; then $(NPM_FOR_SITE); else echo 'There is no npm: the book is built without Python for the browser, and so without Run buttons'; fi
	@$(VENV_PYTHON) -m sphinx -qEW --keep-going -c docs -d build/doctrees . build/site
	@echo 'The first page is build/site/index.html'

extras: $(STAMP) ## Install what bench, compare and some tests need besides: other servers, a browser driver
	@$(PIP_INSTALL) --quiet -e '.[asgi,bench,binder,browser,nats,site]'
	@if command -v npm >/dev/null; then npm install --silent --no-save --no-package-lock ws socket.io && $(NPM_FOR_SITE); fi

bench: extras ## Measure all versions and other servers anew (a quarter hour), into benchmarks/
	@$(VENV_PYTHON) tools/run_benchmarks.py

compare: extras ## Try well-known examples of other projects from outside (half an hour), into docs/servers.md
	@$(VENV_PYTHON) tools/compare_servers.py $(ARGS)

clean: ## Remove .venv, caches and build files
	rm -rf .venv node_modules build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .import_linter_cache
	find . -name .git -prune -o -type d \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +
