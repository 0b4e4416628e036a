"""Every swapper by its name: the bundled one, CSCS, and those that the user's folders hold."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch

from .cscs_swapper import CSCSSwapper
from .files import BadInput
from .models import FusedAEINet, IdAdapter, IResNet, for_inference
from .store import Store
from .swap import Swapper
from .warp_swapper import WarpSwapper
from .weights import load_model

DEFAULT = "warp"
SWAPPERS = ("warp", "cscs")
_CSCS = {"cscs_generator": "aei", "cscs_encoder": "iresnet", "cscs_adapter": "id_adapter"}  # file and architecture


def available(store: Store) -> list[str]:
    """The swappers that can be loaded here and now."""
    return [name for name in SWAPPERS if name != "cscs" or all(_converted(store, file) for file in _CSCS)]


def load_swapper(name: str, store: Store, device: torch.device | str = "cpu") -> Swapper:
    """The swapper of that name, ready on the device. Raises BadInput if there is none or its files are missing."""
    if name == "warp":
        return WarpSwapper()
    if name == "cscs":
        return _load_cscs(store, device)
    raise BadInput(f"no swapper {name!r}; there are {', '.join(SWAPPERS)}")


def _load_cscs(store: Store, device: torch.device | str) -> CSCSSwapper:
    if missing := [f"{file}.safetensors" for file in _CSCS if not _converted(store, file)]:
        names = ", ".join(missing)
        raise BadInput(f"swapper cscs: {names} not found in {store.home}; `cscs fetch cscs` gets the published weights")
    paths = [cast(Path, _converted(store, file)) for file in _CSCS]
    generator, encoder, adapter = (
        for_inference(load_model(path, device, arch)) for path, arch in zip(paths, _CSCS.values(), strict=True)
    )
    adapter = cast(IdAdapter, adapter)
    width = adapter.config.embedding * (2 if adapter.config.kind == "concat" else 1)
    if cast(FusedAEINet, generator).config.identity != width:
        raise BadInput(f"{paths[0]} does not fit {paths[2]}, an adapter of kind {adapter.config.kind}")
    return CSCSSwapper(cast(FusedAEINet, generator), cast(IResNet, encoder), adapter)


def _converted(store: Store, name: str) -> Path | None:
    """A weights file that `cscs convert` made; unlike a published file it has no hash that we know."""
    places = (folder / f"{name}.safetensors" for folder in (store.home, *store.others))
    return next((path for path in places if path.is_file()), None)
