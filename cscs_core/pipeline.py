"""The whole job in three steps: find faces, say who somebody is, put that person into pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from .faces.align import align
from .faces.detectors.base import Detector, detect
from .faces.detectors.catalogue import DEFAULT_DETECTOR, load_detector
from .faces.detectors.lite import LiteDetector
from .faces.identity import Encoder, LiteEncoder, embedded_by, encode, identify, require_photos
from .faces.mask import KEEP_MASK, MaskOptions, apply_mask, feather_mask
from .faces.paste import match_colour, paste, paste_mask
from .faces.restorers.base import Restoration
from .faces.select import ORDERS, Selection, choose
from .faces.select import order as ordered
from .faces.swappers.base import Swapper
from .faces.swappers.base import swap as swap_crops
from .hub.store import Store, default_store
from .hub.weights import LITE, load_model
from .io.images import clean
from .models import FaceDetector, FaceMesh, IdentityEncoder, for_inference
from .ops import geometry
from .ops.batching import CancelCheck, never_cancel
from .types import FaceSet, Identity, join

Look = Callable[[Tensor, "Models", float], FaceSet]  # finds the faces of pictures, from a score on


class NoFace(ValueError):
    """A photograph that should show a person shows none, or not the one asked for; `index` says which."""

    def __init__(self, index: int, number: int = 0, found: int = 0):
        super().__init__(
            f"there is no face {number} in photograph {index}: {found} found, counted from 0"
            if found
            else f"no face found in photograph {index}"
        )
        self.index, self.number, self.found = index, number, found


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
class PreparedSource:
    """A person as one swapper needs to know them."""

    identity: Identity
    swapper: Swapper
    person: Any  # what the swapper's `encode` made of the identity


@dataclass(frozen=True)
class SwapResult:
    """Pictures with swapped faces, and how well that went."""

    images: Tensor  # (B, 3, H, W) float32, 0..1
    mask: Tensor  # (B, 1, H, W) how much of each pixel was replaced, 0..1
    faces: FaceSet  # the F faces that were swapped
    skipped: list[str]  # why faces or pictures were left alone, a sentence each
    similarity_to_source: Tensor  # (F,) cosine of the result and the source
    similarity_to_target: Tensor  # (F,) cosine of the result and the face that was there before
    candidates: FaceSet = field(default_factory=FaceSet.empty)  # the faces that numbers count, in their order


@dataclass(frozen=True)
class FaceFilter:
    """Which faces of a picture are swapped; as it is, all."""

    order: str = ORDERS[0]  # in which faces are counted
    indices: Sequence[int] | None = None  # numbers of those left by the rest, from 0 on; all if not given
    reference: Identity | None = None  # keeps the faces whose similarity to that person is at least `threshold`
    threshold: float = 0.5
    gender: str | None = None  # one of select.GENDERS leaves out the others and those of whom it is not known
    detection: float = 0.5  # score from which something is a face


@dataclass(frozen=True)
class PostProcess:
    """What is done to swapped faces."""

    mask: MaskOptions = KEEP_MASK
    feather: float = 0.0  # 0..0.5 of the crop side: how much softer the edge becomes
    colour_match: float = 0.0  # 0..1, how far their colours become those of the faces that were there
    restoration: Restoration | None = None  # makes them clearer


def load_models(
    device: torch.device | str = "cpu",
    detector: str = DEFAULT_DETECTOR,
    store: Store | None = None,
    sessions: torch.device | str | None = None,
) -> Models:
    """What finds faces and tells people apart, ready on the device: bundled, or the detector (and recogniser) of that
    name in the store. `sessions` is where onnxruntime runs what it has to, the same device if not given."""
    finder = load_model(LITE / "detector.safetensors", FaceDetector, device)
    landmarks = load_model(LITE / "landmarks.safetensors", FaceMesh, device)
    encoder = load_model(LITE / "encoder.safetensors", IdentityEncoder, device)
    bundled = Models(LiteDetector(for_inference(finder)), for_inference(landmarks), LiteEncoder(for_inference(encoder)))
    if detector == DEFAULT_DETECTOR:
        return bundled
    other, recogniser = load_detector(detector, store or default_store(), device, sessions)
    return replace(bundled, detector=other, encoder=recogniser or bundled.encoder)


@torch.no_grad()
def find(images: Tensor, models: Models, threshold: float = 0.5) -> FaceSet:
    """Every face of every picture, (B, 3, H, W)."""
    return detect(clean(images), models.detector, models.landmarks, threshold=threshold)


@torch.no_grad()
def identity_from(
    images: Sequence[Tensor],
    models: Models,
    order: str = "large-small",
    threshold: float = 0.5,
    weights: Sequence[float] | None = None,
    numbers: Sequence[int] | None = None,
    photos: Callable[[range], Iterator[int]] = iter,
    look: Look = find,
) -> Identity:
    """One person from R photographs (1, 3, H, W) of any sizes: the first face of each by the order given, or the one of
    its number among `numbers`, (R,) from 0 on. `weights` say how much each photograph counts, all alike if not given.
    `photos` goes through their rows and may stop the work by raising. `look` finds the faces.

    Raises NoFace for a photograph without a face or without one of that number.
    """
    if not images:
        raise ValueError("an identity needs at least one photograph")
    if weights is None:
        weights = [1.0] * len(images)
    if len(weights) != len(images):
        raise ValueError(f"there are {len(weights)} weights for {len(images)} photographs")
    if numbers is None:
        numbers = [0] * len(images)
    if len(numbers) != len(images):
        raise ValueError(f"there are {len(numbers)} face numbers for {len(images)} photographs")
    if not all(0 <= weight < float("inf") for weight in weights) or not any(weights):
        raise ValueError("the weights of photographs must not be negative, and not all of them 0")
    found = []
    for index in photos(range(len(images))):
        image, number = clean(images[index].to(models.device)), numbers[index]
        faces = ordered(look(image, models, threshold), order)
        if not 0 <= number < len(faces):
            raise NoFace(index, number, len(faces))
        one = identify(image, faces[number : number + 1], models.encoder)
        found.append(replace(one, crops=replace(one.crops, frame=torch.full_like(one.crops.frame, index))))
    return Identity(
        join([one.crops for one in found]),
        torch.cat([one.embedding for one in found]),
        torch.tensor(weights, dtype=torch.float32, device=models.device),
        models.encoder.name,
    )


@torch.no_grad()
def likeness(images: Tensor, faces: FaceSet, person: Identity, models: Models) -> Tensor:
    """How alike each face of pictures (B, 3, H, W) and a person are, (F,) cosine."""
    embeddings = encode(clean(images), faces, models.encoder)
    return embeddings @ embedded_by(person.to(models.device), models.encoder).mean.to(embeddings)


@torch.no_grad()
def prepare_source(identity: Identity, swapper: Swapper, models: Models) -> PreparedSource:
    """A person made ready for a swapper: what depends on the person alone is computed here, once. Raises BadInput for
    a person whose photographs are not known."""
    identity = embedded_by(require_photos(identity).to(models.device), models.encoder)
    return PreparedSource(identity, swapper, swapper.encode(identity))


@torch.no_grad()
def swap_faces(
    images: Tensor,
    source: PreparedSource,
    models: Models,
    *,
    size: int | None = None,
    face_filter: FaceFilter = FaceFilter(),
    strength: float = 1.0,
    limit: Tensor | None = None,
    post_process: PostProcess = PostProcess(),
    check_cancel: CancelCheck = never_cancel,
) -> SwapResult:
    """The person put into every picture (B, 3, H, W), on all faces or on those chosen.

    `size` is the side of a face while it is worked on, the swapper's best if not given; at `strength` 0 no face is
    swapped; `limit` (B or 1, 1, H, W) is where pixels may change. Pictures go one by one, so that memory does not grow
    with the batch; `check_cancel` is called between parts of the work and may stop it by raising.
    """
    size = size or source.swapper.sizes[-1]
    if size not in source.swapper.sizes:
        raise ValueError(f"this swapper works at {', '.join(map(str, source.swapper.sizes))} px, not at {size}")
    if face_filter.reference is not None:
        reference = embedded_by(face_filter.reference.to(models.device), models.encoder)
        face_filter = replace(face_filter, reference=reference)
    results: list[SwapResult] = []
    for index in range(images.shape[0]):
        image = clean(images[index : index + 1].to(models.device))
        chosen, before = _choose(image, models, face_filter)
        if strength == 0 and len(chosen.faces):
            chosen = replace(chosen, faces=chosen.faces[:0], skipped=[*chosen.skipped, "strength is 0"])
        area = None if limit is None else limit[min(index, len(limit) - 1)][None].to(image)
        result = _swap_one(
            image, chosen.faces, before, source, models, size, strength, area, post_process, check_cancel
        )
        skipped = chosen.skipped
        if images.shape[0] > 1:
            skipped = [f"picture {index}: {reason}" for reason in skipped]
        faces, candidates = (
            replace(rows, frame=torch.full_like(rows.frame, index)) for rows in (chosen.faces, chosen.candidates)
        )
        results.append(replace(result, faces=faces, skipped=skipped, candidates=candidates))
    return _join(results, images)


def _choose(image: Tensor, models: Models, by: FaceFilter) -> tuple[Selection, Tensor | None]:
    """The faces of one picture to be swapped and why others are not; with a reference also the embeddings (F, Z) of
    those to be swapped."""
    faces = find(image, models, by.detection)
    if not len(faces):
        return Selection(faces, faces.frame, faces, ["no face found"]), None
    embeddings = None if by.reference is None else encode(image, faces, models.encoder)
    likeness = None if by.reference is None or embeddings is None else embeddings @ by.reference.mean.to(embeddings)
    chosen = choose(
        faces, order=by.order, indices=by.indices, likeness=likeness, threshold=by.threshold, gender=by.gender
    )
    return chosen, None if embeddings is None else embeddings[chosen.rows]


def _swap_one(
    image: Tensor,
    faces: FaceSet,
    before: Tensor | None,
    source: PreparedSource,
    models: Models,
    size: int,
    strength: float,
    limit: Tensor | None,
    post_process: PostProcess,
    check_cancel: CancelCheck,
) -> SwapResult:
    """One picture with its faces swapped; `before` are their embeddings (F, Z), if they are known already."""
    if not len(faces):
        none = faces.score.new_zeros(0)
        return SwapResult(image, image.new_zeros(1, 1, *image.shape[-2:]), faces, [], none, none)
    template = source.swapper.template
    crops = align(image, faces, template, size, check_cancel)
    crops = swap_crops(crops, source.person, source.swapper, strength, check_cancel)
    allowed = None if limit is None else geometry.warp(limit, crops.matrix, crops.size, frame=crops.frame)
    crops = apply_mask(crops, post_process.mask, allowed, check_cancel=check_cancel)
    crops = feather_mask(crops, post_process.feather, check_cancel) if post_process.feather else crops
    crops = match_colour(image, crops, post_process.colour_match, check_cancel)
    restoration = post_process.restoration
    if restoration and restoration.restorer.template == template:
        crops = restoration(crops)
    result, touched = paste(image, crops, check_cancel), paste_mask(image, crops, check_cancel)
    if restoration and restoration.restorer.template != template:
        result = _restored(result, faces, restoration, touched, check_cancel)
    after = encode(result, faces, models.encoder)
    before = encode(image, faces, models.encoder) if before is None else before
    likeness = after @ source.identity.mean
    return SwapResult(result, touched, faces, [], likeness, (after * before).sum(-1))


def _restored(
    image: Tensor, faces: FaceSet, restoration: Restoration, touched: Tensor, check_cancel: CancelCheck
) -> Tensor:
    """A picture with its swapped faces cut out once more, in the restorer's alignment, and laid back clearer."""
    restorer = restoration.restorer
    crops = align(image, faces, restorer.template, restorer.size, check_cancel)
    mask = geometry.warp(touched, crops.matrix, crops.size, frame=crops.frame)
    return paste(image, restoration(replace(crops, mask=mask)), check_cancel)


def _join(results: list[SwapResult], images: Tensor) -> SwapResult:
    """One answer from one per picture, on the device of the pictures."""
    if not results:
        none = torch.zeros(0, device=images.device)
        mask = images.new_zeros(0, 1, *images.shape[-2:], dtype=torch.float32)
        return SwapResult(images.float(), mask, FaceSet.empty(images.device), [], none, none)
    device = images.device
    return SwapResult(
        torch.cat([one.images.to(device) for one in results]),
        torch.cat([one.mask.to(device) for one in results]),
        join([one.faces for one in results]).to(device),
        [reason for one in results for reason in one.skipped],
        torch.cat([one.similarity_to_source for one in results]).to(device),
        torch.cat([one.similarity_to_target for one in results]).to(device),
        join([one.candidates for one in results]).to(device),
    )
