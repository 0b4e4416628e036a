"""The core under its own name, from this tree, without its root on the path, where `nodes` is ComfyUI's name."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

# Sums depend on the number of threads, and once raised again oneMKL's LU gives infinities: one for all.
torch.set_num_threads(1)

CORE = Path(__file__).parents[1] / "cscs_core"

if "cscs_core" not in sys.modules:
    _spec = importlib.util.spec_from_file_location(
        "cscs_core", CORE / "__init__.py", submodule_search_locations=[str(CORE)]
    )
    assert _spec and _spec.loader
    sys.modules["cscs_core"] = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules["cscs_core"])


@pytest.fixture(autouse=True)
def _same_numbers_every_time() -> None:
    torch.manual_seed(0)
