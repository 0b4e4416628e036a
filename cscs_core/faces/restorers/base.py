"""Face restoration: crops in, the same crops with clearer faces out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from ...hub.weights import read
from ...io.files import BadInput, one_line
from ...ops.batching import CancelCheck, map_in_chunks, never_cancel
from ...ops.geometry import warp
from ...types import Crops, FaceSet
from ..align import align, resize
from ..paste import paste, paste_mask
from ..swappers.base import editable_area

_CHUNK = 4  # faces that are restored at once, so that memory does not grow with their number


class Restorer(Protocol):
    """Anything that makes faces in crops of its template clearer."""

    @property
    def template(self) -> str: ...  # the alignment of its crops

    @property
    def size(self) -> int: ...  # crop side, pixels

    def __call__(self, pixels: Tensor, weight: float) -> Tensor: ...  # (F, 3, S, S) 0..1 -> (F, 3, S, S) 0..1


def restore(crops: Crops, restorer: Restorer, blend: float = 0.8, weight: float = 0.5) -> Crops:
    """Restored crops at the restorer's size, blended with the originals by `blend` 0..1; 0 returns the crops unchanged.
    Larger crops keep their size and detail: only the change is enlarged.

    `weight` 0..1 is CodeFormer's fidelity, from the most likely face at 0 to the crop's own at 1; other restorers
    ignore it. Raises ValueError for values out of range.
    """
    for name, value in {"blend": blend, "weight": weight}.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name} is {value}; it must be between 0 and 1")
    if not len(crops) or blend == 0:
        return crops
    seen = resize(crops, restorer.size)
    restored = torch.cat(map_in_chunks(lambda part: restorer(part, weight), seen.pixels, _CHUNK))
    if crops.size <= restorer.size:
        return replace(seen, pixels=torch.lerp(seen.pixels, restored, blend))
    change = nnf.interpolate(restored - seen.pixels, (crops.size, crops.size), mode="bicubic", align_corners=False)
    return replace(crops, pixels=(crops.pixels + blend * change).clamp(0, 1))


@dataclass(frozen=True)
class Restoration:
    """A restorer and its settings."""

    restorer: Restorer
    blend: float = 0.8  # 0..1
    weight: float = 0.5  # 0..1

    def __call__(self, crops: Crops) -> Crops:
        return restore(crops, self.restorer, self.blend, self.weight)


@torch.no_grad()
def restore_faces(
    images: Tensor,
    faces: FaceSet,
    restoration: Restoration,
    limit: Tensor | None = None,
    check_cancel: CancelCheck = never_cancel,
) -> tuple[Tensor, Tensor]:
    """Images (B, 3, H, W) 0..1 with these faces restored, and a mask (B, 1, H, W) 0..1 of the pixels that may have
    changed.

    Only the restorer's change is pasted, so that faces larger than its crops keep their detail. `limit` (B, 1, H, W)
    0..1 restricts where pixels may change. `check_cancel` is called between chunks and may stop the work by raising.
    """
    if not len(faces) or restoration.blend == 0:
        return images, images.new_zeros(images.shape[0], 1, *images.shape[-2:])
    crops = align(images, faces, restoration.restorer.template, restoration.restorer.size, check_cancel)
    crops = replace(crops, mask=editable_area(crops, check_cancel))
    if limit is not None:
        crops = replace(crops, mask=crops.mask * warp(limit, crops.matrix, crops.size, frame=crops.frame))
    change = replace(crops, pixels=restoration(crops).pixels - crops.pixels)
    touched = paste_mask(images, crops, check_cancel)
    changed = (images + paste(torch.zeros_like(images), change, check_cancel)).clamp(0, 1)
    return changed.where(touched > 0, images), touched


@dataclass(frozen=True)
class NetworkRestorer:
    """GFPGAN, RestoreFormer or CodeFormer, built by spandrel."""

    architecture: str
    network: nn.Module  # (F, 3, 512, 512) -1..1 -> the same shape and range, first in a tuple
    template: str = "ffhq_512"
    size: int = 512

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        return (self.network,)

    @torch.no_grad()
    def __call__(self, pixels: Tensor, weight: float) -> Tensor:
        options = {"weight": weight} if self.architecture == "CodeFormer" else _OPTIONS[self.architecture]
        # Not called through spandrel, which has no `weight` and passes its 0..1 input on to GFPGAN and CodeFormer,
        # which were trained on -1..1.
        restored = self.network(pixels * 2 - 1, **options)[0]
        return ((restored + 1) / 2).clamp(0, 1)


# GFPGAN adds noise: use the fixed noise stored in its file, so that results are reproducible.
_OPTIONS = {"GFPGAN": {"randomize_noise": False, "return_rgb": False}, "RestoreFormer": {}, "CodeFormer": {}}


def load_restorer_file(path: Path, device: torch.device | str = "cpu") -> NetworkRestorer:
    """The restorer in a safetensors file, recognised by the names and shapes of its tensors.

    Raises BadInput, naming the file, if it cannot be read, if spandrel cannot be imported, or if the file is not a
    known restorer.
    """
    tensors, _ = read(path)
    try:
        import spandrel  # pyright: ignore[reportMissingImports]
    except (ImportError, RuntimeError) as error:  # RuntimeError from a torchvision built for another torch version
        raise BadInput(f"{path}: restorers need spandrel: pip install spandrel ({one_line(error)})") from None
    registry = spandrel.MAIN_REGISTRY.copy()
    try:
        from spandrel_extra_arches import EXTRA_REGISTRY  # pyright: ignore[reportMissingImports]
    except ImportError:
        extra = "; CodeFormer also needs spandrel_extra_arches: pip install spandrel_extra_arches"
    else:
        extra = ""
        registry.add(*EXTRA_REGISTRY, ignore_duplicates=True)
    known = f"supported are {', '.join(_OPTIONS)}{extra}"
    try:
        model = spandrel.ModelLoader(registry=registry).load_from_state_dict(tensors)
    except spandrel.UnsupportedModelError:
        raise BadInput(f"{path}: is not a face restorer; {known}") from None
    except (RuntimeError, LookupError, ValueError, ArithmeticError, AssertionError) as error:
        raise BadInput(
            f"{path}: does not match the architecture that spandrel recognised ({one_line(error)}); download it again"
        ) from None
    architecture = model.architecture
    if architecture.id not in _OPTIONS:
        raise BadInput(f"{path}: is {architecture.name} ({model.purpose}), not a face restorer; {known}")
    if odd := next((name for name, value in tensors.items() if not value.is_floating_point()), None):
        kind = str(tensors[odd].dtype).removeprefix("torch.")
        raise BadInput(f"{path}: {odd!r} is {kind}; convert it to float32: cscs convert {path}")
    return NetworkRestorer(architecture.id, model.model.to(device).eval().requires_grad_(False))
