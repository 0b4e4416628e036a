"""Which faces: by order within their picture, by number, by likeness."""

from __future__ import annotations

import torch
import torch.nn.functional as nnf
from torch import Tensor

from .types import FaceSet

ORDERS = ("large-small", "small-large", "left-right", "right-left", "top-bottom", "bottom-top")


def order(faces: FaceSet, by: str) -> FaceSet:
    """The faces of each frame in an order of ORDERS, frame after frame; equals keep their places."""
    if by not in ORDERS:
        raise ValueError(f"no order {by!r}; there are {', '.join(ORDERS)}")
    x1, y1, x2, y2 = faces.box.unbind(-1)
    keys = {"large": (x1 - x2) * (y2 - y1), "left": x1 + x2, "top": y1 + y2}
    keys |= {"small": -keys["large"], "right": -keys["left"], "bottom": -keys["top"]}
    rows = keys[by.split("-")[0]].argsort(stable=True)
    return faces[rows[faces.frame[rows].argsort(stable=True)]]


def pick(faces: FaceSet, indices: list[int]) -> FaceSet:
    """The faces of each frame with these numbers, in this order, frame after frame; 0 is a frame's first face, -1 its
    last. Numbers that a frame does not have are left out, and a face comes once."""
    rows = faces.frame.argsort(stable=True)
    _, run, counts = faces.frame[rows].unique_consecutive(return_inverse=True, return_counts=True)
    number = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[run]
    wanted = torch.tensor(indices, dtype=torch.long, device=rows.device)
    wanted = torch.where(wanted < 0, wanted + counts[run][:, None], wanted)  # (F, numbers)
    fits = wanted == number[:, None]
    fits = fits & (fits.cumsum(1) == 1)
    chosen, place = fits.nonzero(as_tuple=True)
    by_place = place.argsort(stable=True)
    return faces[rows[chosen[by_place[run[chosen[by_place]].argsort(stable=True)]]]]


def like(faces: FaceSet, embeddings: Tensor, reference: Tensor, threshold: float) -> Tensor:
    """Whose embedding (F, E) is as near to the reference (E,) as the cosine threshold asks, (F,) bool."""
    embeddings = nnf.normalize(embeddings.view(len(faces), reference.shape[-1]), dim=-1)
    return embeddings @ nnf.normalize(reference, dim=-1) >= threshold
