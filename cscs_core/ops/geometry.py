"""Points, matrices and warps.

One convention: points are (x, y) pixels, the centre of the top-left pixel is (0, 0); matrices are (F, 2, 3), source to
destination; geometry is float32 whatever the pictures are.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as nnf
from torch import Tensor

Padding = Literal["border", "zeros", "reflection"]

# Five points (viewer's left eye, right eye, nose, mouth corners) as fractions of the crop side.
TEMPLATES: dict[str, tuple[tuple[float, float], ...]] = {
    "arcface_112_v1": (
        (0.35473214, 0.45658929),
        (0.64526786, 0.45658929),
        (0.5, 0.61154464),
        (0.37913393, 0.776875),
        (0.62086607, 0.776875),
    ),
    "arcface_112_v2": (
        (0.34191607, 0.46157411),
        (0.65653393, 0.45983393),
        (0.500225, 0.64050536),
        (0.37097589, 0.82469196),
        (0.63151696, 0.82325089),
    ),
    "arcface_128": (
        (0.36167656, 0.40387734),
        (0.63696719, 0.40235469),
        (0.50019687, 0.56044219),
        (0.38710391, 0.72160547),
        (0.61507734, 0.72034453),
    ),
    "dfl_whole_face": (
        (0.35342266, 0.39285716),
        (0.62797622, 0.39285716),
        (0.48660713, 0.5401786),
        (0.38839287, 0.68750011),
        (0.59821427, 0.68750011),
    ),
    "ffhq_512": (
        (0.37691676, 0.46864664),
        (0.62285697, 0.46912813),
        (0.50123859, 0.61331904),
        (0.39308822, 0.725411),
        (0.61150205, 0.72490465),
    ),
    "mtcnn_512": (
        (0.36562865, 0.46733799),
        (0.63305391, 0.46585885),
        (0.50019127, 0.61942959),
        (0.39032951, 0.77598822),
        (0.61178945, 0.77476328),
    ),
    "styleganex_384": (
        (0.42353745, 0.52289879),
        (0.57725008, 0.52319972),
        (0.50123859, 0.61331904),
        (0.43364461, 0.68337652),
        (0.57015325, 0.68306005),
    ),
}


def template(name: str, size: int) -> Tensor:
    """The five points of an alignment template in the pixels of a crop of the given side, (5, 2).

    The templates are written in the pixels of a crop whose first pixel centre is (0, 0), as their sources use them.
    """
    if name not in TEMPLATES:
        raise ValueError(f"no alignment template {name!r}; there are {', '.join(TEMPLATES)}")
    return torch.tensor(TEMPLATES[name]) * size


def similarity(source: Tensor, target: Tensor) -> Tensor:
    """Least-squares similarities that take source points to target points, (F, P, 2), (F|1, P, 2) -> (F, 2, 3).

    Closed form (Umeyama 1991 in the plane, without reflection), hence batched and differentiable: with centred points
    as complex numbers the scaled rotation is sum(conj(s) t) / sum(|s|^2). P coincident points give NaN-free zero scale.
    """
    source, target = source.float(), target.float()
    centre_s, centre_t = source.mean(-2, keepdim=True), target.mean(-2, keepdim=True)
    s, t = source - centre_s, target - centre_t
    norm = (s * s).sum((-2, -1)).clamp_min(1e-12)
    a = (s * t).sum((-2, -1)) / norm
    b = (s[..., 0] * t[..., 1] - s[..., 1] * t[..., 0]).sum(-1) / norm
    linear = torch.stack([torch.stack([a, -b], -1), torch.stack([b, a], -1)], -2)
    shift = centre_t.transpose(-1, -2) - linear @ centre_s.transpose(-1, -2)
    return torch.cat([linear, shift], -1)


def ffhq_quad(points: Tensor, size: int) -> Tensor:
    """The alignment of the FFHQ data set by 68 points (Karras et al. 2019, appendix A), (F, 68, 2) -> (F, 2, 3).

    A square around a point a tenth of the way from the eyes to the mouth, as wide as 2 eye distances or 1.8 times the
    way from eyes to mouth, half each side, whichever is more. It is turned by the mean of what eyes and mouth say.
    """
    left, right = points[:, 36:42].mean(1), points[:, 42:48].mean(1)
    eyes, mouth = (left + right) / 2, (points[:, 48] + points[:, 54]) / 2
    across, down = right - left, mouth - eyes
    x = across - torch.stack([-down[:, 1], down[:, 0]], -1)  # half the upper side of the square, not yet of its length
    reach = torch.maximum(2.0 * across.norm(dim=-1), 1.8 * down.norm(dim=-1))
    x = x * (reach / x.norm(dim=-1).clamp_min(1e-12))[:, None]
    y = torch.stack([-x[:, 1], x[:, 0]], -1)
    centre = eyes + 0.1 * down
    corners = torch.stack([centre - x - y, centre + x - y, centre + x + y, centre - x + y], 1)
    # The square's corners are the outer corners of the corner pixels.
    low, high = -0.5, size - 0.5
    return similarity(corners, points.new_tensor([[[low, low], [high, low], [high, high], [low, high]]]))


def invert(matrix: Tensor) -> Tensor:
    """The way back, (F, 2, 3) -> (F, 2, 3)."""
    a, b, c, d = matrix[..., 0, 0], matrix[..., 0, 1], matrix[..., 1, 0], matrix[..., 1, 1]
    determinant = a * d - b * c
    linear = torch.stack([torch.stack([d, -b], -1), torch.stack([-c, a], -1)], -2) / determinant[..., None, None]
    return torch.cat([linear, -linear @ matrix[..., 2:]], -1)


def compose(first: Tensor, then: Tensor) -> Tensor:
    """One matrix that does `first` and `then` the other, (F, 2, 3), (F, 2, 3) -> (F, 2, 3)."""
    linear = then[..., :2] @ first[..., :2]
    return torch.cat([linear, then[..., :2] @ first[..., 2:] + then[..., 2:]], -1)


def transform(points: Tensor, matrix: Tensor) -> Tensor:
    """Points through matrices, (F, P, 2), (F, 2, 3) -> (F, P, 2)."""
    x, y = points[..., :1], points[..., 1:]  # two products written out: several times faster than a matrix product
    return torch.addcmul(torch.addcmul(matrix[..., None, :, 2], x, matrix[..., None, :, 0]), y, matrix[..., None, :, 1])


def scale_of(matrix: Tensor) -> Tensor:
    """How many times longer things become, (F, 2, 3) -> (F,)."""
    linear = matrix[..., :2]
    return (linear[..., 0, 0] * linear[..., 1, 1] - linear[..., 0, 1] * linear[..., 1, 0]).abs().sqrt()


def pixel_grid(height: int, width: int, device: torch.device | str = "cpu", samples: int = 1) -> Tensor:
    """Pixel centres, (height, width, 2) x y; with samples n > 1 the n x n sub-pixel centres, (height n, width n, 2)."""
    y = (torch.arange(height * samples, device=device, dtype=torch.float32) + 0.5) / samples - 0.5
    x = (torch.arange(width * samples, device=device, dtype=torch.float32) + 0.5) / samples - 0.5
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)


def sample(images: Tensor, points: Tensor, padding: Padding = "border") -> Tensor:
    """Images read at pixel positions, bilinear: (F, C, H, W), (F, h, w, 2) -> (F, C, h, w)."""
    height, width = images.shape[-2:]
    # The only line with normalised coordinates: -1 and 1 are the outer edges of the corner pixels.
    unit = 2 / points.new_tensor([width, height])
    grid = torch.addcmul(unit / 2 - 1, points, unit)
    wide = torch.promote_types(images.dtype, torch.float32)  # a half float cannot number the pixels of a picture
    out = nnf.grid_sample(images.to(wide), grid.to(wide), padding_mode=padding, align_corners=False)
    return out.to(images.dtype)


def warp(
    images: Tensor,
    matrix: Tensor,
    size: int | tuple[int, int],
    *,
    frame: Tensor | None = None,
    padding: Padding = "border",
) -> Tensor:
    """Images as seen through source-to-destination matrices: (B, C, H, W), (F, 2, 3) -> (F, C, *size).

    Where the matrix shrinks, every output pixel averages n x n samples (n up to 8), so that nothing aliases. `frame`
    (F,) says which image each matrix reads; without it F = B, row by row.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if matrix.shape[0] == 0:
        return images.new_zeros(0, images.shape[1], height, width)
    scales = scale_of(matrix.detach())
    scales = scales.where(scales > 1e-6, 1)  # a face whose points coincide or are NaN
    samples = (0.75 / scales).ceil().clamp_max(8).where(scales < 0.999, 1).long()
    counts = samples.unique().tolist()
    if len(counts) == 1:
        return _warp(images, matrix, (height, width), frame, padding, counts[0])
    # Faces of one sample count at a time: what a face looks like does not depend on the faces beside it.
    out = images.new_empty(matrix.shape[0], images.shape[1], height, width)
    for count in counts:
        rows = samples == count
        pictures, which = (images[rows], None) if frame is None else (images, frame[rows])
        out[rows] = _warp(pictures, matrix[rows], (height, width), which, padding, count)
    return out


def _warp(
    images: Tensor, matrix: Tensor, size: tuple[int, int], frame: Tensor | None, padding: Padding, samples: int
) -> Tensor:
    height, width = size
    grid = pixel_grid(height, width, images.device, samples).reshape(1, -1, 2)
    points = transform(grid, invert(matrix.float())).view(-1, height * samples, width * samples, 2)
    if frame is None:
        out = sample(images, points, padding)
    else:
        # One image at a time and its faces below each other: no image is copied once per face.
        out = images.new_empty(matrix.shape[0], images.shape[1], height * samples, width * samples)
        for index in frame.unique().tolist():
            rows = frame == index
            tall = sample(images[index : index + 1], points[rows].flatten(0, 1)[None], padding)
            out[rows] = tall.unflatten(2, (-1, height * samples))[0].transpose(0, 1)
    return nnf.avg_pool2d(out, samples) if samples > 1 else out
