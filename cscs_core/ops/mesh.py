"""The 468-point face mesh in MediaPipe order: index lists, triangles and the mean face.

The index lists are the published topology; `cscs_core/train/mean_face.py` makes the mean face and its triangles.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

POINTS = 468

IBUG68 = tuple(
    int(number)
    for number in (
        "162 234 93 58 172 136 149 148 152 377 378 365 397 288 323 454 389 71 63 105 66 107 336 296 334 293 301 "
        "168 197 5 4 75 97 2 326 305 33 160 158 133 153 144 362 385 387 263 373 380 61 39 37 0 267 269 291 405 314 "
        "17 84 181 78 82 13 312 308 317 14 87"
    ).split()
)
LEFT_EYE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)  # on the viewer's left, a ring
RIGHT_EYE = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)  # outer ring
MOUTH = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191)  # inner ring
_BETWEEN = (  # two rings between the lips' outer and inner edge
    *(76, 77, 90, 180, 85, 16, 315, 404, 320, 307, 306, 408, 304, 303, 302, 11, 72, 73, 74, 184),
    *(62, 96, 89, 179, 86, 15, 316, 403, 319, 325, 292, 407, 272, 271, 268, 12, 38, 41, 42, 183),
)
_AROUND_LEFT_EYE = (130, 25, 110, 24, 23, 22, 26, 112, 243, 190, 56, 28, 27, 29, 30, 247)
LEFT_BROW = (70, 63, 105, 66, 107, 55, 65, 52, 53, 46)
RIGHT_BROW = (300, 293, 334, 296, 336, 285, 295, 282, 283, 276)
EYE_PART = (*LEFT_EYE, *_AROUND_LEFT_EYE, *LEFT_BROW)  # points of the eye network; the right eye is its mirror
MOUTH_PART = (*LIPS, *_BETWEEN, *MOUTH)
OVAL = tuple(
    int(number)
    for number in (
        "10 338 297 332 284 251 389 356 454 323 361 288 397 365 379 378 400 377 152 148 176 149 150 136 172 58 132 "
        "93 234 127 162 21 54 103 67 109"
    ).split()
)  # the outline of the face, a ring
# The nose and its wings, which expressions do not move.
NOSE = (
    *(168, 6, 197, 195, 5, 4, 1, 2, 94, 97, 326, 75, 305, 98, 327, 64, 294, 48, 278, 129, 358, 122, 351, 188, 412),
    *(114, 343, 217, 437, 198, 420, 131, 360, 49, 279, 102, 331, 19, 45, 275, 220, 440, 115, 344),
)
_EYE_LEFT, _EYE_RIGHT = (33, 133, 160, 158, 153, 144), (362, 263, 385, 387, 373, 380)
_NOSE, _MOUTH_LEFT, _MOUTH_RIGHT = 4, 61, 291


def five(mesh: Tensor) -> Tensor:
    """The five landmarks: eyes (means of six lid points), nose tip, mouth corners, (..., 468, 2) -> (..., 5, 2)."""
    eyes = [mesh[..., list(ring), :].mean(-2) for ring in (_EYE_LEFT, _EYE_RIGHT)]
    return torch.stack([*eyes, mesh[..., _NOSE, :], mesh[..., _MOUTH_LEFT, :], mesh[..., _MOUTH_RIGHT, :]], -2)


def box(mesh: Tensor) -> Tensor:
    """Bounding box of the mesh, (..., 468, 2) -> (..., 4) x1 y1 x2 y2."""
    return torch.cat([mesh.amin(-2), mesh.amax(-2)], -1)


def interocular(mesh: Tensor) -> Tensor:
    """Distance between the outer eye corners, (..., 468, 2) -> (...) pixels: the usual unit of landmark errors."""
    return (mesh[..., 33, :] - mesh[..., 263, :]).norm(dim=-1)


@cache
@torch.inference_mode(False)  # cached outside inference mode, so that later callers can backpropagate
def _tables() -> dict[str, Tensor]:
    return load_file(Path(__file__).parents[1] / "lite" / "mean_face.safetensors")


def mean_face() -> Tensor:
    """The mean face, symmetric and upright, (468, 2); outer eye corners at (-0.5, 0) and (0.5, 0)."""
    return _tables()["mean"]


def triangles() -> Tensor:
    """Delaunay triangles of the mean face, (T, 3) int64; they also cover eyes and mouth."""
    return _tables()["triangles"]


def mirror() -> Tensor:
    """Index of each point's mirror image when the image is flipped horizontally, (468,) int64."""
    return _tables()["mirror"]


def flipped(points: Tensor, width: int) -> Tensor:
    """The mesh after a horizontal flip of an image of that width, (..., 468, 2) pixels -> same."""
    mirrored = points[..., mirror().to(points.device), :] * points.new_tensor([-1.0, 1.0])
    return mirrored + points.new_tensor([width - 1.0, 0.0])
