"""Points, affine matrices and warps.

Points are (x, y) in pixels; the centre of the top-left pixel is (0, 0). Matrices are (F, 2, 3) and map source to
destination. Geometry is float32, whatever the dtype of the images.
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
    """The five landmarks of an alignment template in a crop of the given side, (5, 2) pixels. Raises ValueError.

    As in their sources, the templates assume that the centre of the first pixel is (0, 0).
    """
    if name not in TEMPLATES:
        raise ValueError(f"no alignment template {name!r}; choose one of {', '.join(TEMPLATES)}")
    return torch.tensor(TEMPLATES[name]) * size


def similarity(source: Tensor, target: Tensor) -> Tensor:
    """Least-squares similarity transforms from source to target points, (F, P, 2), (F|1, P, 2) -> (F, 2, 3).

    Closed form in the plane without reflection (Umeyama 1991), differentiable: with centred points as complex numbers
    the scaled rotation is sum(conj(s) t) / sum(|s|^2). Coincident source points give scale 0, not NaN.
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
    """The FFHQ alignment by 68 landmarks (Karras et al. 2019, appendix A), (F, 68, 2) -> (F, 2, 3).

    The crop is a square around a point a tenth of the way from the eyes to the mouth. Half its side is 2 eye distances
    or 1.8 eye-mouth distances, whichever is larger. Its rotation averages the directions of eyes and mouth.
    """
    left, right = points[:, 36:42].mean(1), points[:, 42:48].mean(1)
    eyes, mouth = (left + right) / 2, (points[:, 48] + points[:, 54]) / 2
    across, down = right - left, mouth - eyes
    x = across - torch.stack([-down[:, 1], down[:, 0]], -1)  # along the upper side of the square, length set below
    reach = torch.maximum(2.0 * across.norm(dim=-1), 1.8 * down.norm(dim=-1))
    x = x * (reach / x.norm(dim=-1).clamp_min(1e-12))[:, None]
    y = torch.stack([-x[:, 1], x[:, 0]], -1)
    centre = eyes + 0.1 * down
    corners = torch.stack([centre - x - y, centre + x - y, centre + x + y, centre - x + y], 1)
    # The corners of the square are the outer corners of the corner pixels.
    low, high = -0.5, size - 0.5
    return similarity(corners, points.new_tensor([[[low, low], [high, low], [high, high], [low, high]]]))


def invert(matrix: Tensor) -> Tensor:
    """Inverse matrices, (F, 2, 3) -> (F, 2, 3); inf or NaN for singular ones."""
    a, b, c, d = matrix[..., 0, 0], matrix[..., 0, 1], matrix[..., 1, 0], matrix[..., 1, 1]
    determinant = a * d - b * c
    linear = torch.stack([torch.stack([d, -b], -1), torch.stack([-c, a], -1)], -2) / determinant[..., None, None]
    return torch.cat([linear, -linear @ matrix[..., 2:]], -1)


def compose(first: Tensor, then: Tensor) -> Tensor:
    """The matrix that applies `first`, then `then`, (F, 2, 3), (F, 2, 3) -> (F, 2, 3)."""
    linear = then[..., :2] @ first[..., :2]
    return torch.cat([linear, then[..., :2] @ first[..., 2:] + then[..., 2:]], -1)


def transform(points: Tensor, matrix: Tensor) -> Tensor:
    """Points transformed by matrices, (F, P, 2), (F, 2, 3) -> (F, P, 2)."""
    x, y = points[..., :1], points[..., 1:]  # written out: several times faster than a matrix product
    return torch.addcmul(torch.addcmul(matrix[..., None, :, 2], x, matrix[..., None, :, 0]), y, matrix[..., None, :, 1])


def scale_of(matrix: Tensor) -> Tensor:
    """The scale factor of each matrix, (F, 2, 3) -> (F,): the square root of the determinant's magnitude."""
    linear = matrix[..., :2]
    return (linear[..., 0, 0] * linear[..., 1, 1] - linear[..., 0, 1] * linear[..., 1, 0]).abs().sqrt()


def pixel_grid(height: int, width: int, device: torch.device | str = "cpu", samples: int = 1) -> Tensor:
    """Pixel centres, (height, width, 2) x y; with samples n > 1 the n x n sub-pixel centres, (height n, width n, 2)."""
    y = (torch.arange(height * samples, device=device, dtype=torch.float32) + 0.5) / samples - 0.5
    x = (torch.arange(width * samples, device=device, dtype=torch.float32) + 0.5) / samples - 0.5
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)


def sample(images: Tensor, points: Tensor, padding: Padding = "border") -> Tensor:
    """Images sampled bilinearly at pixel positions, (F, C, H, W), (F, h, w, 2) -> (F, C, h, w)."""
    height, width = images.shape[-2:]
    # grid_sample wants normalised coordinates: -1 and 1 are the outer edges of the corner pixels.
    unit = 2 / points.new_tensor([width, height])
    grid = torch.addcmul(unit / 2 - 1, points, unit)
    wide = torch.promote_types(images.dtype, torch.float32)  # float16 is too coarse for pixel coordinates
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
    """Images warped by source-to-destination matrices, (B, C, H, W), (F, 2, 3) -> (F, C, *size).

    Where the matrix shrinks the image, each output pixel averages n x n samples (n up to 8) against aliasing. `frame`
    (F,) int64 is the image that each matrix reads; without it F = B and row i reads image i.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if matrix.shape[0] == 0:
        return images.new_zeros(0, images.shape[1], height, width)
    scales = scale_of(matrix.detach())
    scales = scales.where(scales > 1e-6, 1)  # for faces whose points coincide or are NaN
    samples = (0.75 / scales).ceil().clamp_max(8).where(scales < 0.999, 1).long()
    counts = samples.unique().tolist()
    if len(counts) == 1:
        return _warp(images, matrix, (height, width), frame, padding, counts[0])
    # Grouped by sample count, so that a crop does not depend on the other faces of the batch.
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
        # One image at a time with its faces stacked vertically, so that no image is copied once per face.
        out = images.new_empty(matrix.shape[0], images.shape[1], height * samples, width * samples)
        for index in frame.unique().tolist():
            rows = frame == index
            tall = sample(images[index : index + 1], points[rows].flatten(0, 1)[None], padding)
            out[rows] = tall.unflatten(2, (-1, height * samples))[0].transpose(0, 1)
    return nnf.avg_pool2d(out, samples) if samples > 1 else out
