"""Surrogates: made-up inputs whose right output is a real photograph, and what making them has in common.

From a photograph y a source-creating surrogate makes another picture of the same person, a target-creating one another
person in the same situation; a swapper that puts the first into the second should give y.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as nnf
from torch import Tensor

from . import colour, dense, mask, mesh, turn
from .align import align
from .files import BadInput
from .geometry import compose, pixel_grid, sample
from .identity import Encoder, embedded
from .types import Crops, FaceSet, join

_COARSE = 4  # pixels between the places where the thin plate outside the face is computed
_SMOOTH = 0.004  # of the crop side: deviation by which a field of displacements is smoothed
_RIM = 0.05  # of the crop side: how far inside its border a picture moves as told

# The nose and its wings, which no expression moves.
NOSE = (
    *(168, 6, 197, 195, 5, 4, 1, 2, 94, 97, 326, 75, 305, 98, 327, 64, 294, 48, 278, 129, 358, 122, 351, 188, 412),
    *(114, 343, 217, 437, 198, 420, 131, 360, 49, 279, 102, 331, 19, 45, 275, 220, 440, 115, 344),
)


@dataclass(frozen=True, slots=True)
class Surrogate:
    """Pictures made from others; rows that were rejected are missing."""

    crops: Crops  # F pictures with the points of their faces
    rows: Tensor  # (F,) int64, which picture each was made from
    did: list[dict[str, Any]]  # F times what was done, for JSON; what was not done is missing
    similarity: Tensor | None  # (F,) cosine of each and the picture it was made from; None if nobody was asked

    def __len__(self) -> int:
        return len(self.crops)

    def __getitem__(self, index: Tensor) -> Surrogate:
        """Rows by mask or indices."""
        chosen = torch.arange(len(self), device=self.rows.device)[index]
        similarity = None if self.similarity is None else self.similarity[chosen]
        return Surrogate(self.crops[chosen], self.rows[chosen], [self.did[i] for i in chosen.tolist()], similarity)

    def after(self, first: Surrogate) -> Surrogate:
        """This one, made from the pictures of another, counted from that one's beginning."""
        rows = self.rows.tolist()
        did = [{**first.did[row], **did} for row, did in zip(rows, self.did, strict=True)]
        return replace(self, rows=first.rows[self.rows], did=did)


def made_elsewhere(
    crops: Crops,
    pictures: Tensor,
    find: Callable[[Tensor], FaceSet] | None = None,
    encoder: Encoder | None = None,
    least: float = -1.0,
    most: float = 1.0,
) -> Surrogate:
    """Pictures that something else made of the crops, one of each, (F, 3, H, W): a reenactment's, a diffusion model's.

    Without `find` they are taken to be aligned like the crops, their faces where the crops' are. With it the largest
    face of each is found and cut out anew, and a picture without one is dropped, as is one whose similarity to its
    crop is not within `least` and `most`.
    """
    if len(pictures) != len(crops):
        raise BadInput(f"{len(pictures)} pictures for {len(crops)} faces; one for each is needed")
    if find is None:
        size = (crops.size, crops.size)
        if pictures.shape[-2] != pictures.shape[-1]:
            raise BadInput(f"aligned pictures are square, not {pictures.shape[-1]} x {pictures.shape[-2]} px")
        resized = nnf.interpolate(pictures.float(), size, mode="bilinear", antialias=True) if len(crops) else pictures
        made, rows = replace(crops, pixels=resized.to(crops.pixels)), torch.arange(len(crops)).to(crops.frame)
    else:
        made, rows = _found(crops, pictures, find)
    return judged(crops, made, rows, [{"elsewhere": True} for _ in range(len(made))], encoder, least, most)


def _found(crops: Crops, pictures: Tensor, find: Callable[[Tensor], FaceSet]) -> tuple[Crops, Tensor]:
    faces = find(pictures)
    area = (faces.box[:, 2:] - faces.box[:, :2]).prod(-1)
    numbers = [(faces.frame == row).nonzero()[:, 0] for row in range(len(pictures))]
    largest = [int(some[area[some].argmax()]) for some in numbers if len(some)]
    chosen = faces[largest]
    cut = align(pictures, chosen, size=crops.size)
    return replace(cut, frame=crops.frame[chosen.frame]), chosen.frame


def judged(
    before: Crops,
    made: Crops,
    rows: Tensor,
    did: list[dict[str, Any]],
    encoder: Encoder | None,
    least: float = -1.0,
    most: float = 1.0,
    keep: Tensor | None = None,
) -> Surrogate:
    """Made from rows of the crops before: those left whose cosine to theirs is within least and most, and that are to
    be kept (F,) bool."""
    similarity = None if encoder is None else cosine(before[rows], made, encoder)
    keep = torch.ones_like(rows, dtype=torch.bool) if keep is None else keep
    if similarity is not None:
        keep = keep & (similarity >= least) & (similarity <= most)
    return Surrogate(made, rows, did, similarity)[keep]


def unjudged(made: Crops, did: list[dict[str, Any]]) -> Surrogate:
    """One picture of each, nobody asked."""
    return Surrogate(made, torch.arange(len(made), device=made.frame.device), did, None)


def cosine(a: Crops, b: Crops, encoder: Encoder) -> Tensor:
    """How alike faces are, row by row, (F,)."""
    if not len(a):
        return a.pixels.new_zeros(0)
    first, second = (embedded(crops, encoder) for crops in (a, b))
    return (first * second).sum(-1)


def did_rows(values: object, only: Mapping[str, str] = MappingProxyType({})) -> list[dict[str, Any]]:
    """A dataclass of columns (F,) as F rows for JSON, without what is 0; some names only where another's is not 0."""
    columns = {field.name: getattr(values, field.name).tolist() for field in fields(values)}  # pyright: ignore
    count = len(next(iter(columns.values())))
    rows = [{name: column[row] for name, column in columns.items()} for row in range(count)]
    return [
        {
            name: round(value, 4) if isinstance(value, float) else value
            for name, value in row.items()
            if (row[only[name]] if name in only else value)
        }
        for row in rows
    ]


def flipped(crops: Crops, which: Tensor | None = None) -> Crops:
    """Mirror images, of all rows or of those chosen (F,) bool."""
    side = crops.size - 1.0
    mirror = crops.matrix.new_tensor([[-1.0, 0.0, side], [0.0, 1.0, 0.0]])
    landmarks = crops.landmarks[:, [1, 0, 2, 4, 3]] * crops.landmarks.new_tensor([-1.0, 1.0])
    other = Crops(
        crops.pixels.flip(-1),
        crops.mask.flip(-1),
        compose(crops.matrix, mirror),
        landmarks + landmarks.new_tensor([side, 0.0]),
        mesh.flipped(crops.mesh, crops.size),
        crops.frame,
    )
    return other if which is None else where(which, other, crops)


def where(which: Tensor, a: Crops, b: Crops) -> Crops:
    """Rows of a where chosen (F,) bool, of b elsewhere."""
    index = torch.arange(len(which), device=which.device) + len(which) * ~which
    return join([a, b])[index]


def displacement(source: Tensor, target: Tensor, size: int) -> Tensor:
    """How far from each pixel of the warped picture the original is read, (F, 468, 2) twice -> (F, S, S, 2).

    Piecewise affine inside the face; outside as smooth as a thin plate, and nothing at the crop's border.
    """
    shift = source - target
    inner, inside = dense.interpolate(shift, target, turn.near_last().to(target.device), size)
    oval = list(mesh.OVAL)
    anchors = _anchors(size).to(target).expand(len(target), -1, -1)
    still = torch.zeros_like(anchors)
    spline = dense.thin_plate(torch.cat([target[:, oval], anchors], 1), torch.cat([shift[:, oval], still], 1))
    spline = dense.ThinPlate(
        spline.centre.float(), spline.scale.float(), spline.control.float(), spline.weights.float()
    )
    cells = max(1, size // _COARSE)
    coarse = (pixel_grid(cells, cells, target.device) + 0.5) * (size / cells) - 0.5
    plate = spline(coarse.reshape(1, -1, 2).expand(len(target), -1, -1)).movedim(-1, 1).unflatten(-1, (cells, cells))
    plate = nnf.interpolate(plate, (size, size), mode="bicubic") if len(target) else inner
    # Where a face folds over itself the field jumps; a pixel's blur makes a line of that, and no stairs.
    whole = colour.gaussian_blur(inner.where(inside, plate), _SMOOTH * size)
    return (whole * rim(size, target.device)).movedim(1, -1)


def in_plane(points: Tensor) -> Tensor:
    """What lengths in the mean face's plane become on each face, foreshortened as it is, (F, 468, 2) -> (F, 2, 2)."""
    mean = mesh.mean_face().to(points)
    centred = mean - mean.mean(0)
    return (points - points.mean(1, keepdim=True)).mT @ centred @ torch.linalg.inv(centred.T @ centred)


def followed(moves: Tensor, control: Sequence[int]) -> Tensor:
    """All points' moves where those of some are given, (F, 468, 2) -> same: the others follow as a thin plate."""
    mean = mesh.mean_face().to(moves)
    places = mean[list(control)].expand(len(moves), -1, -1)
    return dense.thin_plate(places, moves[:, list(control)])(mean.expand(len(moves), -1, -1))


def ring(points: Tensor, reach: Tensor, seeds: Sequence[int], size: int) -> Tensor:
    """The inside of faces' outlines, grown about their middles by a factor 1 + reach (F,), with an edge that waves as
    the seeds say, (F, 468, 2) -> (F, 1, S, S) 0..1."""
    outline = points[:, list(mesh.OVAL)]
    waves = torch.zeros(len(points), 3, 2)
    for row, seed in enumerate(seeds):
        waves[row] = torch.randn(3, 2, generator=torch.Generator().manual_seed(seed))
    count = len(mesh.OVAL)
    angle = torch.arange(count) * (2 * math.pi / count) * torch.arange(1, 4)[:, None]
    edge = 0.1 * (waves[..., :1] * angle.cos() + waves[..., 1:] * angle.sin()).sum(1).to(points)
    middle = outline.mean(1, keepdim=True)
    factor = 1 + reach[:, None] + edge * reach[:, None].abs()
    return mask.polygon(middle + (outline - middle) * factor[..., None], size)


def rim(size: int, device: torch.device | str = "cpu") -> Tensor:
    """0 at the border of a crop and 1 a little inside, (S, S)."""
    line = torch.arange(size, device=device)
    line = (torch.minimum(line, size - 1 - line) / (_RIM * size)).clamp(0, 1)
    line = line * line * (3 - 2 * line)
    return line[:, None] * line


def _anchors(size: int) -> Tensor:
    """Places along a crop's border that do not move, (1, 24, 2)."""
    line = torch.linspace(0, size - 1.0, 7)[:-1]
    zero, last = torch.zeros(6), torch.full((6,), size - 1.0)
    sides = [(line, zero), (last, line), (last - line, last), (zero, last - line)]
    return torch.cat([torch.stack(side, -1) for side in sides])[None]


def read(pixels: Tensor, shift: Tensor) -> Tensor:
    """Pictures read so far from each pixel, (F, C, S, S), (F, S, S, 2); one that is read in place stays bit by bit."""
    height, width = shift.shape[1:3]
    out = sample(pixels, pixel_grid(height, width, shift.device) + shift)
    return out.where(shift.flatten(1).any(-1)[:, None, None, None], pixels)


def moved(crops: Crops, pixels: Tensor, points: Tensor) -> Crops:
    """The crops with other pixels and the mesh moved; the five points move along."""
    return replace(
        crops, pixels=pixels, mesh=points, landmarks=crops.landmarks + mesh.five(points) - mesh.five(crops.mesh)
    )


def lay(crops: Crops, points: Tensor) -> Crops:
    """The crops with their faces bent to other mesh points (F, 468, 2), the surroundings following smoothly."""
    return moved(crops, read(crops.pixels, displacement(crops.mesh, points, crops.size)), points)
