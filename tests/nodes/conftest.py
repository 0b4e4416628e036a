"""The pack as the host loads it, under its path, on the small ComfyUI of tests/host, with stubs for the core's work."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

ROOT = Path(__file__).parents[2]


@dataclass
class Pack:
    """The loaded pack: its modules by name below its root, and its nodes by id."""

    entry: ModuleType
    nodes: dict[str, Any] = field(default_factory=dict)

    def module(self, name: str) -> Any:
        return importlib.import_module(f"{self.entry.__name__}.{name}")


@pytest.fixture(scope="session")
def pack() -> Iterator[Pack]:
    name = str(ROOT).replace(".", "_x_")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "tests" / "host"))
        spec = importlib.util.spec_from_file_location(name, ROOT / "__init__.py")
        assert spec and spec.loader
        entry = importlib.util.module_from_spec(spec)
        patch.setitem(sys.modules, name, entry)
        spec.loader.exec_module(entry)
        extension = asyncio.run(entry.comfy_entrypoint())
        asyncio.run(extension.on_load())
        listed = asyncio.run(extension.get_node_list())
        yield Pack(entry, {node.GET_SCHEMA().node_id: node for node in listed})


@pytest.fixture
def host(pack: Pack, tmp_path: Path) -> Iterator[Any]:
    """The host's state, as new."""
    management: Any = importlib.import_module("comfy.model_management")
    management.state = management.State()
    folders: Any = importlib.import_module("folder_paths")
    for kind in ("output", "input", "temp", "user"):
        setattr(folders, f"{kind}_directory", str(tmp_path / kind))
        (tmp_path / kind).mkdir()
    caches = [getattr(pack.module("nodes.loaded"), name) for name in ("_models", "_swapper", "_restorer")]
    for cache in caches:
        cache.cache_clear()
    yield management.state
    for cache in caches:
        cache.cache_clear()


@dataclass
class Stub:
    """Stands for the core: `faces` in every picture, swapped to white; keeps what it was called with."""

    faces: int = 2
    seen: list[Tensor] = field(default_factory=list)  # every picture that reached the core
    photos: list[Tensor] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)  # of the last swap


@pytest.fixture
def core(pack: Pack, host: Any, monkeypatch: pytest.MonkeyPatch) -> Stub:
    stub = Stub()
    types, pipeline = pack.module("cscs_core.types"), pack.module("cscs_core.pipeline")

    def some(count: int) -> Any:
        """Faces of growing size from left to right, 4 + 2 n px."""
        left = torch.arange(count).float() * 8
        box = torch.stack([left, left, left + 4 + 2 * torch.arange(count), left + 4 + 2 * torch.arange(count)], -1)
        frame = torch.zeros(count, dtype=torch.long)
        points = box[:, None, :2] + 2
        return types.FaceSet(
            frame, box, points.expand(-1, 5, 2), points.expand(-1, 468, 2), torch.full((count,), 0.9), frame - 1
        )

    def find(images: Tensor, models: Any, threshold: float = 0.5) -> Any:
        stub.seen.append(images)
        return some(stub.faces)

    def identity_from(
        images: list[Tensor],
        models: Any,
        order: str = "large-small",
        threshold: float = 0.5,
        weights: list[float] | None = None,
        numbers: list[int] | None = None,
        photos: Callable[[range], Iterator[int]] = iter,
        look: object = None,
    ) -> Any:
        stub.photos += [images[row] for row in photos(range(len(images)))]
        stub.options = {"weights": weights, "numbers": numbers}
        if not stub.faces:
            raise pipeline.NoFace(0)
        count = len(images)
        crops = types.Crops(
            torch.full((count, 3, 8, 8), 0.25),
            torch.ones(count, 1, 8, 8),
            torch.eye(3)[:2].expand(count, 2, 3),
            torch.zeros(count, 5, 2),
            torch.zeros(count, 468, 2),
            torch.arange(count),
        )
        return types.Identity(crops, torch.eye(128)[:count], torch.tensor(weights or [1.0] * count))

    def swap_faces(images: Tensor, source: Any, models: Any, **options: Any) -> Any:
        stub.seen.append(images)
        stub.options = {"source": source, **options}
        faces = some(stub.faces)
        changed = torch.ones_like(images[:, :1]) * bool(stub.faces)
        ones = torch.ones(len(faces))
        skipped = [] if stub.faces else ["no face found"]
        return pipeline.SwapResult(torch.maximum(images, changed), changed, faces, skipped, ones * 0.5, ones * 0.2)

    networks = tuple(nn.Linear(1, 1) for _ in range(3))
    encoder = SimpleNamespace(name="lite")
    loaded = SimpleNamespace(networks=networks, device=torch.device("cpu"), encoder=encoder)
    monkeypatch.setattr(pipeline, "load_models", lambda device, detector, store, sessions: loaded)
    monkeypatch.setattr(pipeline, "find", find)
    monkeypatch.setattr(pipeline, "identity_from", identity_from)
    monkeypatch.setattr(pipeline, "swap_faces", swap_faces)
    return stub
