"""Swappers by name: the bundled ones, CSCS, and those in the user's folders; or by the folder of a training run."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch

from ...hub.registry import EMBEDDINGS, MODELS, ModelSpec, SwapperSpec
from ...hub.store import Store, listing, lookup, resolve
from ...hub.weights import load_model
from ...io.files import BadInput
from ...models import AEINet, IdAdapter, IResNet, for_inference
from .base import Swapper
from .cscs import CSCSSwapper
from .lite import load_lite
from .onnx import OnnxSwapper, load_onnx_swapper
from .trained import load_trained
from .warp import WarpSwapper

DEFAULT_SWAPPER = "lite"
BUNDLED = (DEFAULT_SWAPPER, "warp")
_FILES = {name: spec for name, spec in MODELS.items() if spec.swapper and spec.swapper.embedding != "cscs"}
SWAPPERS = (*BUNDLED, "cscs", *_FILES)
_CSCS = ("cscs_generator", "cscs_encoder", "cscs_adapter")


def available(store: Store) -> list[str]:
    """The swappers whose files are installed."""
    files = listing(store)
    cscs = ["cscs"] if all(_converted(file) in files for file in _CSCS) else []
    return [
        *BUNDLED,
        *cscs,
        *(name for name, spec in _FILES.items() if all(lookup(files, part) for part in _parts(spec))),
    ]


def load_swapper(
    name: str, store: Store, device: torch.device | str = "cpu", sessions: torch.device | str | None = None
) -> Swapper:
    """The swapper with this name, or from the training run in this folder, on the device. `sessions` is the device for
    onnxruntime, `device` if not given. Raises BadInput for an unknown name or missing files."""
    if name == "lite":
        return load_lite(device)
    if name == "warp":
        return WarpSwapper()
    if name == "cscs":
        return _load_cscs(store, device)
    if name in _FILES:
        return _load_file(name, store, device, sessions)
    if Path(name).is_dir():
        return load_trained(Path(name), store, device)
    raise BadInput(f"unknown swapper {name!r}; choose one of {', '.join(SWAPPERS)}, or the folder of a training run")


def public(name: str) -> str:
    """The name of a swapper that may be written into output images; the path of a user's folder is kept private."""
    return name if name in SWAPPERS else "trained"


def _load_cscs(store: Store, device: torch.device | str) -> CSCSSwapper:
    files = listing(store)
    if missing := [_converted(file) for file in _CSCS if _converted(file) not in files]:
        names = ", ".join(missing)
        raise BadInput(
            f"swapper cscs: {names} not found in {store.home}; `cscs fetch cscs` downloads the published weights"
        )
    paths = [files[_converted(file)] for file in _CSCS]
    generator = for_inference(load_model(paths[0], AEINet, device))
    encoder = for_inference(load_model(paths[1], IResNet, device))
    adapter = for_inference(load_model(paths[2], IdAdapter, device))
    width = adapter.config.embedding * (2 if adapter.config.kind == "concat" else 1)
    if generator.config.identity != width:
        raise BadInput(
            f"{paths[0]} does not fit {paths[2]}, an adapter of kind {adapter.config.kind}; use files of one release"
        )
    if encoder.config.embedding != adapter.config.embedding:
        raise BadInput(
            f"{paths[1]} does not fit {paths[2]}: their embeddings differ in length; use files of one release"
        )
    return CSCSSwapper(generator, encoder, adapter)


def _load_file(name: str, store: Store, device: torch.device | str, sessions: torch.device | str | None) -> OnnxSwapper:
    spec = _FILES[name]
    parts = _parts(spec)
    paths = [resolve(store, part) for part in parts]
    if missing := [part.file for part, path in zip(parts, paths, strict=True) if path is None]:
        names = " and ".join(missing)
        raise BadInput(
            f"swapper {name}: {names} not installed; `cscs models` shows where to get them and where to put them"
        )
    path, *encoders = cast(list[Path], paths)
    return load_onnx_swapper(path, cast(SwapperSpec, spec.swapper), encoders, device, sessions)


def _parts(spec: ModelSpec) -> list[ModelSpec]:
    """The files of a swapper: its own and those of its encoder."""
    return [spec, *(MODELS[name] for name in EMBEDDINGS[cast(SwapperSpec, spec.swapper).embedding])]


def _converted(name: str) -> str:
    """The file that `cscs convert` makes from a network of CSCS; unlike a published file it has no known hash."""
    return f"{name}.safetensors"
