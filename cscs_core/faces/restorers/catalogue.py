"""Face restorers by name: the bundled one, and those with converted weights in the user's folders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ...hub.registry import MODELS
from ...hub.store import Store, listing
from ...hub.weights import LITE, load_model
from ...io.files import BadInput
from ...models import FaceRestorer, for_inference
from .base import NetworkRestorer, load_restorer_file

DEFAULT_RESTORER = "lite"
# File names that `cscs convert` gives the authors' weights, or the file that the registry names.
_FILES = {
    "gfpgan_1.4": ("GFPGANv1.4.safetensors",),
    "codeformer": ("codeformer.safetensors", "codeformer_fp16.safetensors"),
    "restoreformer_plus_plus": ("RestoreFormer++.safetensors", "RestoreFormerPlusPlus.fp16.safetensors"),
}
RESTORERS = (DEFAULT_RESTORER, *_FILES)


@dataclass(frozen=True)
class LiteRestorer:
    """The bundled network, which predicts the change to a crop."""

    network: FaceRestorer
    template: str = "ffhq_512"
    size: int = 256

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        return (self.network,)

    @torch.no_grad()
    def __call__(self, pixels: Tensor, weight: float) -> Tensor:
        return (pixels + self.network(pixels)).clamp(0, 1)


def available(store: Store) -> list[str]:
    """The restorers whose files are installed."""
    files = listing(store)
    return [DEFAULT_RESTORER, *(name for name in _FILES if file_of(name, files))]


def file_of(name: str, files: Mapping[str, Path]) -> Path | None:
    """The converted weights of a restorer that is not bundled, from a listing of the store; None if missing."""
    return next((files[file] for file in _FILES[name] if file in files), None)


def licence(name: str) -> str:
    """The licence of a restorer, in a few words."""
    return "research, non-commercial" if name == DEFAULT_RESTORER else MODELS[name].licence


def load_restorer(name: str, store: Store, device: torch.device | str = "cpu") -> LiteRestorer | NetworkRestorer:
    """The restorer with this name, or from a safetensors file at this path, on the device. Raises BadInput for an
    unknown name or a missing file."""
    if name == DEFAULT_RESTORER:
        return LiteRestorer(for_inference(load_model(LITE / "restorer.safetensors", FaceRestorer, device)))
    if name in _FILES:
        if path := file_of(name, listing(store)):
            return load_restorer_file(path, device)
        raise BadInput(
            f"restorer {name}: {_FILES[name][0]} is not in {store.home}; `cscs convert` makes it from the authors' "
            f"file ({licence(name)})"
        )
    if Path(name).suffix or Path(name).exists():
        return load_restorer_file(Path(name), device)
    raise BadInput(
        f"unknown restorer {name!r}; choose one of {', '.join(RESTORERS)}, or a file of GFPGAN, RestoreFormer or "
        "CodeFormer"
    )
