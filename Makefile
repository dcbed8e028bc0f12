# Two commands do everything on a fresh machine: `make demo` and `make test`.
# PYTHON       the interpreter that makes .venv (3.11 or newer)
# TORCH_INDEX  an index of CPU builds of torch, for those who want the small download
PYTHON      ?= python3
TORCH_INDEX ?=
VENV        := .venv
PIP         := $(VENV)/bin/pip install --disable-pip-version-check --quiet --constraint constraints.txt

.PHONY: demo test test-slow bench bench-demo clean

demo: $(VENV)/installed-app
	$(VENV)/bin/python app.py

test: $(VENV)/installed-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/pytest -m "not slow"

test-slow: $(VENV)/installed-dev
	$(VENV)/bin/pytest -m slow

bench: $(VENV)/installed-dev
	$(VENV)/bin/python -m training.benchmarks.latency --preset diffusionad/assets/fabric/config.toml --output benchmarks/latency.json

clean:
	rm -rf $(VENV) build

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# torch goes first and alone, so that only it comes from TORCH_INDEX.
$(VENV)/installed-torch: constraints.txt | $(VENV)/bin/python
	@echo "Installing torch into $(VENV): about 200 MB as a CPU build, several GB as a CUDA build (Linux default)."
	@echo "  source: $(if $(TORCH_INDEX),$(TORCH_INDEX),your package index; for the CPU build: make demo TORCH_INDEX=<index of CPU builds>)"
	$(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	@touch $@

$(VENV)/installed-app: pyproject.toml requirements.txt $(VENV)/installed-torch
	@echo "Installing what the app needs (about 150 MB): $$(grep -v '^#' requirements.txt | tr '\n' ' ')"
	$(PIP) --requirement requirements.txt --editable .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed-app
	@echo "Installing what training and tests need (about 350 MB): accelerate scikit-learn matplotlib datasets opencv tensorboard playwright mcp pytest ruff"
	$(PIP) --editable '.[app,mcp,train,bench,dev]'
	@touch $@

# Renders the demo data into build/ and writes the figures of the embedded models again, from the shipped weights.
bench-demo: $(VENV)/installed-dev
	$(VENV)/bin/python -m training.demo.bundle --data build/demo
