"""Validation of a student on held-out pairs: numbers and a picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .data import Pairs
from .losses import SwapBatch
from .presets import Preset
from .student import Recogniser, Student

_CHUNK = 8  # pairs that are processed at once
_SHOWN = 6  # pairs of each part in the picture
_HOPELESS = 0.10  # cosine to the source below which a run is hopeless


@dataclass(frozen=True, slots=True)
class Check:
    """The result of a validation."""

    loss: float  # the preset's loss without its adversarial term
    measures: dict[str, float]  # mean cosines of results to sources and targets by part, over pairs of two people
    grid: Tensor  # (3, H, W) 0..1, one pair per column: source, target, result, and the truth, grey if unknown

    @property
    def hopeless(self) -> bool:
        """Whether the results do not resemble their sources, or resemble their targets more."""
        part = "ordinary" if "ordinary_cos_source" in self.measures else "proxy"
        source, target = (self.measures[f"{part}_cos_{of}"] for of in ("source", "target"))
        return source < _HOPELESS or target > source


@torch.inference_mode()
def check(preset: Preset, student: Student, recogniser: Recogniser, held_out: Mapping[str, Pairs]) -> Check:
    """Measures a student, which must be in evaluation mode, on the held-out pairs of every part."""
    device = next(student.parameters()).device
    loss, measures, grids = 0.0, {}, []
    for part in preset.parts:
        pairs = held_out[part.pairs].to(device)
        apart = ~pairs.known if part.pairs == "ordinary" else pairs.known
        rows = zip(*(pictures.split(_CHUNK) for pictures in (pairs.x_src, pairs.x_tgt)), strict=True)
        made = [_swap(student, recogniser, source * 2 - 1, target * 2 - 1) for source, target in rows]
        out, of_source, of_target, of_out = (torch.cat(column) for column in zip(*made, strict=True))
        swapped = SwapBatch(out, pairs.y * 2 - 1, pairs.known, of_source, of_out, torch.zeros_like(out[:, 0, 0, 0]))
        loss += float(sum(preset.loss(swapped, replace(part.weights, adversary=0)).values()))
        for name, other in (("source", of_source), ("target", of_target)):
            measures[f"{part.pairs}_cos_{name}"] = float((of_out * other).sum(-1)[apart].mean())
        truth = torch.where(pairs.known[:, None, None, None], pairs.y, 0.5)
        columns = torch.stack([pairs.x_src, pairs.x_tgt, out * 0.5 + 0.5, truth], 1)[apart][:_SHOWN]
        grids.append(columns.permute(2, 1, 3, 0, 4).flatten(3).flatten(1, 2))  # (N, 4, 3, S, S) -> (3, 4 S, N S)
    return Check(loss, measures, torch.cat(grids, -1).clamp(0, 1).cpu())


def _swap(
    student: Student, recogniser: Recogniser, source: Tensor, target: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Swapped images -1..1, and the embeddings of source, target and result."""
    view = recogniser.view(source)
    identity = recogniser.of_view(view)
    out = student(target, view, identity)
    return out, identity, recogniser(target), recogniser(out)
