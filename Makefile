# Two commands for a machine with only Python 3.10+ and make:
#   make demo   the main job on the bundled example people -> out/demo.png
#   make test   the tests; with Debian's or any other Chromium also those of the page
# and one for a machine with ComfyUI, COMFYUI_PATH=<checkout> [COMFYUI_PYTHON=<its python>]:
#   make test-comfyui   every workflow in the real host and in its page
# Another interpreter: make test PYTHON=python3.12. On Linux the ordinary torch wheel carries CUDA; to fetch the small
# CPU one instead, point PIP_EXTRA_INDEX_URL at PyTorch's CPU index before the first call.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet

.PHONY: demo test test-comfyui lint types clean

demo: .venv/runtime
	$(BIN)/cscs demo --out out/demo.png

test: .venv/dev
	$(BIN)/pytest -n auto --dist loadfile

test-comfyui: .venv/dev
	$(BIN)/pytest tests/comfyui tests/web/test_host.py

lint: .venv/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

types: .venv/dev
	$(BIN)/pyright

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed: make PYTHON=...")'
	$(PYTHON) -m venv .venv

# torch is pinned for these commands only, and installed first so that nothing else picks its build.
.venv/torch: .venv/bin/python
	$(PIP) torch==2.13.0
	touch $@

.venv/runtime: .venv/torch pyproject.toml
	$(PIP) --editable .
	touch $@

.venv/dev: .venv/runtime
	$(PIP) --editable '.[dev]'
	$(PIP) --no-deps 'insightface>=2.1'  # the OpenCV that it asks for would overwrite the headless one
	touch $@

clean:
	rm -rf .venv out
