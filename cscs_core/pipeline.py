"""The whole job in three steps: find faces, say who somebody is, put that person into pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from . import geometry
from .align import align
from .detect import Detector, LiteDetector, detect
from .detectors import BUNDLED, load_detector
from .identity import Encoder, LiteEncoder, encode, identify, known_by
from .models import FaceDetector, FaceMesh, IdentityEncoder, for_inference
from .paste import paste, paste_mask
from .restore import Restoration
from .select import like, pick
from .select import order as ordered
from .store import Store, default_store
from .swap import Swapper
from .swap import swap as swap_crops
from .types import FaceSet, Identity, join
from .weights import LITE, load_model

Progress = Callable[[int, int], None]  # pictures done, pictures in all


class NoFace(ValueError):
    """A photograph that should show a person shows none; `index` says which."""

    def __init__(self, index: int):
        super().__init__(f"no face found in photograph {index}")
        self.index = index


@dataclass(frozen=True)
class Models:
    """What finds faces and tells people apart, on one device."""

    detector: Detector
    landmarks: FaceMesh
    encoder: Encoder

    @property
    def device(self) -> torch.device:
        return next(self.landmarks.parameters()).device

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """What a host may move between devices."""
        return (*self.detector.networks, self.landmarks, *self.encoder.networks)


@dataclass(frozen=True)
class Source:
    """A person as one swapper needs to know them."""

    identity: Identity
    swapper: Swapper
    person: Any  # what the swapper's `encode` made of the identity


@dataclass(frozen=True)
class Swapped:
    """Pictures with swapped faces, and how well that went."""

    images: Tensor  # (B, 3, H, W) float32, 0..1
    mask: Tensor  # (B, 1, H, W) how much of each pixel was replaced, 0..1
    faces: FaceSet  # the F faces that were swapped
    skipped: list[str]  # why faces or pictures were left alone, a sentence each
    similarity_to_source: Tensor  # (F,) cosine of the result and the source
    similarity_to_target: Tensor  # (F,) cosine of the result and the face that was there before


def load_models(
    device: torch.device | str = "cpu",
    detector: str = BUNDLED,
    store: Store | None = None,
    sessions: torch.device | str | None = None,
) -> Models:
    """What finds faces and tells people apart, ready on the device: bundled, or the detector (and recogniser) of that
    name in the store. `sessions` is where onnxruntime runs what it has to, the same device if not given."""
    files = (LITE / f"{name}.safetensors" for name in ("detector", "landmarks", "encoder"))
    finder, landmarks, encoder = (for_inference(load_model(file, device)) for file in files)
    bundled = Models(
        LiteDetector(cast(FaceDetector, finder)),
        cast(FaceMesh, landmarks),
        LiteEncoder(cast(IdentityEncoder, encoder)),
    )
    if detector == BUNDLED:
        return bundled
    other, recogniser = load_detector(detector, store or default_store(), device, sessions)
    return replace(bundled, detector=other, encoder=recogniser or bundled.encoder)


@torch.no_grad()
def find(images: Tensor, models: Models, threshold: float = 0.5) -> FaceSet:
    """Every face of every picture, (B, 3, H, W)."""
    return detect(_finite(images), models.detector, models.landmarks, threshold=threshold)


@torch.no_grad()
def identity_from(
    images: Sequence[Tensor],
    models: Models,
    order: str = "large-small",
    threshold: float = 0.5,
    weights: Sequence[float] | None = None,
) -> Identity:
    """One person from R photographs (1, 3, H, W) of any sizes: the first face of each by the order given. `weights` say
    how much each photograph counts, all alike if not given.

    Raises NoFace for a photograph without a face.
    """
    if not images:
        raise ValueError("an identity needs at least one photograph")
    if weights is None:
        weights = [1.0] * len(images)
    if len(weights) != len(images):
        raise ValueError(f"there are {len(weights)} weights for {len(images)} photographs")
    if min(weights) < 0 or not 0 < sum(weights) < float("inf"):
        raise ValueError("the weights of photographs must not be negative, and not all of them 0")
    found = []
    for index, image in enumerate(images):
        image = _finite(image.to(models.device))
        faces = ordered(find(image, models, threshold), order)
        if not len(faces):
            raise NoFace(index)
        one = identify(image, faces[:1], models.encoder)
        found.append(replace(one, crops=replace(one.crops, frame=torch.full_like(one.crops.frame, index))))
    return Identity(
        join([one.crops for one in found]),
        torch.cat([one.embedding for one in found]),
        torch.tensor(weights, dtype=torch.float32, device=models.device),
        models.encoder.name,
    )


@torch.no_grad()
def encoded(identity: Identity, swapper: Swapper, models: Models) -> Source:
    """A person made ready for a swapper: what depends on the person alone is computed here, once."""
    identity = known_by(identity.to(models.device), models.encoder)
    return Source(identity, swapper, swapper.encode(identity))


@torch.no_grad()
def swap_faces(
    images: Tensor,
    source: Source,
    models: Models,
    *,
    size: int | None = None,
    order: str = "large-small",
    indices: Sequence[int] | None = None,
    reference: Identity | None = None,
    threshold: float = 0.5,
    strength: float = 1.0,
    detection: float = 0.5,
    limit: Tensor | None = None,
    restoration: Restoration | None = None,
    progress: Progress | None = None,
) -> Swapped:
    """The person put into every picture (B, 3, H, W), on all faces or on those chosen.

    `size` is the side of a face while it is worked on, the swapper's best if not given; `indices` count the faces of
    each picture in the order given; `reference` keeps the faces whose similarity to that person is at least
    `threshold`; `limit` (B or 1, 1, H, W) is where pixels may change; `restoration` makes the swapped faces clearer.
    Pictures go one by one, so that memory does not grow with the batch and `progress` may stop the work by raising.
    """
    size = size or source.swapper.sizes[-1]
    if size not in source.swapper.sizes:
        raise ValueError(f"this swapper works at {', '.join(map(str, source.swapper.sizes))} px, not at {size}")
    if reference is not None:
        reference = known_by(reference.to(models.device), models.encoder)
    results: list[Swapped] = []
    for index in range(images.shape[0]):
        image = _finite(images[index : index + 1].to(models.device))
        faces, skipped = _choose(image, models, order, indices, reference, threshold, detection)
        area = None if limit is None else limit[min(index, len(limit) - 1)][None].to(image)
        result = _swap_one(image, faces, source, models, size, strength, area, restoration)
        if images.shape[0] > 1:
            skipped = [f"picture {index}: {reason}" for reason in skipped]
        faces = replace(result.faces, frame=torch.full_like(result.faces.frame, index))
        results.append(replace(result, faces=faces, skipped=skipped))
        if progress:
            progress(index + 1, images.shape[0])
    return _join(results, images)


def _choose(
    image: Tensor,
    models: Models,
    by: str,
    indices: Sequence[int] | None,
    reference: Identity | None,
    threshold: float,
    detection: float,
) -> tuple[FaceSet, list[str]]:
    """The faces of one picture to be swapped, and why others are not."""
    faces = ordered(find(image, models, detection), by)
    if not len(faces):
        return faces, ["no face found"]
    skipped = []
    if indices is not None:
        missing = sorted({number for number in indices if not -len(faces) <= number < len(faces)})
        skipped += [f"there is no face {number}: {len(faces)} found, counted from 0" for number in missing]
        faces = pick(faces, list(indices))
    if reference is not None and len(faces):
        embeddings = encode(image, faces, models.encoder)
        person = reference.mean.to(embeddings)
        alike = like(faces, embeddings, person, threshold)
        skipped += [
            f"face at {_place(face_box)}: similarity {cosine:.2f} to the reference is below {threshold:.2f}"
            for face_box, cosine in zip(faces.box[~alike], (embeddings[~alike] @ person).tolist(), strict=True)
        ]
        faces = faces[alike]
    return faces, skipped


def _swap_one(
    image: Tensor,
    faces: FaceSet,
    source: Source,
    models: Models,
    size: int,
    strength: float,
    limit: Tensor | None,
    restoration: Restoration | None,
) -> Swapped:
    if not len(faces):
        none = faces.score.new_zeros(0)
        return Swapped(image, image.new_zeros(1, 1, *image.shape[-2:]), faces, [], none, none)
    template = source.swapper.template
    crops = align(image, faces, template, size)
    crops = swap_crops(crops, source.person, source.swapper, strength)
    if limit is not None:
        allowed = geometry.warp(limit, crops.matrix, crops.size, frame=crops.frame)
        crops = replace(crops, mask=crops.mask * allowed)
    if restoration and restoration.restorer.template == template:
        crops = restoration(crops)
    result, touched = paste(image, crops), paste_mask(image, crops)
    if restoration and restoration.restorer.template != template:
        result = _restored(result, faces, restoration, touched)
    after, before = encode(result, faces, models.encoder), encode(image, faces, models.encoder)
    likeness = after @ source.identity.mean
    return Swapped(result, touched, faces, [], likeness, (after * before).sum(-1))


def _restored(image: Tensor, faces: FaceSet, restoration: Restoration, touched: Tensor) -> Tensor:
    """A picture with its swapped faces cut out once more, in the restorer's alignment, and laid back clearer."""
    restorer = restoration.restorer
    crops = align(image, faces, restorer.template, restorer.size)
    mask = geometry.warp(touched, crops.matrix, crops.size, frame=crops.frame)
    return paste(image, restoration(replace(crops, mask=mask)))


def _join(results: list[Swapped], images: Tensor) -> Swapped:
    """One answer from one per picture, on the device of the pictures."""
    if not results:
        none = torch.zeros(0, device=images.device)
        mask = images.new_zeros(0, 1, *images.shape[-2:], dtype=torch.float32)
        return Swapped(images.float(), mask, FaceSet.empty(images.device), [], none, none)
    device = images.device
    return Swapped(
        torch.cat([one.images.to(device) for one in results]),
        torch.cat([one.mask.to(device) for one in results]),
        join([one.faces for one in results]).to(device),
        [reason for one in results for reason in one.skipped],
        torch.cat([one.similarity_to_source for one in results]).to(device),
        torch.cat([one.similarity_to_target for one in results]).to(device),
    )


def _finite(images: Tensor) -> Tensor:
    """Pictures as float32 without NaN (black) and infinities (white, black): a blur would spread one over a face."""
    if not images.is_floating_point():
        raise ValueError(f"pictures must be floating-point, 0..1, not {images.dtype}")
    return torch.nan_to_num(images.float(), 0.0, 1.0, 0.0)


def _place(box: Tensor) -> str:
    return ",".join(f"{side:.0f}" for side in box.tolist())
