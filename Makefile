# Two commands for a machine with only Python 3.10+ and make:
#   make demo   the main job on the bundled example people -> out/demo.png
#   make test   the tests; with Debian's or any other Chromium also those of the page
# and one for a machine with ComfyUI, COMFYUI_PATH=<checkout> [COMFYUI_PYTHON=<its python>]:
#   make test-comfyui   every workflow in the real host and in its page
# Another interpreter: make test PYTHON=python3.12. On Linux the ordinary torch wheel carries CUDA; to fetch the small
# CPU one instead, point PIP_EXTRA_INDEX_URL at PyTorch's CPU index before the first call.
PYTHON ?= python3
BIN := .venv/bin
# What these commands install is pinned in constraints.txt, so that a release elsewhere turns nothing red here. Users
# get the open ranges of pyproject.toml. torch stands here alone: which build of it is the machine's affair.
TORCH := 2.13.0
INSTALL := -m pip --disable-pip-version-check install --quiet
PIP := $(BIN)/python $(INSTALL) --constraint constraints.txt
TYPESCRIPT := 7.0.2

.PHONY: demo test test-comfyui test-hub-oldest test-oldest lint types lock clean

demo: .venv/runtime
	$(BIN)/cscs demo --out out/demo.png

test: .venv/dev
	$(BIN)/pytest -n auto --dist loadfile

test-comfyui: .venv/dev
	$(BIN)/pytest tests/comfyui tests/web/test_host.py

# The oldest huggingface_hub that is promised: transformers 4 keeps many ComfyUIs below 1.0.
test-hub-oldest: .venv/hub-oldest
	PYTHONPATH=$(CURDIR)/$< $(BIN)/python -c 'import huggingface_hub as hub; assert hub.__version__ == "0.34.0", hub'
	PYTHONPATH=$(CURDIR)/$< $(BIN)/pytest tests/hub/test_download.py tests/commands/test_models.py

# The oldest Python and torch that are promised, and the only environment with spandrel: the torchvision that spandrel
# asks for fits beside the torch of its own build alone, and PyPI has none for the CPU builds of today's torch. The
# wheels are CUDA builds (2.9 GB to fetch, 5 GB on disk); nearly all of that is linked when torch is imported.
test-oldest:
	@if [ -n "$(OLDEST_PYTHON)" ]; then $(MAKE) .venv-oldest/ready && $(OLDEST_TESTS); \
	else echo "make test-oldest: skipped, there is no Python 3.10 here; name one: OLDEST_PYTHON=..."; fi
OLDEST_PYTHON ?= $(shell for python in python3.10 "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/3.10.*/bin/python3.10; \
	do "$$python" -c "" 2>/dev/null && echo "$$python" && break; done)
OLDEST_TESTS = .venv-oldest/bin/pytest -n auto --dist loadfile --ignore tests/web --ignore tests/comfyui

# pre-commit's hooks, every one, on every file.
lint: .venv/dev
	PATH="$(CURDIR)/$(BIN):$$PATH" pre-commit run --all-files --show-diff-on-failure

types: .venv/dev .venv/tsc
	$(BIN)/pyright
	@if [ -x .venv/tsc/node_modules/.bin/tsc ]; then .venv/tsc/node_modules/.bin/tsc --project jsconfig.json && echo "web/: types agree"; \
	else echo "web/: types not checked, there is no npm here"; fi

# Pins what pyproject.toml admits; what is pinned already stays. For the newest of everything: rm constraints.txt first.
lock: .venv/bin/python
	$(BIN)/python $(INSTALL) uv
	echo torch==$(TORCH) > .venv/torch.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.10 --constraint .venv/torch.txt --no-emit-package torch \
		--extra dev --extra train --extra convert --extra onnxruntime --extra insightface \
		--custom-compile-command 'make lock' --output-file constraints.txt pyproject.toml
	awk '/^[a-z]/ { keep = !/^(nvidia-|cuda-|triton)/ } /^$$/ { exit } keep || /^#/' constraints.txt > .venv/constraints.txt
	mv .venv/constraints.txt constraints.txt

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed: make PYTHON=...")'
	$(PYTHON) -m venv .venv

# torch comes first, so that nothing else picks its build.
.venv/torch: .venv/bin/python
	$(PIP) torch==$(TORCH)
	touch $@

.venv/runtime: .venv/torch pyproject.toml constraints.txt
	$(PIP) --editable .
	touch $@

.venv/dev: .venv/runtime
	$(PIP) --editable '.[dev]'
	$(PIP) --no-deps insightface  # the OpenCV that it asks for would overwrite the headless one
	touch $@

.venv/hub-oldest: .venv/dev
	$(BIN)/python $(INSTALL) --upgrade --target $@ huggingface_hub==0.34.0

.venv/tsc: .venv/dev
	if command -v npm >/dev/null; then npm install --silent --no-save --prefix $@ typescript@$(TYPESCRIPT); else mkdir -p $@; fi
	touch $@

.venv-oldest/ready: pyproject.toml constraints.txt
	$(OLDEST_PYTHON) -m venv --clear .venv-oldest
	grep -vE '^(huggingface-hub|pillow)==' constraints.txt > .venv-oldest/constraints.txt
	.venv-oldest/bin/python $(INSTALL) --constraint .venv-oldest/constraints.txt --editable '.[dev]' \
		torch==2.4.0 torchvision==0.19.0 spandrel==0.4.2 huggingface_hub==0.34.0 pillow==11.0.0
	.venv-oldest/bin/python $(INSTALL) --constraint .venv-oldest/constraints.txt --no-deps insightface
	touch $@

clean:
	rm -rf .venv .venv-oldest out
