"""The core under its own name, from this tree, without its root on the path, where `nodes` is ComfyUI's name; and
made-up faces and pictures."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

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

from cscs_core.models import AEIConfig, AEINet, aei, iresnet  # noqa: E402
from cscs_core.ops import mesh  # noqa: E402
from cscs_core.types import FaceSet  # noqa: E402


@pytest.fixture(autouse=True)
def _same_numbers_every_time() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def golden() -> Any:
    """tests/golden/golden.py: deterministic weights and pictures, and the numbers of the release."""
    spec = importlib.util.spec_from_file_location("golden", Path(__file__).parent / "golden" / "golden.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _narrow(golden: Any, patch: pytest.MonkeyPatch) -> None:
    for name, widths in golden.NARROW.items():
        patch.setattr(aei, name, widths)
    patch.setattr(iresnet, "WIDTHS", golden.NARROW_IRESNET)


@pytest.fixture
def narrow(golden: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """AEI-Net and IResNet have few channels, for what does not depend on them."""
    _narrow(golden, monkeypatch)


@pytest.fixture(scope="session")
def narrow_aei(golden: Any) -> AEINet:
    """An AEI-Net of few channels in float64, in which nothing of what is compared is rounding: instance norms of tiny
    maps enlarge that of float32 to 1e-4."""
    with pytest.MonkeyPatch.context() as patch:
        _narrow(golden, patch)
        return golden.filled(AEINet, AEIConfig(20)).double()


def _faces(places: list[tuple[int, float, float, float]], turn: float = 0.0) -> FaceSet:
    count = len(places)
    angle = torch.tensor(turn)
    rotation = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()]).view(2, 2)
    shapes = [mesh.mean_face() @ rotation.T * eyes + torch.tensor([x, y]) for _, x, y, eyes in places]
    points = torch.stack(shapes) if shapes else torch.zeros(0, mesh.POINTS, 2)
    return FaceSet(
        frame=torch.tensor([place[0] for place in places], dtype=torch.long),
        box=mesh.box(points),
        landmarks=mesh.five(points),
        mesh=points,
        score=torch.linspace(0.9, 0.5, count),
        track=torch.full((count,), -1),
    )


@pytest.fixture
def faces() -> Callable[..., FaceSet]:
    """Mean faces as (frame, x and y of the point between the eyes, distance of the outer eye corners), turned."""
    return _faces


@pytest.fixture
def smooth() -> Callable[..., Tensor]:
    """A picture that survives resampling: slow waves, (B, 3, H, W) 0..1."""

    def picture(count: int, height: int, width: int) -> Tensor:
        y, x = torch.meshgrid(torch.arange(height) / 23, torch.arange(width) / 17, indexing="ij")
        waves = torch.stack([x.sin() * y.cos(), (x + y).sin(), (x - 2 * y).cos()])
        return torch.stack([waves.roll(frame, 0) for frame in range(count)]) * 0.4 + 0.5

    return picture
