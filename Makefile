# Two commands do everything on a fresh machine: `make demo` and `make test`.
# PYTHON       the interpreter that makes .venv (3.11 or newer)
# TORCH_INDEX  an index of CPU builds of torch, for those who want the small download
# WORKERS      processes that share the tests
PYTHON      ?= python3
TORCH_INDEX ?=
WORKERS     ?= 2
VENV        := .venv
OLDEST      := .venv-oldest
PIP_INSTALL := bin/pip install --disable-pip-version-check --quiet
PIP         := $(VENV)/$(PIP_INSTALL) --constraint constraints.txt
TORCH       := $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
# A file of tests stays in one process: its fixtures, such as a running app, are made once.
SHARED      := --numprocesses $(WORKERS) --dist loadfile
FAST        := -m "not slow" $(SHARED)

.PHONY: demo docs lint test test-slow soak coverage test-oldest bench bench-demo sbom clean

demo: $(VENV)/installed-app
	$(VENV)/bin/python app.py

lint: $(VENV)/installed-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

test: lint
	$(VENV)/bin/pytest $(FAST)

test-slow: $(VENV)/installed-dev
	$(VENV)/bin/pytest -m slow $(SHARED)

# The standing tests in their long form, a quarter of an hour; what they tried goes to benchmarks/reliability.json.
soak: $(VENV)/installed-dev
	SOAK=$(CURDIR)/benchmarks/reliability.json $(VENV)/bin/pytest tests/standing

# The fast tests, with the lines that they run counted: that takes a third longer.
coverage: $(VENV)/installed-dev
	$(VENV)/bin/pytest $(FAST) --cov --cov-report=term

# The fast tests with the lowest versions that pyproject.toml allows; torch is the tested one.
test-oldest: $(OLDEST)/installed
	$(OLDEST)/bin/pytest $(FAST)

bench: $(VENV)/installed-dev
	$(VENV)/bin/python -m training.benchmarks.latency --preset diffusionad/assets/fabric/config.toml --output benchmarks/latency.json

# Renders the demo data into build/ and writes the figures of the embedded models again, from the shipped weights.
bench-demo: $(VENV)/installed-dev
	$(VENV)/bin/python -m training.demo.bundle --data build/demo

# The documentation site, in build/site. It reads the sources without importing them: torch is not needed.
docs: build/docs/installed
	build/docs/bin/mkdocs build --strict --quiet

build/docs/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv build/docs
	$(PYTHON) -c 'import tomllib; extras = tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]; print(*extras["docs"], sep="\n")' > build/docs/requirements.txt
	build/docs/$(PIP_INSTALL) --constraint constraints.txt --requirement build/docs/requirements.txt
	@touch $@

# Packages of the environment with versions and licences (CycloneDX), by a tool in a venv of its own.
sbom: $(VENV)/installed-app
	$(PYTHON) -m venv build/sbom
	build/sbom/$(PIP_INSTALL) cyclonedx-bom
	build/sbom/bin/cyclonedx-py environment $(VENV)/bin/python --pyproject pyproject.toml \
		--output-format JSON --output-file build/sbom.json

clean:
	rm -rf $(VENV) $(OLDEST) build dist .coverage

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# torch goes first and alone, so that only it comes from TORCH_INDEX.
$(VENV)/installed-torch: constraints.txt | $(VENV)/bin/python
	@echo "Installing torch into $(VENV): about 200 MB as a CPU build, several GB as a CUDA build (Linux default)."
	@echo "  source: $(if $(TORCH_INDEX),$(TORCH_INDEX),your package index; for the CPU build: make demo TORCH_INDEX=<index of CPU builds>)"
	$(PIP) $(TORCH)
	@touch $@

$(VENV)/installed-app: pyproject.toml requirements.txt $(VENV)/installed-torch
	@echo "Installing what the app needs (about 150 MB): $$(grep -v '^#' requirements.txt | tr '\n' ' ')"
	$(PIP) --requirement requirements.txt --editable .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed-app
	@echo "Installing what training and tests need (about 400 MB): accelerate scikit-learn matplotlib onnxruntime openvino nncf datasets tensorboard playwright mcp pytest ruff mypy"
	$(PIP) --editable '.[app,mcp,line,large,train,hub,export,bench,dev]'
	@touch $@

# uv only resolves. Its list is installed without dependencies, so that nothing brings another torch.
$(OLDEST)/installed: pyproject.toml constraints.txt
	rm -rf $(OLDEST)
	$(PYTHON) -m venv $(OLDEST)
	grep '^torch==' constraints.txt > $(OLDEST)/torch.txt
	$(OLDEST)/$(PIP_INSTALL) --constraint $(OLDEST)/torch.txt $(TORCH)
	$(OLDEST)/$(PIP_INSTALL) uv
	$(OLDEST)/bin/uv pip compile --quiet --resolution lowest-direct --all-extras --no-header --no-annotate \
		--python $(OLDEST)/bin/python --constraint $(OLDEST)/torch.txt pyproject.toml \
		| grep -v '^\(torch\|triton\|nvidia-.*\|cuda-.*\)==' > $(OLDEST)/lowest.txt
	$(OLDEST)/$(PIP_INSTALL) --no-deps --requirement $(OLDEST)/lowest.txt
	$(OLDEST)/$(PIP_INSTALL) --no-deps --editable .
	@touch $@
